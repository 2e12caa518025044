//! Pages against filters over a plain list: whatever the range, the limit and the order, following
//! `rest` visits each item once, wherever it is stored.

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use tempfile::TempDir;

use super::tests::{config, event};
use super::*;
use crate::attempt::{NewAttempt, Outcome, Trigger};
use crate::id::EventId;
use crate::id::SubscriptionId;
use crate::offset::AttemptSeq;
use crate::page::AttemptsOf;
use crate::testing::rounds;

/// Pages per place, and round.
const LISTS: u64 = 60;
const APPLICATIONS: u8 = 4;

fn application_id(number: u8) -> ApplicationId {
    ApplicationId::from_bytes([number; 20])
}

fn subscription_id(number: u8) -> SubscriptionId {
    SubscriptionId::from_bytes([number; 20])
}

/// What was written: events by application and payload bytes, attempts by event and subscription.
#[derive(Default)]
struct Model {
    events: Vec<(u8, usize, EventId)>,
    attempts: Vec<(u64, u8)>,
}

impl Model {
    async fn append(&mut self, log: &EventLog, rng: &mut fastrand::Rng) {
        let events = (0..rng.usize(1..6)).map(|_| (rng.u8(..APPLICATIONS), rng.usize(..400)));
        let events: Vec<_> = events.collect();
        let batch = events.iter().map(|(application, bytes)| {
            event(
                *application,
                std::iter::repeat_n(b'x', *bytes).collect::<Vec<_>>(),
            )
        });
        let appended = log.append(batch.collect()).await.unwrap();
        for ((application, bytes), appended) in events.into_iter().zip(appended) {
            let Appended::Committed { id, .. } = appended else {
                panic!("{appended:?}")
            };
            self.events.push((application, bytes, id));
        }
    }

    async fn attempt(&mut self, log: &EventLog, rng: &mut fastrand::Rng) {
        let mut progress = Vec::new();
        for _ in 0..rng.usize(1..5) {
            let at = rng.usize(..self.events.len());
            let subscription = rng.u8(..3);
            self.attempts.push((at as u64, subscription));
            progress.push(Progress::Attempt(NewAttempt {
                event: self.events[at].2,
                subscription: subscription_id(subscription),
                url: "https://example.com".into(),
                number: 0,
                started: Timestamp::default(),
                duration: Duration::ZERO,
                status_code: Some(200),
                response: String::new(),
                outcome: Outcome::Delivered,
                trigger: Trigger::Scheduled,
            }));
        }
        log.record(progress).await.unwrap();
    }

    /// Random lists of events and attempts, compared with what a look at all of them gives.
    fn check(&self, log: &EventLog, rng: &mut fastrand::Rng) {
        for _ in 0..LISTS * rounds() {
            self.check_events(log, rng);
            self.check_attempts(log, rng);
            self.check_read(log, rng);
        }
    }

    fn check_events(&self, log: &EventLog, rng: &mut fastrand::Rng) {
        let (application, order) = (rng.u8(..APPLICATIONS), order(rng));
        let range = range(rng, self.events.len() as u64);
        let limit = limit(rng);
        let mut expected: Vec<u64> = (range.start..range.end.min(self.events.len() as u64))
            .filter(|at| self.events[usize::try_from(*at).unwrap()].0 == application)
            .collect();
        if order == Order::Descending {
            expected.reverse();
        }
        let asked = Offset::new(range.start)..Offset::new(range.end);
        let found = follow(asked, expected.len(), |rest| {
            let page = log
                .read_application(application_id(application), rest, order, limit)
                .unwrap();
            let bytes: usize = page.records.iter().map(|r| r.event.payload.len()).sum();
            let one = page.records.len() == 1;
            assert!(one || page.records.len() <= limit.items && bytes <= limit.bytes);
            for record in &page.records {
                let (application, bytes, id) =
                    self.events[usize::try_from(record.offset.get()).unwrap()];
                assert_eq!(record.id, id);
                assert_eq!(record.event.application, application_id(application));
                assert_eq!(record.event.payload.len(), bytes);
            }
            let offsets = page
                .records
                .iter()
                .map(|record| record.offset.get())
                .collect();
            (offsets, page.rest)
        });
        assert_eq!(found, expected, "{range:?} {order:?} {limit:?}");
    }

