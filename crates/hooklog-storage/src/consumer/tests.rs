use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::commands::NewApplication;
use crate::config::Config;
use crate::directory::{Directory, Manifest};
use crate::engine::{self, Engine, Op};
use crate::event::Event;
use crate::keys::{self, Family};
use crate::log::EventLog;
use crate::name::{Channel, EventTypeName};
use crate::testing::copy_directory;

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(20);

fn config(directory: &std::path::Path) -> Config {
    Config {
        journal_segment_bytes: 1 << 20,
        payload_bytes_max: 256 << 10,
        ..Config::new(directory)
    }
}

fn open(directory: &TempDir) -> EventLog {
    EventLog::open(config(&directory.path().join("log"))).unwrap()
}

fn application(log: &EventLog, uid: &str) -> ApplicationId {
    let new = NewApplication {
        organisation: crate::id::OrganisationId::from_bytes([7; 20]),
        uid: Some(uid.parse().unwrap()),
        name: uid.to_owned(),
        metadata: std::collections::BTreeMap::new(),
        policy: crate::Policy::default(),
    };
    log.create_application_blocking(new).unwrap().id
}

/// Publishes one event for each word, `type` or `type@channel`.
fn publish(log: &EventLog, application: ApplicationId, words: &str) {
    let events = words.split_whitespace().map(|word| {
        let (event_type, channel) = word.split_once('@').unwrap_or((word, ""));
        let mut event = Event::new(application, event_type.parse().unwrap(), word.to_owned());
        event.channels = channel.parse().into_iter().collect();
        event
    });
    log.append_blocking(events.collect()).unwrap();
}

/// What there is to read now, without an ack, as offsets.
fn read(consumer: &mut Consumer) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(delivery) = consumer.poll_next().unwrap() {
        found.push(delivery.offset.get());
    }
    found
}

fn options(scope: ConsumerScope, start: Start) -> ConsumerOptions {
    ConsumerOptions {
        scope,
        start,
        ..ConsumerOptions::default()
    }
}

const A: ApplicationId = ApplicationId::from_bytes([1; 20]);
const B: ApplicationId = ApplicationId::from_bytes([2; 20]);

#[test]
fn what_was_not_acknowledged_comes_again_after_a_drop_a_close_and_a_kill() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    publish(&log, A, "a b c d e f");
    let mut consumer = log
        .consumer_blocking("x", ConsumerOptions::default())
        .unwrap();
    let deliveries: Vec<_> = (0..6).map(|_| consumer.next_blocking().unwrap()).collect();
    for index in [1, 0, 4] {
        deliveries[index].ack();
    }
    assert_eq!((consumer.cursor().get(), consumer.lag()), (2, 4));
    drop(consumer);
    deliveries[2].ack();
    let mut consumer = log
        .consumer_blocking("x", ConsumerOptions::default())
        .unwrap();
    assert_eq!(
        consumer.cursor().get(),
        2,
        "an ack after the drop has no effect"
    );
    assert_eq!(read(&mut consumer), [2, 3, 4, 5]);
    consumer.commit_blocking(Offset::new(4)).unwrap();
    consumer.commit_blocking(Offset::new(1)).unwrap();
    assert_eq!(consumer.cursor().get(), 4, "a commit never goes back");

    // As kill -9 leaves it: what the page cache has, and no lock.
    let killed = TempDir::new().unwrap();
    copy_directory(&directory.path().join("log"), &killed.path().join("log"));
    drop((consumer, deliveries));
    log.close().unwrap();
    drop(log);
    for directory in [directory, killed] {
        // Twice: from the journal, and then from sled.
        for _ in 0..2 {
            let log = open(&directory);
            let [info] = &log.consumers(None)[..] else {
                panic!("there is one consumer");
            };
            assert_eq!((info.cursor.get(), info.lag), (4, 2));
            let mut consumer = log
                .consumer_blocking("x", ConsumerOptions::default())
                .unwrap();
            assert_eq!(read(&mut consumer), [4, 5]);
        }
    }
}

