//! Order, breaker, pauses, throttle and commands of one lane, each by a story.

use std::num::NonZeroU32;

use hooklog_storage::{Cause, DisableReason};

use super::*;
use crate::deliver::{Answer, Fault, Verdict};
use crate::retry_after::RetryAfter;
use crate::rules::{Defaults, Rules};
use crate::testing::{record_of, subscription};

/// A lane with the answers of its endpoint.
struct Story {
    lane: Lane,
    limits: Limits,
    rules: Rules,
    now: Timestamp,
    routed: Offset,
}

fn status(status: u16, fault: Fault) -> Answer {
    Answer {
        status: Some(status),
        fault: Some(fault),
        ..Answer::none(Verdict::Failed, "")
    }
}

fn unreachable() -> Answer {
    Answer {
        fault: Some(Fault::Unreachable),
        ..Answer::none(Verdict::Failed, "")
    }
}

impl Story {
    fn new(ordering: Ordering) -> Self {
        let defaults = Defaults::new(&crate::Config::default());
        Self {
            lane: Lane::live(Offset::ZERO),
            limits: Limits {
                concurrency: 16,
                window: 64,
                retries_max: 64,
                queue_max: 64,
                ordering,
                ..LIMITS
            },
            rules: Rules::of(&subscription(1), None, &defaults),
            now: Timestamp::from_millis(1_000_000_000),
            routed: Offset::ZERO,
        }
    }

    /// Events with these keys; `-` is none.
    fn publish(&mut self, keys: &str) {
        for key in keys.chars().filter(|key| *key != ' ') {
            let mut record = record_of(self.routed.get(), 10);
            record.event.ordering_key = (key != '-').then(|| key.to_string().parse().unwrap());
            self.tell(Input::Routed(Arc::new(record)));
            self.routed = self.routed.next();
        }
    }

    fn tell(&mut self, input: Input) {
        self.lane.apply(input, self.routed, &self.limits);
    }

    /// What starts now.
    fn started(&mut self) -> Vec<u64> {
        let start = || self.lane.start(self.now, &self.limits);
        std::iter::from_fn(start)
            .map(|start| start.offset.get())
            .collect()
    }

    fn end(&mut self, offset: u64, answer: &Answer) -> Option<DisableReason> {
        let ended = Ended {
            answer,
            rules: &self.rules,
            is_current: true,
            now: self.now,
            sample: 0.5,
        };
        let offset = Offset::new(offset);
        let judged = self.lane.judge(offset, &ended, &self.limits).unwrap();
        let outcome = judged.outcome;
        self.tell(Input::Finished { offset, outcome });
        self.tell(Input::Recorded { outcomes: 1 });
        judged.disable
    }

    fn ok(&mut self, offset: u64) {
        let good = Answer {
            status: Some(200),
            ..Answer::none(Verdict::Delivered, "")
        };
        self.end(offset, &good);
    }

    fn refuse(&mut self, offset: u64) {
        self.end(offset, &status(404, Fault::Event));
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
    }

    /// A new process goes on with what is on record.
    fn restart(&mut self) {
        let cursor = self.lane.cursor(self.routed);
        let rows: Vec<_> = self
            .lane
            .parked
            .from(Offset::ZERO)
            .map(|(at, row)| (at, *row))
            .collect();
        let health = self.lane.health(self.now);
        self.lane = Lane::restored(&cursor);
        self.lane.adopt(&health);
        self.tell(Input::Unheard);
        assert!(self.started().is_empty(), "it waits for what is parked");
        assert!(self.lane.load(&self.limits));
        self.tell(Input::Loaded(Found {
            rows,
            ..Found::default()
        }));
    }
}

#[test]
fn fifo_sends_one_after_the_other_and_its_head_blocks_also_after_a_restart() {
    let mut story = Story::new(Ordering::Fifo);
    story.publish("ab-");
    assert_eq!(story.started(), [0]);
    story.refuse(0);
    assert_eq!(story.started(), [0; 0], "the head is parked");
    story.restart();
    let read = story
        .lane
        .read(story.now, story.routed, &story.limits)
        .unwrap();
    assert_eq!(read.from, Offset::new(1));
    let records = (1..3).map(record).collect();
    let (from, next) = (read.from, story.routed);
    story.tell(Input::Page {
        from,
        records,
        next,
    });
    assert_eq!(story.started(), [0; 0]);
    story.wait(6_100);
    assert_eq!(story.started(), [0]);
    story.ok(0);
    assert_eq!(story.started(), [1]);
    story.ok(1);
    assert_eq!(story.started(), [2]);
}

#[test]
fn fifo_by_key_blocks_a_key_and_no_other() {
    let mut story = Story::new(Ordering::FifoByKey);
    story.publish("aab-ab");
    assert_eq!(story.started(), [0, 2, 3]);
    story.refuse(0);
    story.ok(2);
    assert_eq!(story.started(), [5], "b goes on, a waits for its head");
    story.ok(3);
    story.ok(5);
    let cursor = story.lane.cursor(story.routed);
    assert_eq!(cursor.floor, Offset::new(1));
    assert_eq!(cursor.settled, [2, 3, 5].map(Offset::new));
    story.wait(6_100);
    assert_eq!(story.started(), [0]);
    story.ok(0);
    assert_eq!(story.started(), [1]);
    story.ok(1);
    assert_eq!(story.started(), [4]);
}

