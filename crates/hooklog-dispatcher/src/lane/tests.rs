//! Lanes by script: each step is told to a small lane, and what it then wants is written down.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fmt::Write as _;
use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::testing::record;

const LIMITS: Limits = Limits {
    concurrency: 2,
    window: 4,
    retries_max: 8,
    queue_max: 4,
    queue_bytes_max: 10_000,
    ordering: Ordering::None,
    rate: None,
};

/// The same with a small retry table.
const FEW_RETRIES: Limits = Limits {
    retries_max: 3,
    ..LIMITS
};

struct Script {
    limits: Limits,
    lane: Lane,
    now: Timestamp,
    routed: Offset,
    out: String,
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

fn offsets<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Offset> {
    words.map(|word| Offset::new(number(word))).collect()
}

impl Script {
    fn tell(&mut self, input: Input) {
        self.lane.apply(input, self.routed, &self.limits);
    }

    fn step(&mut self, step: &str) {
        let mut words = step.split_whitespace();
        match words.next().unwrap() {
            "routed" => {
                for offset in offsets(words) {
                    self.routed = self.routed.max(offset);
                    self.tell(Input::Routed(record(offset.get())));
                    self.routed = self.routed.max(offset.next());
                }
            }
            "tail" => self.routed = offsets(words)[0],
            // page FROM NEXT: records …
            "page" => {
                let all = offsets(words);
                let records = all[2..].iter().map(|offset| record(offset.get())).collect();
                self.tell(Input::Page {
                    from: all[0],
                    next: all[1],
                    records,
                });
            }
            "unreadable" => {
                self.tell(Input::PageFailed {
                    again: self.now.plus(Duration::from_secs(5)),
                });
            }
            "ok" => self.finish(words, Outcome::Delivered),
            "dead" => self.finish(words, Outcome::Exhausted),
            "fail" => {
                let due = self.now.plus(Duration::from_secs(5));
                for offset in offsets(words) {
                    let number = self.lane.in_flight[&offset].number + 1;
                    let retry = Retry::failed(number, due);
                    self.tell(Input::Finished {
                        offset,
                        outcome: Outcome::Retry(retry),
                    });
                }
            }
            "rec" => self.tell(Input::Recorded {
                outcomes: usize::MAX,
            }),
            "redeliver" => {
                for offset in offsets(words) {
                    self.tell(Input::Redeliver {
                        offset,
                        asked: self.now,
                    });
                }
            }
            "loaded" => {
                let retry = Retry::asked(self.now);
                let rows = offsets(words)
                    .into_iter()
                    .map(|offset| (offset, retry))
                    .collect();
                self.tell(Input::Loaded(Found {
                    rows,
                    ..Found::default()
                }));
            }
            "unheard" => self.tell(Input::Unheard),
            "pause" => self.tell(Input::Paused),
            "resume" => self.tell(Input::Resumed),
            "wait" => self.wait(words.next().unwrap()),
            "cursor" => self.cursor(),
            other => panic!("no step `{other}`"),
        }
    }

    fn finish<'a>(&mut self, words: impl Iterator<Item = &'a str>, outcome: Outcome) {
        for offset in offsets(words) {
            self.tell(Input::Finished { offset, outcome });
        }
    }

    fn wait(&mut self, seconds: &str) {
        self.now = self.now.plus(Duration::from_secs(number(seconds)));
    }

    fn cursor(&mut self) {
        let Cursor {
            floor,
            settled,
            state,
        } = self.lane.cursor(self.routed);
        let settled: Vec<_> = settled.iter().map(|offset| offset.get()).collect();
        write!(self.out, " {state:?} {floor} {settled:?}").unwrap();
        if self.lane.is_quiet(self.now, &self.limits) {
            self.out.push_str(" quiet");
        }
    }

