//! Retention: what expires, what readers see of it, and that it survives a crash.
//!
//! **Invariant:** the thread that paces retention never wakes here; each test says when it looks.
//! **Next:** `retention.rs`.

use std::ops::Bound;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tests::{config, event};
use super::*;
use crate::attempt::Expired;
use crate::attempt::{NewAttempt, Outcome, Trigger};
use crate::codec;
use crate::config::{Compression, Keep, Retention};
use crate::consumer::{ConsumeError, ConsumerOptions};
use crate::engine::Edge;
use crate::event_keys::upkeep;
use crate::id::SubscriptionId;
use crate::idempotency::IdempotencyKey;
use crate::keys::{self, Family};
use crate::offset::AttemptSeq;
use crate::page::AttemptsOf;
use crate::plan::expire::Removal;
use crate::retention::RetentionLoop;
use crate::state::State;
use crate::tail::TailItem;
use crate::testing::copy_directory;
use crate::{check, compact};

const ALL: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

fn keeping(directory: &TempDir, retention: Retention) -> Config {
    Config {
        retention,
        // The retention thread looks once in this time, so never.
        barrier_interval: Duration::from_hours(1),
        tail_bytes_max: 0,
        compression: Compression::None,
        ..config(directory)
    }
}

fn events(count: Option<u64>, bytes: Option<u64>, age: Option<Duration>) -> Retention {
    Retention {
        events: Keep { age, bytes, count },
        ..Retention::default()
    }
}

fn state(log: &EventLog) -> State {
    let engine = &log.handle.shared.engine;
    let row = engine.get(Family::State, keys::STATE).unwrap().unwrap();
    codec::decode(&row).unwrap()
}