#[test]
fn a_change_of_the_order_takes_in_what_is_parked() {
    let mut story = Story::new(Ordering::None);
    story.publish("ab");
    assert_eq!(story.started(), [0, 1]);
    story.refuse(0);
    story.ok(1);
    story.limits.ordering = Ordering::FifoByKey;
    story.tell(Input::Changed { is_forgiven: false });
    story.publish("ab");
    assert_eq!(story.started(), [3], "2 waits for 0");
    story.limits.ordering = Ordering::Fifo;
    story.tell(Input::Changed { is_forgiven: false });
    story.ok(3);
    assert_eq!(story.started(), [0; 0]);
    story.limits.ordering = Ordering::None;
    story.tell(Input::Changed { is_forgiven: false });
    assert_eq!(story.started(), [2]);
}

#[test]
fn a_skipped_head_lets_the_others_go_and_a_forced_one_does_not_wait() {
    let mut story = Story::new(Ordering::Fifo);
    story.publish("----");
    assert_eq!(story.started(), [0]);
    story.refuse(0);
    let asked = story.now;
    story.tell(Input::RetryNow {
        offset: Offset::ZERO,
        asked,
    });
    assert_eq!(story.started(), [0]);
    // Skipped while it is under way; its failure parks it no more.
    story.tell(Input::Skip {
        offset: Offset::ZERO,
    });
    story.refuse(0);
    assert_eq!(story.started(), [1]);
    story.refuse(1);
    story.tell(Input::Skip {
        offset: Offset::new(1),
    });
    // Before its turn, too.
    story.tell(Input::Skip {
        offset: Offset::new(2),
    });
    assert_eq!(story.started(), [3]);
    assert_eq!(story.lane.take_skipped(), [0, 1, 2].map(Offset::new));
    // A redelivery before its turn waits for it; one of a settled event does not.
    story.publish("--");
    story.tell(Input::Redeliver {
        offset: Offset::new(5),
        asked,
    });
    story.tell(Input::Redeliver {
        offset: Offset::new(1),
        asked,
    });
    story.ok(3);
    assert_eq!(story.started(), [1]);
    story.ok(1);
    assert_eq!(story.started(), [4]);
    story.ok(4);
    assert_eq!(story.started(), [5]);
    story.ok(5);
    assert_eq!(story.lane.parked.len(), 0);
}

#[test]
fn an_endpoint_that_is_down_burns_nothing_and_gets_all_in_order_when_it_is_back() {
    let mut story = Story::new(Ordering::None);
    story.publish(&"-".repeat(20));
    assert_eq!(story.started(), [0, 1, 2, 3]);
    for offset in 0..4 {
        story.end(offset, &unreachable());
    }
    assert!(story.lane.is_down());
    let counted = |story: &Story| -> Vec<u16> {
        let rows = story.lane.parked.from(Offset::ZERO);
        rows.map(|(_, row)| row.counted).collect()
    };
    assert_eq!(counted(&story), [1, 1, 0, 0], "two before it was known");
    assert!(story.lane.queue.is_empty(), "the others wait in the log");
    let mut probes = Vec::new();
    for _ in 0..40 {
        story.wait(500);
        for offset in story.started() {
            probes.push(offset);
            story.end(offset, &unreachable());
        }
        if probes.len() == 5 {
            story.restart();
        }
    }
    assert!(
        (10..=20).contains(&probes.len()),
        "one a second, not more: {probes:?}"
    );
    assert!(
        probes.iter().all(|at| *at == 0),
        "the first is to arrive first"
    );
    assert_eq!(counted(&story), [1, 1, 0, 0], "no attempt is burned");
    story.wait(3_000);
    let probe = story.started();
    assert_eq!(probe.len(), 1);
    story.ok(probe[0]);
    assert!(!story.lane.is_down());
    assert_eq!(story.lane.health(story.now).failing_since, None);
    // A slow start, in log order: one, then two where one went.
    let rest: Vec<u64> = (0..4).filter(|at| *at != probe[0]).collect();
    assert_eq!(story.started(), rest[..1]);
    story.ok(rest[0]);
    assert_eq!(story.started(), rest[1..]);
}

#[test]
fn one_event_that_its_receiver_chokes_on_does_not_keep_the_others_waiting() {
    let mut story = Story::new(Ordering::None);
    story.publish(&"-".repeat(12));
    let broken = status(500, Fault::Endpoint);
    let mut failed = 0;
    while !story.lane.is_down() {
        for offset in story.started() {
            story.end(offset, &broken);
            failed += 1;
        }
        story.wait(1_000);
    }
    assert!((10..14).contains(&failed));
    // All but the first are well again; it comes first, and then others have their turn.
    let mut probes = 0;
    while story.lane.is_down() {
        for offset in story.started() {
            probes += 1;
            match offset {
                0 => drop(story.end(0, &broken)),
                other => story.ok(other),
            }
        }
        story.wait(1_000);
    }
    assert!(probes <= 2);
    let row = story.lane.parked.get(Offset::ZERO);
    assert!(
        row.is_some_and(|row| row.counted < 9),
        "and it is not given up for that"
    );
}