    fn effects(&mut self) {
        while let Some(start) = self.lane.start(self.now, &self.limits) {
            let kind = if start.record.is_some() {
                "send"
            } else {
                "retry"
            };
            write!(self.out, " {kind} {}#{}", start.offset, start.number).unwrap();
            if start.trigger == Trigger::Manual {
                self.out.push_str(" by hand");
            }
        }
        if let Some(read) = self.lane.read(self.now, self.routed, &self.limits) {
            write!(self.out, " read {}.. {} items", read.from, read.items).unwrap();
        }
        if self.lane.load(&self.limits) {
            self.out.push_str(" load");
        }
        if let Some(wake) = self.lane.wake(self.now, &self.limits) {
            write!(self.out, " (wake +{}s)", wake.since(self.now).as_secs()).unwrap();
        }
    }
}

fn run(lane: Lane, limits: Limits, script: &str, expected: &Expect) {
    let now = Timestamp::from_millis(1_000_000);
    let mut run = Script {
        limits,
        lane,
        now,
        routed: Offset::ZERO,
        out: String::new(),
    };
    for step in script
        .split(';')
        .map(str::trim)
        .filter(|step| !step.is_empty())
    {
        run.out.push_str(step);
        run.out.push_str(" →");
        run.step(step);
        run.effects();
        run.out.push('\n');
        assert!(run.lane.in_flight.len() <= limits.concurrency);
        assert!(run.lane.in_flight.len() + run.lane.unrecorded <= limits.window);
        assert!(run.lane.parked.len() <= limits.retries_max * 2);
        assert!(run.lane.queue.len() <= limits.queue_max);
    }
    expected.assert_eq(&run.out);
}

fn check(script: &str, expected: &Expect) {
    run(Lane::live(Offset::ZERO), LIMITS, script, expected);
}

