//! A clock that is set back by an hour: whatever waits, waits no longer than it would have.

use std::num::NonZeroU32;

use hooklog_storage::Release;

use super::*;
use crate::deliver::Answer;

const NOW: Timestamp = Timestamp::from_millis(100_000_000);
const HOUR: Duration = Duration::from_hours(1);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What an endpoint answers first; then it takes everything.
fn failed(status: Option<u16>, fault: Fault, wait: Option<u64>) -> Answer {
    Answer {
        status,
        fault: Some(fault),
        retry_after: wait.map(|wait| RetryAfter::Wait(seconds(wait))),
        ..Answer::none(Verdict::Failed, "")
    }
}

struct World {
    board: Board,
    now: Timestamp,
    first: Option<Answer>,
    started: Vec<(Offset, Timestamp)>,
}

impl World {
    fn new(value: Subscription, rate: Option<u32>, first: Option<Answer>) -> Self {
        let config = Config {
            schedule: Schedule::try_new([0, 60, 60].map(seconds).to_vec(), 0.0).unwrap(),
            ..Config::default()
        };
        let mut board = Board::new(&config, DispatchState::default(), NOW);
        let rate = rate.and_then(NonZeroU32::new);
        let listing = Listing {
            subscriptions: vec![Arc::new(value)],
            applications: rate.map(throttled).into_iter().collect(),
        };
        board.apply(Input::Tail(TailItem::Registry(listing)), NOW);
        let mut world = Self {
            board,
            now: NOW,
            first,
            started: Vec::new(),
        };
        world.perform();
        world
    }

    fn publish(&mut self, offset: u64) {
        let item = TailItem::Records(vec![record_of(offset, 10)].into());
        self.board.apply(Input::Tail(item), self.now);
        self.perform();
    }

    fn change(&mut self, change: Change) {
        let input = Input::Tail(TailItem::Change(change));
        self.board.apply(input, self.now);
        self.perform();
    }

    fn perform(&mut self) {
        while let Some(effect) = self.board.next(self.now) {
            let input = match effect {
                Effect::Attempt {
                    subscription,
                    start,
                } => {
                    self.started.push((start.offset, self.now));
                    let good = Answer {
                        status: Some(200),
                        ..Answer::none(Verdict::Delivered, "")
                    };
                    Input::Finished(vec![Finished {
                        subscription: subscription.id,
                        url: Arc::clone(&subscription.endpoint.url),
                        offset: start.offset,
                        event: Some(event_id(start.offset.get())),
                        started: self.now,
                        duration: Duration::ZERO,
                        answer: self.first.take().unwrap_or(good),
                        sample: 0.5,
                    }])
                }
                Effect::Read {
                    subscription,
                    reading,
                    range,
                    ..
                } => {
                    let records = (range.start.get()..range.end.get()).map(|at| record_of(at, 10));
                    Input::Page {
                        subscription: subscription.id,
                        reading,
                        from: range.start,
                        page: Some(Page {
                            records: records.collect(),
                            next: range.end,
                            expired: range.start..range.start,
                        }),
                    }
                }
                Effect::Resync(_) => Input::Resynced {
                    ids: Vec::new(),
                    next: None,
                },
                Effect::Record(_) => Input::Recorded,
                Effect::Load(_) | Effect::Scan(_) | Effect::Disable { .. } => panic!("{effect:?}"),
            };
            self.board.apply(input, self.now);
        }
    }

    /// How long it takes from now on until so many attempts have started.
    fn until(&mut self, count: usize) -> Duration {
        let from = self.now;
        while self.started.len() < count {
            let at = self.board.deadline(self.now).unwrap();
            assert!(at.since(from) < HOUR, "it waits for the clock");
            self.now = self.now.max(at);
            self.perform();
        }
        self.now.since(from)
    }
}

/// What happens before the clock is set back and after it, and within how many seconds so many attempts
/// have started then.
struct Case {
    what: &'static str,
    value: Subscription,
    /// Attempts a second of the application.
    rate: Option<u32>,
    first: Option<Answer>,
    before: fn(&mut World),
    after: fn(&mut World),
    starts: usize,
    within: u64,
}