#[test]
fn a_busy_endpoint_is_left_alone_for_as_long_as_it_asks_also_after_a_restart() {
    let mut story = Story::new(Ordering::None);
    story.publish("------");
    assert_eq!(story.started(), [0, 1, 2, 3]);
    let busy = Answer {
        retry_after: Some(RetryAfter::Wait(Duration::from_mins(1))),
        ..status(429, Fault::Endpoint)
    };
    story.end(0, &busy);
    story.ok(1);
    assert_eq!(story.started(), [0; 0]);
    story.wait(59_000);
    story.restart();
    let read = story
        .lane
        .read(story.now, story.routed, &story.limits)
        .unwrap();
    let (from, next) = (read.from, story.routed);
    let records = (from.get()..6).map(record).collect();
    story.tell(Input::Page {
        from,
        records,
        next,
    });
    assert_eq!(story.started(), [0; 0]);
    let wake = story.lane.wake(story.now, &story.limits).unwrap();
    assert_eq!(wake.since(story.now), Duration::from_secs(1));
    story.wait(1_000);
    assert_eq!(story.started()[0], 0);
}

#[test]
fn a_throttle_is_kept_to() {
    let mut story = Story::new(Ordering::None);
    story.limits.rate = NonZeroU32::new(4);
    story.publish("--------");
    let mut at = Vec::new();
    let begun = story.now;
    // It is told of as soon as it is more than a moment, and until nothing waits.
    let mut told = Vec::new();
    while at.len() < 8 {
        for offset in story.started() {
            at.push(story.now.since(begun).as_millis());
            story.ok(offset);
        }
        story.lane.note_throttle(story.now, &story.limits);
        let since = story.lane.health(story.now).throttled_since;
        let last = told.last().map(|(_, since)| *since);
        if last.unwrap_or(None) != since {
            told.push((story.now.since(begun).as_millis(), since));
        }
        story.wait(10);
    }
    assert_eq!(told, [(1000, Some(begun)), (1750, None)]);
    assert_eq!(at, [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
    let is_quiet = |story: &Story| story.lane.is_quiet(story.now, &story.limits);
    assert!(!is_quiet(&story), "a new lane would have a new bucket");
    story.wait(250);
    assert!(is_quiet(&story));
}

#[test]
fn gone_and_days_of_failures_disable_it_and_the_event_waits() {
    let mut story = Story::new(Ordering::None);
    story.publish("-----");
    assert_eq!(story.started(), [0, 1, 2, 3]);
    let gone = status(410, Fault::Event);
    assert_eq!(story.end(0, &gone), Some(DisableReason::Gone));
    assert_eq!(story.end(1, &gone), None, "it is told once");
    assert_eq!(story.started(), [0; 0]);
    let row = *story.lane.parked.get(Offset::ZERO).unwrap();
    assert_eq!((row.counted, row.cause), (0, Cause::Endpoint));
    story.tell(Input::Paused);
    story.tell(Input::Changed { is_forgiven: true });
    story.tell(Input::Resumed);
    assert_eq!(story.started()[..2], [0, 1]);

    let mut story = Story::new(Ordering::None);
    story.publish("--");
    assert_eq!(story.started(), [0, 1]);
    story.refuse(0);
    story.wait(5 * 24 * 3_600_000 - 1);
    assert_eq!(story.end(1, &status(500, Fault::Endpoint)), None);
    story.wait(1);
    assert_eq!(story.started(), [0]);
    let refused = status(404, Fault::Event);
    assert_eq!(story.end(0, &refused), Some(DisableReason::Failing));
}

#[test]
fn some_statuses_give_up_at_once_and_hints_move_the_schedule() {
    let mut story = Story::new(Ordering::None);
    story.rules.give_up_statuses = vec![413];
    story.publish("---");
    assert_eq!(story.started(), [0, 1, 2]);
    story.end(0, &status(413, Fault::Event));
    let hint = |seconds| Some(RetryAfter::Wait(Duration::from_secs(seconds)));
    story.end(
        1,
        &Answer {
            retry_after: hint(90),
            ..status(404, Fault::Event)
        },
    );
    // The schedule says 5 s; a shorter hint does not shorten it.
    story.end(
        2,
        &Answer {
            retry_after: hint(1),
            ..status(404, Fault::Event)
        },
    );
    let rows: Vec<_> = story.lane.parked.from(Offset::ZERO).collect();
    let due: Vec<_> = rows
        .iter()
        .map(|(at, row)| (at.get(), row.due.since(story.now).as_secs()))
        .collect();
    assert_eq!(due, [(1, 90), (2, 5)]);
    assert_eq!(story.lane.paused_until, Timestamp::default());
}