#[test]
fn a_name_is_open_once_and_deleted_when_closed() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let of_log = || log.consumer_blocking("x", ConsumerOptions::default());
    let consumer = of_log().unwrap();
    assert!(matches!(of_log(), Err(ConsumerError::InUse { key }) if key.name.as_str() == "x"));
    let delete = || log.delete_consumer_blocking(ConsumerScope::Log, "x");
    assert!(matches!(delete(), Err(ConsumerError::InUse { .. })));
    // The same name in another scope is another consumer.
    let id = application(&log, "demo");
    let other = log.consumer_blocking("x", ConsumerOptions::of(id)).unwrap();
    assert_eq!(other.key().to_string(), format!("{id}/x"));
    assert_eq!(log.consumers(None).len(), 2);
    assert_eq!(log.consumers(Some(ConsumerScope::Application(id))).len(), 1);
    drop((consumer, other));
    delete().unwrap();
    assert!(matches!(delete(), Err(ConsumerError::NotFound { .. })));
    assert_eq!(log.consumers(None).len(), 1);

    let missing = log.consumer_blocking("x", ConsumerOptions::of(A));
    assert!(matches!(
        missing,
        Err(ConsumerError::NotFound {
            what: "application"
        })
    ));
    let unnamed = log.consumer_blocking("a b", ConsumerOptions::default());
    let error = unnamed.unwrap_err().to_string();
    assert_eq!(
        error,
        "the consumer's name may hold only letters, digits, `-`, `_` and `.`, but holds ' '"
    );
    let options = ConsumerOptions {
        unacked_max: 0,
        ..ConsumerOptions::default()
    };
    let error = log.consumer_blocking("y", options).unwrap_err().to_string();
    assert_eq!(error, "unacked_max is 0, but must be 1 to 1000000");
    drop(log);
    assert_eq!(
        open(&directory).consumers(None).len(),
        1,
        "the deletion is durable"
    );
}

/// A scope, a start, event types, channels; and the offsets that this yields.
type Case = (
    ConsumerScope,
    Start,
    Option<Vec<EventTypeName>>,
    Option<Vec<Channel>>,
    Vec<u64>,
);

#[test]
fn scopes_filters_and_starts_choose_what_is_yielded() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let (a, b) = (application(&log, "a"), application(&log, "b"));
    publish(&log, a, "x y@red");
    publish(&log, b, "x x@red");
    publish(&log, a, "x@blue y x@red");
    let (whole, of_a) = (ConsumerScope::Log, ConsumerScope::Application(a));
    let (any, red) = (None, Some(vec!["red".parse().unwrap()]));
    let x = || Some(vec!["x".parse().unwrap()]);
    let middle = log.get_at(Offset::new(4)).unwrap().unwrap().timestamp;
    let since = log.offset_at(middle).unwrap().get();
    let cases: [Case; 8] = [
        (whole, Start::Beginning, None, any.clone(), (0..7).collect()),
        (
            of_a,
            Start::Beginning,
            None,
            any.clone(),
            vec![0, 1, 4, 5, 6],
        ),
        (
            whole,
            Start::Beginning,
            x(),
            any.clone(),
            vec![0, 2, 3, 4, 6],
        ),
        (of_a, Start::At(Offset::new(1)), x(), red.clone(), vec![6]),
        (whole, Start::Beginning, None, red, vec![1, 3, 6]),
        (whole, Start::End, None, any.clone(), vec![]),
        (of_a, Start::At(Offset::new(999)), None, any.clone(), vec![]),
        (whole, Start::Since(middle), None, any, (since..7).collect()),
    ];
    for (number, (scope, start, event_types, channels, expected)) in (0..).zip(cases) {
        let filter = Filter {
            condition: None,
            event_types,
            channels,
        };
        let options = ConsumerOptions {
            filter,
            ..options(scope, start)
        };
        let name = format!("c{number}");
        let mut consumer = log.consumer_blocking(&name, options.clone()).unwrap();
        let found = read(&mut consumer);
        assert_eq!(found, expected, "{name}");
        assert_eq!(consumer.position().get(), 7, "{name} has seen all");
        // The start counts for a new name only.
        drop(consumer);
        let again = options.clone();
        let mut consumer = log.consumer_blocking(&name, options).unwrap();
        assert_eq!(read(&mut consumer), expected, "{name} again");
        consumer.seek_blocking(Offset::new(5)).unwrap();
        // A seek goes wherever it is told, also before the start.
        let options = ConsumerOptions {
            start: Start::Beginning,
            ..again
        };
        let mut all = log.consumer_blocking("all", options.clone()).unwrap();
        let mut behind = read(&mut all);
        behind.retain(|offset| *offset >= 5);
        drop(all);
        log.delete_consumer_blocking(options.scope, "all").unwrap();
        assert_eq!(read(&mut consumer), behind, "{name} after a seek");
    }
}

