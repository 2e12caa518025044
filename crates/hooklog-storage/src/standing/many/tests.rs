//! Many deliveries at once, against each of them alone; and what they cost.
//!
//! **Invariant:** wherever attempts lie, and in whatever order events are asked about.
//! **Next:** `../../task.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::attempt::{Cursor, CursorState, NewAttempt, Outcome, Progress, Retry, Trigger};
use crate::config::Config;
use crate::event::{Appended, Event};
use crate::id::{ApplicationId, EventId, SubscriptionId};
use crate::log::EventLog;
use crate::log::tests::{application, config, subscription};
use crate::page::Limit;
use crate::standing::Delivered;
use crate::testing::rounds;
use crate::time::Timestamp;

pub(in crate::standing) async fn publish(
    log: &EventLog,
    application: ApplicationId,
    kinds: &[&str],
) -> Vec<EventId> {
    let events = kinds
        .iter()
        .map(|kind| Event::new(application, kind.parse().unwrap(), Bytes::from("{}")));
    let appended = log.append(events.collect()).await.unwrap();
    appended
        .into_iter()
        .map(|one| match one {
            Appended::Committed { id, .. } => id,
            other => panic!("{other:?}"),
        })
        .collect()
}

pub(in crate::standing) fn attempt(
    event: EventId,
    subscription: SubscriptionId,
    outcome: Outcome,
) -> Progress {
    Progress::Attempt(NewAttempt {
        event,
        subscription,
        url: "https://example.com/hook".into(),
        number: 0,
        started: Timestamp::default(),
        duration: Duration::from_millis(1),
        status_code: Some(500),
        response: "x".repeat(64),
        outcome,
        trigger: Trigger::Scheduled,
    })
}

/// One that takes all, one that takes events of the type `b`, one that takes none and has attempts all
/// the same, and one that takes none and never had any.
pub(in crate::standing) async fn targets(
    log: &EventLog,
    application: ApplicationId,
) -> Vec<Arc<Subscription>> {
    let mut all = Vec::new();
    for kind in [None, Some("b"), Some("none"), Some("none")] {
        let id = subscription(log, application).await.id;
        let edit = move |value: &mut Subscription, _| {
            value.filter.event_types = kind.map(|kind| vec![kind.parse().unwrap()]);
            Ok(())
        };
        log.update_subscription(id, edit).await.unwrap();
        all.push(Arc::clone(log.registry().subscription(id).unwrap()));
    }
    all
}

fn records(log: &EventLog) -> Vec<Record> {
    let all = Limit {
        items: usize::MAX,
        bytes: usize::MAX,
    };
    log.read(Offset::ZERO, all).unwrap()
}

/// Every event in some order, at every subscription; returns how many stand how.
fn check(log: &EventLog, targets: &[Arc<Subscription>], rng: &mut fastrand::Rng) -> [usize; 4] {
    let mut counts = [0; 4];
    let mut records = records(log);
    for target in targets {
        match rng.u8(..3) {
            0 => records.reverse(),
            1 => rng.shuffle(&mut records),
            _ => {}
        }
        let position = log.positions([&**target]).unwrap()[0];
        let mut deliveries = log.deliveries(target, position).unwrap();
        for record in &records {
            let one = log.status(record, target, position).unwrap();
            let status = deliveries.status(record).unwrap().unwrap();
            assert_eq!(status, one, "{} at {deliveries:?}", record.offset);
            counts[match one.delivered {
                Delivered::Yes => 0,
                Delivered::Failed => 1,
                Delivered::Pending => 2,
                Delivered::Never => 3,
            }] += 1;
        }
    }
    counts
}

#[tokio::test]
async fn many_stand_as_each_alone() {
    for seed in 0..3 * rounds() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let directory = TempDir::new().unwrap();
        let config = || Config {
            // Memory gives up what sled holds, at the first chance.
            tail_bytes_max: 4 << 10,
            ..config(&directory)
        };
        let log = EventLog::open(config()).unwrap();
        let app = application(&log, "a").await;
        let targets = targets(&log, app).await;
        let mut events = Vec::new();
        for round in 0..5 {
            for _ in 0..20 {
                let count = rng.usize(1..5);
                let kinds: Vec<_> = (0..count)
                    .map(|_| *rng.choice(&["a", "b"]).unwrap())
                    .collect();
                events.extend(publish(&log, app, &kinds).await);
                let mut progress = Vec::new();
                for _ in 0..rng.usize(..6) {
                    let event = events[rng.usize(..events.len())];
                    // The last one never gets any.
                    let target = targets[rng.usize(..3)].id;
                    let due = Timestamp::from_millis(i64::MAX);
                    progress.push(match rng.u8(..5) {
                        0 => attempt(event, target, Outcome::Delivered),
                        1 => attempt(event, target, Outcome::Exhausted),
                        2 | 3 => attempt(event, target, Outcome::Retry(Retry::failed(1, due))),
                        _ => Progress::Skipped(target, event.offset()),
                    });
                }
                log.record(progress).await.unwrap();
            }
            let cursor = Cursor {
                floor: events[rng.usize(..events.len())].offset(),
                settled: Vec::new(),
                state: CursorState::Behind,
            };
            let target = targets[rng.usize(..3)].id;
            log.record(vec![Progress::Cursor(target, cursor)])
                .await
                .unwrap();
            if round < 4 {
                log.wait_applied();
            }
        }
        let counts = check(&log, &targets, &mut rng);
        assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
        drop(log);
        let log = EventLog::open(config()).unwrap();
        assert_eq!(check(&log, &targets, &mut rng), counts);
    }
}

/// Attempts of others were read, thousands for each event that was none of the subscription's.
#[tokio::test]
async fn attempts_of_others_cost_next_to_nothing() {
    const EVENTS: usize = 50;
    const ATTEMPTS: usize = 200;
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(config(&directory)).unwrap();
    let app = application(&log, "a").await;
    let targets = targets(&log, app).await;
    let (busy, idle) = (&targets[0], &targets[3]);
    for event in publish(&log, app, &["a"; EVENTS]).await {
        let one = attempt(event, busy.id, Outcome::Delivered);
        log.record(vec![one; ATTEMPTS]).await.unwrap();
        log.record(vec![attempt(event, targets[2].id, Outcome::Delivered)])
            .await
            .unwrap();
    }
    drop(log);
    // Nothing is in memory now.
    let log = EventLog::open(config(&directory)).unwrap();
    let records = records(&log);
    let events = EVENTS as u64;
    // What finding one costs: its row, and the batch of its last attempt.
    let found = 256;
    for (target, delivered, each) in [
        (busy, Delivered::Yes, found),
        (&targets[2], Delivered::Yes, found),
        (idle, Delivered::Never, 1),
    ] {
        let mut deliveries = log.deliveries(target, log.end()).unwrap();
        let before = deliveries.steps();
        for record in records.iter().rev() {
            let status = deliveries.status(record).unwrap().unwrap();
            assert_eq!(status.delivered, delivered);
        }
        let steps = deliveries.steps() - before;
        assert!(steps <= events * each, "{steps}");
    }
    // The budget ends it, behind the first in any case.
    for (more, told) in [(1, 1), (u64::MAX / 2, EVENTS)] {
        let mut deliveries = log.deliveries(busy, log.end()).unwrap();
        deliveries.steps_max = deliveries.steps() + more;
        let all = records
            .iter()
            .map(|record| deliveries.status(record).unwrap());
        assert_eq!(all.take_while(Option::is_some).count(), told);
    }
}