    fn check_attempts(&self, log: &EventLog, rng: &mut fastrand::Rng) {
        let order = order(rng);
        let range = range(rng, self.attempts.len() as u64);
        let limit = limit(rng);
        let (event, subscription) = (rng.u64(..self.events.len() as u64), rng.u8(..3));
        let by_event = rng.bool();
        let of = if by_event {
            AttemptsOf::Event(Offset::new(event))
        } else {
            AttemptsOf::Subscription(subscription_id(subscription))
        };
        let mut expected: Vec<u64> = (range.start..range.end.min(self.attempts.len() as u64))
            .filter(|at| {
                let (of_event, of_subscription) = self.attempts[usize::try_from(*at).unwrap()];
                if by_event {
                    of_event == event
                } else {
                    of_subscription == subscription
                }
            })
            .collect();
        if order == Order::Descending {
            expected.reverse();
        }
        let asked = AttemptSeq::new(range.start)..AttemptSeq::new(range.end);
        let found = follow(asked, expected.len(), |rest| {
            let page = log.attempts(of, rest, order, limit).unwrap();
            assert!(page.attempts.len() <= limit.items);
            let numbers = page
                .attempts
                .iter()
                .map(|attempt| attempt.id.seq().get())
                .collect();
            (numbers, page.rest)
        });
        assert_eq!(found, expected, "{of:?} {range:?} {order:?} {limit:?}");
    }

    /// Reading by offset goes on at the last one read.
    fn check_read(&self, log: &EventLog, rng: &mut fastrand::Rng) {
        let from = rng.u64(..=self.events.len() as u64 + 2);
        let limit = limit(rng);
        let mut next = from;
        loop {
            let records = log.read(Offset::new(next), limit).unwrap();
            let offsets: Vec<u64> = records.iter().map(|record| record.offset.get()).collect();
            let expected: Vec<u64> = (next..).take(records.len()).collect();
            assert_eq!(offsets, expected);
            assert!(records.len() <= limit.items.max(1));
            let Some(last) = offsets.last() else { break };
            next = last + 1;
        }
        assert_eq!(next, from.max(self.events.len() as u64));
    }
}

/// Follows `rest` until nothing is left.
fn follow<P: Copy + Debug + PartialOrd>(
    asked: Range<P>,
    items: usize,
    mut page: impl FnMut(Range<P>) -> (Vec<u64>, Range<P>),
) -> Vec<u64> {
    let (mut rest, mut found) = (asked.clone(), Vec::new());
    let mut pages = 0;
    while rest.start < rest.end {
        let (numbers, left) = page(rest.clone());
        assert!(
            left.start >= rest.start && left.end <= rest.end,
            "{left:?} of {rest:?}"
        );
        found.extend(numbers);
        rest = left;
        pages += 1;
        assert!(
            pages <= items + 2,
            "{pages} pages for {items} items in {asked:?}"
        );
    }
    found
}

fn order(rng: &mut fastrand::Rng) -> Order {
    if rng.bool() {
        Order::Ascending
    } else {
        Order::Descending
    }
}

/// Ranges within what is there, over its ends, and empty ones.
fn range(rng: &mut fastrand::Rng, end: u64) -> Range<u64> {
    let (a, b) = (rng.u64(..end + 3), rng.u64(..end + 3));
    match rng.u8(..4) {
        0 => 0..end,
        1 => 0..u64::MAX,
        2 => a..b,
        _ => a.min(b)..a.max(b),
    }
}

fn limit(rng: &mut fastrand::Rng) -> Limit {
    let items = if rng.bool() {
        rng.usize(1..9)
    } else {
        usize::MAX
    };
    let bytes = if rng.bool() {
        rng.usize(..1500)
    } else {
        usize::MAX
    };
    Limit { items, bytes }
}

#[tokio::test]
async fn pages_visit_each_item_once_in_memory_and_in_sled() {
    let directory = TempDir::new().unwrap();
    let config = || Config {
        // Memory gives up a part of what sled holds, at the first chance.
        tail_bytes_max: 4 << 10,
        ..config(&directory)
    };
    let mut rng = fastrand::Rng::with_seed(7);
    let mut model = Model::default();
    let log = EventLog::open(config()).unwrap();
    for round in 0..6 {
        for _ in 0..25 {
            model.append(&log, &mut rng).await;
            model.attempt(&log, &mut rng).await;
        }
        if round < 5 {
            // All of it into sled; what follows is in memory alone.
            log.delivery_state().unwrap();
        }
    }
    model.check(&log, &mut rng);
    drop(log);
    let log = EventLog::open(config()).unwrap();
    model.check(&log, &mut rng);
    model.append(&log, &mut rng).await;
    model.check(&log, &mut rng);
}