/// Applies everything, lets retention look once at `now`, and waits until the applier is done.
fn expire(log: &EventLog, now: Timestamp) -> Low {
    log.delivery_state().unwrap();
    let shared = &log.handle.shared;
    while let Some(low) = shared.expiring(now).unwrap() {
        let request = Request::Expire(low);
        assert!(log.handle.submit(request, 1).is_ok());
        let deadline = Instant::now() + Duration::from_mins(1);
        while log.low() != low {
            assert!(Instant::now() < deadline, "{low:?} was not taken in");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        log.delivery_state().unwrap();
        loop {
            let found = state(log);
            let left = Removal::plan(&shared.engine, &found, low, usize::MAX);
            let is_done = left.is_ok_and(|left| left.ops.is_empty());
            // A plan counts only of a state that is still there behind it.
            if is_done && found.low() == low && state(log) == found {
                break;
            }
            assert!(Instant::now() < deadline, "removal does not end");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    log.low()
}

/// How many rows a family has.
fn rows(log: &EventLog, family: Family) -> usize {
    let mut count = 0;
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    log.handle
        .shared
        .engine
        .scan::<ReadError>(family, all, |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
    count
}

fn now() -> Timestamp {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map(|since| Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap()))
        .unwrap()
}

fn request(index: u64) -> IdempotencyKey {
    IdempotencyKey::new(&[], &index.to_string(), b"{}")
}

/// Appends events of 1 KiB, alternating between two applications, each with a uid and a key.
fn fill(log: &EventLog, range: std::ops::Range<u64>) {
    let all: Vec<u64> = range.collect();
    for part in all.chunks(64) {
        let events = part.iter().map(|index| {
            let mut event = event(u8::try_from(index % 2).unwrap(), vec![b'x'; 1024]);
            event.uid = Some(format!("uid-{index}").parse().unwrap());
            event.idempotency = Some(request(*index));
            event
        });
        log.append_blocking(events.collect()).unwrap();
    }
}

#[test]
fn expired_events_are_gone_for_every_reader_and_leave_no_row() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(keeping(&directory, events(Some(100), None, None))).unwrap();
    fill(&log, 0..1000);
    let mut tail = log.tail(Offset::ZERO);
    assert!(matches!(
        tail.poll_next().unwrap(),
        Some(TailItem::Registry(_))
    ));
    let low = expire(&log, now()).events;
    assert_eq!(low, Offset::new(900));

    let below = Offset::new(899);
    assert!(matches!(
        log.read(below, ALL),
        Err(ReadError::Expired { low: found }) if found == low
    ));
    assert_eq!(log.read(low, ALL).unwrap().len(), 100);
    assert_eq!(log.get_at(below).unwrap(), None);
    assert!(log.get_at(low).unwrap().is_some());
    let even = ApplicationId::from_bytes([0; 20]);
    assert!(log.find_event(even, "uid-898").unwrap().is_none());
    assert!(log.find_event(even, "uid-900").unwrap().is_some());
    for order in [Order::Ascending, Order::Descending] {
        let whole = Offset::ZERO..log.end();
        let page = log.read_application(even, whole, order, ALL).unwrap();
        assert_eq!(page.records.len(), 50);
        assert_eq!(page.expired, Offset::ZERO..low);
    }
    let missed = tail.poll_next().unwrap();
    assert!(matches!(missed, Some(TailItem::Expired(range)) if range == (Offset::ZERO..low)));
    let Some(TailItem::Records(records)) = tail.poll_next().unwrap() else {
        panic!("no records")
    };
    assert_eq!(records[0].offset, low);
    assert_eq!(log.offset_at(Timestamp::default()).unwrap(), low);

    // Whole batches are removed; the one that the low end cuts stays.
    let first = state(&log).events.first.position;
    assert!(first <= low && low.since(first) < 64, "{first}");
    let engine = &log.handle.shared.engine;
    for application in [[0; 20], [1; 20]] {
        let low = keys::owned(&application, 0);
        let above = (Bound::Included(low.as_slice()), Bound::Unbounded);
        let (key, _) = engine
            .edge(Family::AppLog, above, Edge::First)
            .unwrap()
            .unwrap();
        assert_eq!(keys::owner_of(&key), application);
        assert!(keys::last_number(&key).unwrap() >= first.get(), "{key:?}");
    }
    // An expired event gives its uid and its key free.
    let mut again = event(0, "again");
    again.uid = Some("uid-898".parse().unwrap());
    again.idempotency = Some(request(898));
    let appended = log.append_blocking(vec![again.clone()]).unwrap();
    assert!(matches!(appended[0], Appended::Committed { .. }));
    let appended = log.append_blocking(vec![again.clone()]).unwrap();
    assert!(matches!(appended[0], Appended::Replayed { .. }));
    again.idempotency = None;
    again.uid = Some("uid-998".parse().unwrap());
    let appended = log.append_blocking(vec![again.clone()]).unwrap();
    assert!(matches!(appended[0], Appended::UidTaken { .. }));
    again.idempotency = Some(request(998));
    let appended = log.append_blocking(vec![again]).unwrap();
    assert!(matches!(appended[0], Appended::Replayed { .. }));
}

/// One commit is applied at once, so each application has one row for all of it, however much of that
/// has expired.
#[test]
fn an_index_row_is_read_checked_and_copied_from_its_middle() {
    let directory = TempDir::new().unwrap();
    let none = keeping(&directory, Retention::default());
    let log = EventLog::open(none.clone()).unwrap();
    let all = (0..1000).map(|index| event(u8::from(index % 3 == 0), vec![b'x'; 350]));
    log.append_blocking(all.collect()).unwrap();
    log.delivery_state().unwrap();
    assert_eq!(rows(&log, Family::AppLog), 2);
    assert!(rows(&log, Family::Log) > 5);
    log.close().unwrap();
    drop(log);
    for kept in [900, 333, 150, 1, 0] {
        let low = Offset::new(1000 - kept);
        let retention = events(Some(kept), None, None);
        let log = EventLog::open(keeping(&directory, retention)).unwrap();
        assert_eq!(expire(&log, now()).events, low);
        log.close().unwrap();
        drop(log);
        compact(none.clone(), |_| {}).unwrap();
        let scratch = directory.path().join("scratch");
        let report = check(&none.directory, &scratch, |_| {}).unwrap();
        assert!(report.is_good(), "{report:?}");
        let log = EventLog::open(none.clone()).unwrap();
        let whole = Offset::ZERO..log.end();
        for application in [0, 1] {
            let mut expected: Vec<u64> = (low.get()..1000)
                .filter(|index| u8::from(index % 3 == 0) == application)
                .collect();
            let id = ApplicationId::from_bytes([application; 20]);
            for order in [Order::Ascending, Order::Descending] {
                let page = log.read_application(id, whole.clone(), order, ALL).unwrap();
                let found: Vec<u64> = page.records.iter().map(|r| r.offset.get()).collect();
                assert_eq!(found, expected, "{order:?} above {low}");
                expected.reverse();
            }
        }
        // Of both, the last event is in the last batch, which stays while an event of it does.
        let left = if kept == 0 { 0 } else { 2 };
        assert_eq!(rows(&log, Family::AppLog), left);
        log.close().unwrap();
    }
}

#[test]
fn bytes_and_age_bound_the_log_and_it_opens_again() {
    let directory = TempDir::new().unwrap();
    let most = 256 << 10;
    let by_bytes = keeping(&directory, events(None, Some(most), None));
    let log = EventLog::open(by_bytes.clone()).unwrap();
    let mut end = 0;
    for round in 0..5 {
        fill(&log, end..end + 700);
        end += 700;
        let low = expire(&log, now()).events;
        let events = state(&log).events;
        assert!(events.bytes <= most, "round {round}: {events:?}");
        assert!(
            events.bytes > most - (128 << 10),
            "round {round}: {events:?}"
        );
        assert_eq!(events.first.position, low);
        // As a kill -9 leaves it.
        let copy = TempDir::new().unwrap();
        copy_directory(&directory.path().join("log"), &copy.path().join("log"));
        let copied = EventLog::open(Config {
            directory: copy.path().join("log"),
            ..by_bytes.clone()
        })
        .unwrap();
        assert_eq!((copied.low(), copied.end()), (log.low(), log.end()));
        assert_eq!(
            copied.read(low, ALL).unwrap(),
            log.read(low, ALL).unwrap(),
            "round {round}"
        );
    }
    log.close().unwrap();
    drop(log);
    let hour = Duration::from_hours(1);
    let log = EventLog::open(keeping(&directory, events(None, None, Some(hour)))).unwrap();
    let before = log.low();
    assert_eq!(expire(&log, now()), before, "nothing is an hour old");
    let low = expire(&log, now().plus(hour).plus(Duration::from_secs(1)));
    assert_eq!(low.events, log.end(), "everything is");
    assert_eq!(rows(&log, Family::Log), 0);
    fill(&log, end..end + 10);
    log.close().unwrap();
    drop(log);
    let log = EventLog::open(keeping(&directory, Retention::default())).unwrap();
    assert_eq!(log.read(log.low().events, ALL).unwrap().len(), 10);
}

#[test]
fn attempts_expire_by_limits_of_their_own() {
    let directory = TempDir::new().unwrap();
    let retention = Retention {
        attempts: Keep {
            count: Some(50),
            ..Keep::default()
        },
        ..Retention::default()
    };
    let log = EventLog::open(keeping(&directory, retention)).unwrap();
    fill(&log, 0..10);
    let subscription = SubscriptionId::from_bytes([9; 20]);
    let attempt = |offset: u64| NewAttempt {
        event: EventId::at(Timestamp::from_millis(1), Offset::new(offset), [0; 7]),
        subscription,
        url: "http://example.com".into(),
        number: 0,
        started: Timestamp::from_millis(1),
        duration: Duration::ZERO,
        status_code: Some(200),
        response: "x".repeat(1000),
        outcome: Outcome::Delivered,
        trigger: Trigger::Scheduled,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for _ in 0..30 {
        let progress = (0..10)
            .map(|offset| Progress::Attempt(attempt(offset)))
            .collect();
        runtime.block_on(log.record(progress)).unwrap();
        log.delivery_state().unwrap();
    }
    let low = expire(&log, now());
    assert_eq!(
        (low.events, low.attempts),
        (Offset::ZERO, AttemptSeq::new(250))
    );
    let whole = AttemptSeq::ZERO..AttemptSeq::MAX;
    for (of, expected) in [
        (AttemptsOf::Subscription(subscription), 50),
        (AttemptsOf::Event(Offset::new(3)), 5),
    ] {
        for order in [Order::Ascending, Order::Descending] {
            let page = log.attempts(of, whole.clone(), order, ALL).unwrap();
            assert_eq!(page.attempts.len(), expected, "{of:?} {order:?}");
        }
    }
    // The rows of what is gone are gone.
    let engine = &log.handle.shared.engine;
    let first = state(&log).attempts.first.position.get();
    for family in [Family::AttemptBySubscription, Family::AttemptByEvent] {
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let (key, _) = engine.edge(family, all, Edge::First).unwrap().unwrap();
        assert!(keys::last_number(&key).unwrap() >= first, "{family:?}");
    }
}

#[test]
fn undelivered_events_are_kept_up_to_the_cap() {
    for (cap, kept) in [(u64::MAX, Offset::new(37)), (64 << 10, Offset::new(1000))] {
        let directory = TempDir::new().unwrap();
        let retention = Retention {
            undelivered_bytes_max: Some(cap),
            ..events(Some(0), None, None)
        };
        let log = EventLog::open(keeping(&directory, retention)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        fill(&log, 0..37);
        let subscription = runtime.block_on(async {
            let application = super::tests::application(&log, "app").await;
            super::tests::subscription(&log, application).await
        });
        assert_eq!(subscription.start, Offset::new(37));
        fill(&log, 37..1000);
        let low = expire(&log, now()).events;
        if cap == u64::MAX {
            assert_eq!(low, kept);
        } else {
            // Whole batches up to the cap.
            assert!(low > Offset::new(37) && low < kept, "{low}");
            assert!(state(&log).events.bytes <= cap);
        }
        // A mark says that the subscription stands at the end.
        let mark = Progress::Mark(log.end());
        runtime.block_on(log.record(vec![mark])).unwrap();
        assert_eq!(expire(&log, now()).events, log.end());
    }
}

#[test]
fn a_consumer_that_retention_overtook_is_told_once_and_goes_on() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(keeping(&directory, events(Some(100), None, None))).unwrap();
    fill(&log, 0..10);
    let options = ConsumerOptions {
        start: crate::Start::Beginning,
        ..ConsumerOptions::default()
    };
    let mut consumer = log.consumer_blocking("slow", options).unwrap();
    let first = consumer.poll_next().unwrap().unwrap();
    assert_eq!(first.record.offset, Offset::ZERO);
    first.ack();
    fill(&log, 10..1000);
    let low = expire(&log, now()).events;
    let told = consumer.poll_next();
    assert!(
        matches!(&told, Err(ConsumeError::Expired { range }) if range.end == low),
        "{told:?}"
    );
    for offset in 900..1000 {
        let next = consumer.next_blocking().unwrap();
        assert_eq!(next.record.offset, Offset::new(offset));
        next.ack();
    }
    assert!(consumer.poll_next().unwrap().is_none());
}

#[test]
fn what_a_consumer_has_not_acked_is_kept_like_what_is_undelivered() {
    let directory = TempDir::new().unwrap();
    let retention = Retention {
        undelivered_bytes_max: Some(u64::MAX),
        ..events(Some(0), None, None)
    };
    let log = EventLog::open(keeping(&directory, retention)).unwrap();
    fill(&log, 0..500);
    let options = ConsumerOptions::default();
    let mut consumer = log.consumer_blocking("slow", options).unwrap();
    for _ in 0..123 {
        consumer.next_blocking().unwrap().ack();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(consumer.commit_durable(Offset::new(123)))
        .unwrap();
    assert_eq!(expire(&log, now()).events, Offset::new(123));
}

#[test]
fn what_a_subscription_lost_is_told_and_goes_with_it() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(keeping(&directory, Retention::default())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let subscription = runtime.block_on(async {
        let application = super::tests::application(&log, "app").await;
        super::tests::subscription(&log, application).await
    });
    let id = subscription.id;
    assert_eq!(log.expired(id).unwrap(), None);
    for (from, to) in [(10, 20), (5, 8), (30, 31)] {
        let expired = Expired {
            range: Offset::new(from)..Offset::new(to),
            at: Timestamp::from_millis(i64::try_from(from).unwrap()),
        };
        runtime
            .block_on(log.record(vec![Progress::Expired(id, expired)]))
            .unwrap();
        if from == 5 {
            log.delivery_state().unwrap();
        }
    }
    let expected = Some(Expired {
        range: Offset::new(5)..Offset::new(31),
        at: Timestamp::from_millis(30),
    });
    assert_eq!(log.expired(id).unwrap(), expected);
    log.close().unwrap();
    drop(log);
    let log = EventLog::open(keeping(&directory, Retention::default())).unwrap();
    assert_eq!(log.expired(id).unwrap(), expected);
    runtime.block_on(log.delete_subscription(id)).unwrap();
    log.delivery_state().unwrap();
    assert_eq!(rows(&log, Family::Expired), 0);
}

/// The clock of a machine jumps ahead by a year, is corrected, jumps again and stays.
#[test]
fn a_clock_that_jumps_ahead_expires_nothing_by_age_for_an_hour() {
    let directory = TempDir::new().unwrap();
    let day = Duration::from_hours(24);
    let mut limits = events(None, None, Some(day));
    let log = EventLog::open(keeping(&directory, limits)).unwrap();
    fill(&log, 0..100);
    log.delivery_state().unwrap();
    let (queue, _requests) = crossbeam_channel::bounded(1);
    let shared = &log.handle.shared;
    let (_end, mut retention) = RetentionLoop::new(shared, &queue, now());
    let (wall, start) = (now(), Instant::now());
    let (year, minute) = (365 * day, Duration::from_mins(1));
    let everything = Some(log.end());
    for (what, jump, passed, expected) in [
        ("a year ahead", year, minute, None),
        ("corrected", Duration::ZERO, 30 * minute, None),
        ("ahead again", year, 40 * minute, None),
        ("not for an hour yet", year, 99 * minute, None),
        ("it stays", year, 100 * minute, everything),
    ] {
        let low = retention.look(wall.plus(jump + passed), start + passed);
        let events = low.unwrap().map(|low| low.events);
        assert_eq!(events, expected, "{what}");
    }
    // The same when it is opened with such a clock; what is over other limits expires at once.
    (_, retention) = RetentionLoop::new(shared, &queue, now());
    let low = retention.look(wall.plus(year), Instant::now()).unwrap();
    assert_eq!(low, None);
    log.close().unwrap();
    drop((retention, log));
    limits.events.count = Some(10);
    let log = EventLog::open(keeping(&directory, limits)).unwrap();
    let shared = &log.handle.shared;
    let (_end, mut retention) = RetentionLoop::new(shared, &queue, now());
    let low = retention.look(wall.plus(year), Instant::now()).unwrap();
    assert_eq!(low.map(|low| low.events), Some(Offset::new(90)));
}

/// A low end is shown before it is durable. A power cut takes it back, and with it come the events:
/// their keys must still be there.
#[test]
fn keys_are_forgotten_only_when_the_expiry_is_durable() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(keeping(&directory, events(Some(100), None, None))).unwrap();
    let shared = Arc::clone(&log.handle.shared);
    for range in [0..500, 500..1000] {
        fill(&log, range);
        shared.keys.seal_all(shared.ring.end());
    }
    assert_eq!(expire(&log, now()).events, Offset::new(900));
    let (_wake, _seal, mut merge) = upkeep::loops(&shared);
    let runs = || shared.keys.runs();
    merge.forget().unwrap();
    assert_eq!(runs(), [2, 2], "no barrier has made it durable");
    log.close().unwrap();
    merge.forget().unwrap();
    assert_eq!(runs(), [1, 1]);
}