#[test]
fn a_reader_that_waits_gets_what_is_published_and_hears_of_the_close() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let mut consumer = log
        .consumer_blocking("x", ConsumerOptions::default())
        .unwrap();
    assert!(
        consumer
            .next_timeout(Duration::from_millis(10))
            .unwrap()
            .is_none()
    );
    let reader = std::thread::spawn(move || {
        let mut found = Vec::new();
        loop {
            match consumer.next_blocking() {
                Ok(delivery) => {
                    delivery.ack();
                    found.push(delivery.offset.get());
                }
                Err(error) => return (found, error),
            }
        }
    });
    for _ in 0..50 {
        publish(&log, A, "a b");
    }
    log.close().unwrap();
    let (found, error) = reader.join().unwrap();
    assert_eq!(found, (0..100).collect::<Vec<_>>());
    assert!(error.is_closed(), "{error}");
    drop(log);
    let log = open(&directory);
    // Acks that the log still took are kept; those after its close are not.
    let cursor = log.consumers(None)[0].cursor;
    let mut consumer = log
        .consumer_blocking("x", ConsumerOptions::default())
        .unwrap();
    let again: Vec<_> = (cursor.get()..100).collect();
    assert_eq!(read(&mut consumer), again);
}

#[test]
fn acks_are_committed_while_the_reader_waits() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    publish(&log, A, &"a ".repeat(100));
    let mut consumer = log
        .consumer_blocking("x", ConsumerOptions::default())
        .unwrap();
    while let Some(delivery) = consumer.poll_next().unwrap() {
        delivery.ack();
    }
    assert!(
        consumer
            .next_timeout(Duration::from_millis(1))
            .unwrap()
            .is_none()
    );
    let committed = || log.consumers(None)[0].cursor.get() == 100;
    let deadline = std::time::Instant::now() + SOON;
    while !committed() {
        assert!(
            std::time::Instant::now() < deadline,
            "the last acks lie about"
        );
        // The wait itself is what writes them.
        consumer.next_timeout(Duration::from_millis(1)).unwrap();
    }
    assert_eq!((consumer.cursor().get(), consumer.lag()), (100, 0));
}

#[test]
fn a_reader_that_never_acknowledges_is_told() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    publish(&log, A, "a b c");
    let options = ConsumerOptions {
        unacked_max: 2,
        ..ConsumerOptions::default()
    };
    let mut consumer = log.consumer_blocking("x", options).unwrap();
    let first = consumer.next_blocking().unwrap();
    consumer.next_blocking().unwrap();
    let error = consumer.next_blocking().unwrap_err();
    assert!(
        matches!(error, ConsumeError::Unacked { limit: 2 }),
        "{error}"
    );
    consumer.acker().ack(first.offset);
    assert_eq!(consumer.next_blocking().unwrap().offset.get(), 2);
    consumer.commit_durable_blocking(Offset::new(2)).unwrap();
    assert_eq!(log.consumers(None)[0].cursor.get(), 2);
}