#[test]
fn delivered_events_move_the_cursor() {
    check(
        "routed 0 1 2 7; cursor; ok 1; cursor; ok 0; cursor; rec; ok 2 7; cursor; rec; cursor",
        &expect![[r#"
            routed 0 1 2 7 → send 0#0 send 1#0
            cursor → Behind 0 []
            ok 1 → send 2#0
            cursor → Behind 0 [1]
            ok 0 → send 7#0
            cursor → Behind 2 []
            rec →
            ok 2 7 →
            cursor → CaughtUp 8 []
            rec →
            cursor → CaughtUp 8 [] quiet
        "#]],
    );
}

#[test]
fn a_failed_delivery_is_parked_and_tried_again() {
    check(
        "routed 0; fail 0; cursor; rec; wait 4; wait 1; fail 0; rec; wait 5; dead 0; rec; cursor",
        &expect![[r#"
            routed 0 → send 0#0
            fail 0 → (wake +5s)
            cursor → CaughtUp 1 [] (wake +5s)
            rec → (wake +5s)
            wait 4 → (wake +1s)
            wait 1 → retry 0#1
            fail 0 → (wake +5s)
            rec → (wake +5s)
            wait 5 → retry 0#2
            dead 0 →
            rec →
            cursor → CaughtUp 1 [] quiet
        "#]],
    );
}

#[test]
fn outcomes_that_are_not_on_record_fill_the_window() {
    check(
        "routed 0 1 2 3; ok 0 1; ok 2 3; routed 4 5; rec; ok 4 5; rec; cursor",
        &expect![[r#"
            routed 0 1 2 3 → send 0#0 send 1#0
            ok 0 1 → send 2#0 send 3#0
            ok 2 3 →
            routed 4 5 →
            rec → send 4#0 send 5#0
            ok 4 5 →
            rec →
            cursor → CaughtUp 6 [] quiet
        "#]],
    );
}

#[test]
fn the_window_waits_for_its_head() {
    check(
        "routed 0 1 2 3; ok 1; rec; ok 2; rec; routed 4; ok 3; rec; cursor; ok 0; rec; ok 4; rec; cursor",
        &expect![[r#"
            routed 0 1 2 3 → send 0#0 send 1#0
            ok 1 → send 2#0
            rec →
            ok 2 → send 3#0
            rec →
            routed 4 →
            ok 3 →
            rec →
            cursor → Behind 0 [1, 2, 3]
            ok 0 → send 4#0
            rec →
            ok 4 →
            rec →
            cursor → CaughtUp 5 [] quiet
        "#]],
    );
}

#[test]
fn a_full_retry_table_makes_events_wait_in_the_log() {
    run(
        Lane::live(Offset::ZERO),
        FEW_RETRIES,
        "routed 0 1 2 3 4; fail 0 1; rec; fail 2; rec; cursor; routed 5 6; wait 5; ok 0; rec; ok 1 2; \
         rec; page 3 4 3; ok 3; rec; page 4 7 4 5 6; ok 4 5; ok 6; rec; cursor",
        &expect![[r#"
            routed 0 1 2 3 4 → send 0#0 send 1#0
            fail 0 1 → send 2#0 (wake +5s)
            rec → (wake +5s)
            fail 2 → (wake +5s)
            rec → (wake +5s)
            cursor → Behind 3 [] (wake +5s)
            routed 5 6 → (wake +5s)
            wait 5 → retry 0#1 retry 1#1
            ok 0 → retry 2#1 read 3.. 1 items
            rec →
            ok 1 2 →
            rec →
            page 3 4 3 → send 3#0 read 4.. 2 items
            ok 3 →
            rec →
            page 4 7 4 5 6 → send 4#0 send 5#0
            ok 4 5 → send 6#0
            ok 6 →
            rec →
            cursor → CaughtUp 7 [] quiet
        "#]],
    );
}

#[test]
fn a_lane_that_falls_behind_reads_the_log_until_it_is_live_again() {
    check(
        "routed 0 1 2 3 4 5 6 7 8; cursor; ok 0 1; rec; page 4 7 4 6; ok 2 3; rec; routed 9; \
         page 7 9 8; ok 4 6; rec; page 9 10 9; routed 10; ok 8 9; rec; ok 10; rec; cursor",
        &expect![[r#"
            routed 0 1 2 3 4 5 6 7 8 → send 0#0 send 1#0 read 4.. 2 items
            cursor → Behind 0 []
            ok 0 1 → send 2#0 send 3#0
            rec →
            page 4 7 4 6 → read 7.. 2 items
            ok 2 3 → send 4#0 send 6#0
            rec →
            routed 9 →
            page 7 9 8 → read 9.. 3 items
            ok 4 6 → send 8#0
            rec →
            page 9 10 9 → send 9#0
            routed 10 →
            ok 8 9 → send 10#0
            rec →
            ok 10 →
            rec →
            cursor → CaughtUp 11 [] quiet
        "#]],
    );
}

#[test]
fn a_page_that_cannot_be_read_is_read_again_later() {
    run(
        Lane::behind(Offset::new(2)),
        LIMITS,
        "tail 9; redeliver 0; unreadable; wait 4; wait 1; page 2 9",
        &expect![[r#"
            tail 9 → read 2.. 4 items
            redeliver 0 → retry 0#0 by hand
            unreadable → (wake +5s)
            wait 4 → (wake +1s)
            wait 1 → read 2.. 4 items
            page 2 9 →
        "#]],
    );
}

#[test]
fn a_redelivery_is_an_attempt_of_its_own() {
    check(
        "tail 9; cursor; redeliver 3; cursor; redeliver 3; fail 3; rec; redeliver 3; ok 3; rec; cursor",
        &expect![[r#"
            tail 9 →
            cursor → CaughtUp 9 [] quiet
            redeliver 3 → retry 3#0 by hand
            cursor → CaughtUp 9 []
            redeliver 3 →
            fail 3 → (wake +5s)
            rec → (wake +5s)
            redeliver 3 → retry 3#0 by hand
            ok 3 →
            rec →
            cursor → CaughtUp 9 [] quiet
        "#]],
    );
}

#[test]
fn a_redelivery_of_a_waiting_event_takes_its_place() {
    check(
        "routed 0 1 2; redeliver 2; ok 0; ok 2; rec; ok 1; rec; cursor",
        &expect![[r#"
            routed 0 1 2 → send 0#0 send 1#0
            redeliver 2 →
            ok 0 → retry 2#0 by hand
            ok 2 →
            rec →
            ok 1 →
            rec →
            cursor → CaughtUp 3 [] quiet
        "#]],
    );
}

#[test]
fn redeliveries_above_the_bound_wait_in_the_log() {
    run(
        Lane::live(Offset::ZERO),
        FEW_RETRIES,
        "tail 20; redeliver 0 1 2 3 4 5 6 7 8 9; ok 0 1; rec; ok 2; rec; loaded 3 4 5 6 7 8 9; \
         ok 3 4; rec; ok 5; rec; loaded 6 7 8 9; ok 6 7; rec; ok 8 9; rec; cursor",
        &expect![[r#"
            tail 20 →
            redeliver 0 1 2 3 4 5 6 7 8 9 → retry 0#0 by hand retry 1#0 by hand
            ok 0 1 → retry 2#0 by hand
            rec →
            ok 2 →
            rec → load
            loaded 3 4 5 6 7 8 9 → retry 3#0 by hand retry 4#0 by hand
            ok 3 4 → retry 5#0 by hand
            rec →
            ok 5 →
            rec → load
            loaded 6 7 8 9 → retry 6#0 by hand retry 7#0 by hand
            ok 6 7 → retry 8#0 by hand retry 9#0 by hand
            rec →
            ok 8 9 →
            rec →
            cursor → CaughtUp 20 [] quiet
        "#]],
    );
}

#[test]
fn a_paused_lane_starts_nothing_and_resumes_without_loss() {
    check(
        "routed 0 1 2 3; pause; cursor; ok 0; fail 1; rec; cursor; tail 5; wait 60; resume; \
         page 2 5 2 3 4; ok 1 2; rec; ok 3 4; rec; cursor",
        &expect![[r#"
            routed 0 1 2 3 → send 0#0 send 1#0
            pause →
            cursor → Behind 0 []
            ok 0 →
            fail 1 →
            rec →
            cursor → Behind 2 [] quiet
            tail 5 →
            wait 60 →
            resume → retry 1#1 read 2.. 4 items
            page 2 5 2 3 4 → send 2#0
            ok 1 2 → send 3#0 send 4#0
            rec →
            ok 3 4 →
            rec →
            cursor → CaughtUp 5 [] quiet
        "#]],
    );
}

#[test]
fn a_page_for_a_lane_that_stepped_back_is_dropped() {
    run(
        Lane::behind(Offset::new(2)),
        LIMITS,
        "tail 9; pause; resume; page 2 9 3 4; page 2 9 3 4; pause; page 2 9 3 4; resume; cursor",
        &expect![[r#"
            tail 9 → read 2.. 4 items
            pause →
            resume →
            page 2 9 3 4 → send 3#0 send 4#0
            page 2 9 3 4 →
            pause →
            page 2 9 3 4 →
            resume →
            cursor → Behind 3 []
        "#]],
    );
}

#[test]
fn a_restored_lane_skips_what_is_settled_or_parked() {
    let settled = [3, 5].map(Offset::new).to_vec();
    let floor = Offset::new(2);
    run(
        Lane::restored(&Cursor {
            floor,
            settled,
            state: CursorState::Behind,
        }),
        LIMITS,
        "tail 6; unheard; page 2 6 2 3 4 5; loaded 4; cursor; ok 4; rec; cursor; ok 2; rec; cursor",
        &expect![[r#"
            tail 6 → read 2.. 4 items
            unheard → load
            page 2 6 2 3 4 5 →
            loaded 4 → retry 4#0 by hand send 2#0
            cursor → Behind 2 [3, 4, 5]
            ok 4 →
            rec →
            cursor → Behind 2 [3, 4, 5]
            ok 2 →
            rec →
            cursor → CaughtUp 6 [] quiet
        "#]],
    );
}

#[test]
fn a_lane_restored_above_the_mark_takes_only_what_is_above_its_floor() {
    let settled = vec![Offset::new(4)];
    let floor = Offset::new(2);
    run(
        Lane::restored(&Cursor {
            floor,
            settled,
            state: CursorState::Behind,
        }),
        LIMITS,
        "routed 0 1 2 3 4 5; cursor; ok 2 3; rec; ok 5; rec; cursor",
        &expect![[r#"
            routed 0 1 2 3 4 5 → send 2#0 send 3#0
            cursor → Behind 2 [4]
            ok 2 3 → send 5#0
            rec →
            ok 5 →
            rec →
            cursor → CaughtUp 6 [] quiet
        "#]],
    );
}

mod flow;