impl Case {
    /// An event is published before, and answered like this.
    fn answered(what: &'static str, first: Answer, within: u64) -> Self {
        Self {
            what,
            value: subscription(1),
            rate: None,
            first: Some(first),
            before: |world| world.publish(0),
            after: |_| {},
            starts: 2,
            within,
        }
    }

    /// Nothing happens before.
    fn asked(what: &'static str, after: fn(&mut World)) -> Self {
        Self {
            first: None,
            before: |_| {},
            after,
            starts: 1,
            ..Self::answered(what, Answer::none(Verdict::Delivered, ""), 0)
        }
    }

    /// Two events are published before.
    fn throttled(what: &'static str, value: Subscription, rate: Option<u32>) -> Self {
        Self {
            value,
            rate,
            first: None,
            before: |world| {
                world.publish(0);
                world.publish(1);
            },
            ..Self::answered(what, Answer::none(Verdict::Delivered, ""), 1)
        }
    }
}

fn resend() -> Change {
    Change::Redeliver {
        subscription: subscription(1).id,
        offset: Offset::new(0),
        asked: NOW,
    }
}

fn release() -> Change {
    Change::Release(Arc::new(Release {
        due: NOW,
        offset: Offset::new(0),
        at: NOW,
        key: None,
        to: vec![subscription(1).id],
        rest: None,
    }))
}

#[test]
fn nothing_waits_longer_because_the_clock_was_set_back() {
    let mut alone = subscription(1);
    Arc::make_mut(&mut alone.policy).throttle_rate = NonZeroU32::new(1);
    let unreachable = failed(None, Fault::Unreachable, None);
    let refused = failed(Some(404), Fault::Event, None);
    let busy = failed(Some(429), Fault::Endpoint, Some(20));
    let cases = [
        Case::asked("a resend", |world| world.change(resend())),
        Case::asked("a release", |world| world.change(release())),
        Case::answered("a retry", refused, 60),
        Case::answered("a probe", unreachable, 1),
        Case::answered("an endpoint that asked to wait", busy, 60),
        Case::throttled("its own throttle", alone, None),
        Case::throttled("its application's", subscription(1), Some(1)),
    ];
    for case in cases {
        let mut world = World::new(case.value, case.rate, case.first);
        (case.before)(&mut world);
        world.now = earlier(world.now, HOUR);
        world.perform();
        (case.after)(&mut world);
        let took = world.until(case.starts);
        assert!(took <= seconds(case.within), "{} took {took:?}", case.what);
    }
}

/// What a resend fails by is tried again by the schedule, not when the log's time has come.
#[test]
fn a_resend_that_fails_behind_the_logs_time_is_tried_again_by_the_schedule() {
    let answer = failed(Some(500), Fault::Endpoint, None);
    let mut world = World::new(subscription(1), None, Some(answer));
    world.now = earlier(world.now, HOUR);
    world.change(resend());
    assert!(world.until(2) <= seconds(60));
}

/// A process that starts while the clock is an hour (or a year) behind what was put down.
#[test]
fn what_was_put_down_by_a_clock_that_was_ahead_is_bounded() {
    let far = NOW.plus(Duration::from_hours(24 * 365));
    let health = Health {
        down_since: Some(far),
        probe_at: Some(far),
        paused_until: Some(far),
        failing_since: Some(far),
        throttled_since: None,
    };
    let believed = lane::believed(&health, NOW);
    assert_eq!(
        (believed.down_since, believed.failing_since),
        (Some(NOW), Some(NOW))
    );
    assert_eq!(believed.probe_at, Some(NOW.plus(seconds(36))));
    assert_eq!(believed.paused_until, Some(NOW.plus(HOUR * 24)));
    let rules = crate::rules::Rules::of(&subscription(1), None, &Defaults::new(&Config::default()));
    let soon = NOW.plus(seconds(5));
    let asked = Retry::asked(far);
    let rows = [Retry::failed(1, far), Retry::failed(1, soon), asked];
    let mut rows: Vec<_> = (0..).map(Offset::new).zip(rows).collect();
    lane::bound(&mut rows, &rules, NOW);
    // The longest step of the schedule is a day, give or take a fifth.
    assert_eq!(rows[0].1.due, NOW.plus(HOUR * 24).plus(HOUR * 24 / 5));
    assert_eq!((rows[1].1.due, rows[2].1), (soon, asked));
}