#[test]
fn consumers_are_deleted_with_their_application() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let (gone, kept) = (application(&log, "gone"), application(&log, "kept"));
    let mut consumer = log
        .consumer_blocking("x", ConsumerOptions::of(gone))
        .unwrap();
    drop(
        log.consumer_blocking("y", ConsumerOptions::of(gone))
            .unwrap(),
    );
    drop(
        log.consumer_blocking("x", ConsumerOptions::of(kept))
            .unwrap(),
    );
    drop(
        log.consumer_blocking("x", ConsumerOptions::default())
            .unwrap(),
    );
    let reader = std::thread::spawn(move || {
        let error = consumer.next_blocking().unwrap_err();
        assert!(matches!(error, ConsumeError::Deleted { .. }), "{error}");
        // No write of an open one brings the row back.
        let error = consumer.commit_blocking(Offset::ZERO).unwrap_err();
        assert!(matches!(error, ConsumeError::Deleted { .. }), "{error}");
    });
    log.delete_application_blocking(gone).unwrap();
    reader.join().unwrap();
    let left = |log: &EventLog| -> Vec<_> {
        let all = log.consumers(None);
        all.into_iter().map(|info| info.key.scope).collect()
    };
    let expected = [ConsumerScope::Log, ConsumerScope::Application(kept)];
    assert_eq!(left(&log), expected);
    drop(log);
    for _ in 0..2 {
        assert_eq!(left(&open(&directory)), expected);
    }
}

#[test]
fn the_number_of_consumers_is_bounded() {
    let mut consumers = Consumers::default();
    let key = |scope, number: u32| ConsumerKey {
        scope,
        name: format!("c{number}").parse().unwrap(),
    };
    let row = ConsumerCursor {
        cursor: Offset::ZERO,
        created: Timestamp::from_millis(0),
    };
    for number in 0..999 {
        consumers.put(key(ConsumerScope::Log, number), row);
    }
    // One that is being created counts.
    consumers.lend(&key(ConsumerScope::Log, 999)).unwrap();
    let error = consumers.lend(&key(ConsumerScope::Log, 1000)).unwrap_err();
    let expected = "the number of consumers of one scope is limited to 1000";
    assert_eq!(error.to_string(), expected);
    consumers.lend(&key(ConsumerScope::Log, 5)).unwrap();
    consumers
        .lend(&key(ConsumerScope::Application(B), 0))
        .unwrap();
    consumers.give_back(&key(ConsumerScope::Log, 999));
    consumers.lend(&key(ConsumerScope::Log, 1000)).unwrap();
}

#[test]
fn a_row_that_the_database_lost_is_noticed() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let key = log
        .consumer_blocking("x", ConsumerOptions::default())
        .unwrap()
        .key()
        .clone();
    log.close().unwrap();
    drop(log);
    let path = directory.path().join("log");
    {
        let manifest = Manifest {
            journal_segment_bytes: 1 << 20,
            sled_segment_bytes: engine::SEGMENT_BYTES,
        };
        let opened = Directory::open(&path, manifest).unwrap();
        let engine = Arc::new(
            Engine::open(
                &opened.sled(),
                &opened.sled_file(),
                crate::engine::Sizes::STANDARD,
            )
            .unwrap(),
        );
        let lost = Op {
            family: Family::Consumer,
            key: keys::consumer(&key),
            value: None,
        };
        engine.commit(&[lost]).unwrap();
        engine.barrier().unwrap();
    }
    let error = EventLog::open(config(&path)).unwrap_err().to_string();
    assert!(
        error.contains("consumers or parked deliveries are missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stream_yields_what_the_consumer_does_and_ends_with_the_log() {
    use futures_core::Stream;

    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let event = || Event::new(A, "a".parse().unwrap(), "{}");
    log.append(vec![event(), event()]).await.unwrap();
    let consumer = log.consumer("x", ConsumerOptions::default()).await.unwrap();
    let mut stream = consumer.into_stream();
    let mut next = async || {
        let next =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut stream).poll_next(context));
        tokio::time::timeout(SOON, next).await.unwrap()
    };
    for expected in 0..2 {
        let delivery = next().await.unwrap().unwrap();
        assert_eq!(delivery.offset.get(), expected);
        delivery.ack();
    }
    let closing = log.clone();
    let closed = tokio::task::spawn_blocking(move || closing.close());
    assert!(next().await.is_none());
    assert!(next().await.is_none(), "and stays ended");
    closed.await.unwrap().unwrap();
}
