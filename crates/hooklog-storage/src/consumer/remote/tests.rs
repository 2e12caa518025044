use tempfile::TempDir;

use super::*;
use crate::commands::NewApplication;
use crate::config::Config;
use crate::consumer::ConsumerScope;
use crate::event::Event;
use crate::id::{ApplicationId, OrganisationId};
use crate::wait::wait;

fn open(directory: &TempDir) -> EventLog {
    let config = Config {
        journal_segment_bytes: 1 << 20,
        payload_bytes_max: 256 << 10,
        ..Config::new(directory.path().join("log"))
    };
    EventLog::open(config).unwrap()
}

fn application(log: &EventLog) -> ApplicationId {
    let new = NewApplication {
        organisation: OrganisationId::from_bytes([7; 20]),
        uid: None,
        name: "a".to_owned(),
        metadata: std::collections::BTreeMap::new(),
        policy: crate::Policy::default(),
    };
    log.create_application_blocking(new).unwrap().id
}

fn key(scope: ConsumerScope, name: &str) -> ConsumerKey {
    let name = name.parse().unwrap();
    ConsumerKey { scope, name }
}

/// Where it stands now.
#[track_caller]
fn cursor(log: &EventLog, key: &ConsumerKey) -> u64 {
    log.find_consumer(key).unwrap().cursor.get()
}

#[test]
fn a_cursor_goes_forward_by_advances_in_any_order_and_back_by_a_seek() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let id = application(&log);
    let key = key(ConsumerScope::Application(id), "x");
    let events = (0..10).map(|_| Event::new(id, "t".parse().unwrap(), "{}"));
    log.append_blocking(events.collect()).unwrap();
    assert!(log.find_consumer(&key).is_none());
    let absent = wait(log.advance_consumer(&key, Offset::new(1)));
    assert!(matches!(absent, Err(ConsumerError::NotFound { .. })));
    let created = wait(log.create_consumer(key.clone(), Start::At(Offset::new(2)))).unwrap();
    assert_eq!((created.cursor.get(), created.lag), (2, 8));
    let again = wait(log.create_consumer(key.clone(), Start::End)).unwrap();
    assert_eq!(again.cursor.get(), 2, "there was one");

    // Many at once, in one group or several: the furthest counts.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut set = tokio::task::JoinSet::new();
        for to in [5, 3, 9, 4, 7] {
            let (log, key) = (log.clone(), key.clone());
            set.spawn(async move { log.advance_consumer(&key, Offset::new(to)).await });
        }
        set.join_all().await.into_iter().for_each(Result::unwrap);
    });
    assert_eq!(cursor(&log, &key), 9);
    wait(log.advance_consumer(&key, Offset::new(99))).unwrap();
    assert_eq!(cursor(&log, &key), 10, "the end is the furthest");
    wait(log.seek_consumer(&key, Offset::new(4))).unwrap();
    assert_eq!(cursor(&log, &key), 4);

    // A reader of this process has it for itself.
    let options = ConsumerOptions::of(id);
    let mut reader = log.consumer_blocking("x", options).unwrap();
    assert_eq!(reader.next_blocking().unwrap().offset.get(), 4);
    let refused = wait(log.advance_consumer(&key, Offset::new(8)));
    assert!(matches!(refused, Err(ConsumerError::InUse { .. })));
    let refused = wait(log.seek_consumer(&key, Offset::new(8)));
    assert!(matches!(refused, Err(ConsumerError::InUse { .. })));
    drop(reader);

    log.close().unwrap();
    drop(log);
    let log = open(&directory);
    assert_eq!(cursor(&log, &key), 4, "as after a seek");
    wait(log.advance_consumer(&key, Offset::new(6))).unwrap();
    wait(log.delete_application(id)).unwrap();
    let gone = wait(log.advance_consumer(&key, Offset::new(8)));
    assert!(matches!(gone, Err(ConsumerError::NotFound { .. })));
    let gone = wait(log.create_consumer(key.clone(), Start::End));
    assert!(matches!(gone, Err(ConsumerError::NotFound { .. })));
}

#[test]
fn consumers_are_bounded() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let id = application(&log);
    let scope = ConsumerScope::Application(id);
    for index in 0..1_000 {
        let name = format!("c{index}");
        let created = log.create_consumer(key(scope, &name), Start::End);
        wait(created).unwrap();
    }
    let refused = wait(log.create_consumer(key(scope, "more"), Start::End));
    assert!(matches!(
        refused,
        Err(ConsumerError::Limit { limit: 1_000, .. })
    ));
    wait(log.create_consumer(key(scope, "c7"), Start::End)).unwrap();
    wait(log.delete_consumer(scope, "c7")).unwrap();
    wait(log.create_consumer(key(scope, "more"), Start::End)).unwrap();
}
