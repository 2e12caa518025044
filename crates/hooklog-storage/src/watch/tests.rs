use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::event::Event;
use crate::id::ApplicationId;
use crate::log::EventLog;
use crate::page::Limit;
use crate::wait::wait;

const A: ApplicationId = ApplicationId::from_bytes([1; 20]);
const B: ApplicationId = ApplicationId::from_bytes([2; 20]);
const LIMIT: Limit = Limit {
    items: 10,
    bytes: 1 << 20,
};

fn open(directory: &TempDir, tail_bytes_max: usize) -> EventLog {
    let config = Config {
        journal_segment_bytes: 1 << 20,
        payload_bytes_max: 256 << 10,
        tail_bytes_max,
        ..Config::new(directory.path().join("log"))
    };
    EventLog::open(config).unwrap()
}

fn publish(log: &EventLog, application: ApplicationId, payload: &str) {
    let event = Event::new(application, "t".parse().unwrap(), payload.to_owned());
    log.append_blocking(vec![event]).unwrap();
}

fn offsets(watched: Option<Watched>) -> Vec<u64> {
    match watched {
        Some(Watched::Records(records)) => records.iter().map(|r| r.offset.get()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_commit_is_told_of_once() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory, 1 << 20);
    publish(&log, A, "before");
    let mut watch = log.watch();
    assert!(watch.poll_next().is_none(), "that was before");
    publish(&log, A, "one");
    publish(&log, B, "two");
    wait(watch.wait());
    assert_eq!(offsets(watch.poll_next()), [1]);
    assert_eq!(offsets(watch.poll_next()), [2]);
    assert!(watch.poll_next().is_none());
    assert_eq!(watch.end(), log.end());
    log.close().unwrap();
    wait(watch.wait());
    assert!(watch.poll_next().is_none());
}

#[test]
fn one_that_fell_behind_is_told_so() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory, 1);
    let mut watch = log.watch();
    for _ in 0..20 {
        publish(&log, A, "{}");
    }
    // Waits until all is applied, after which memory gives everything up but for the last commit.
    log.delivery_state().unwrap();
    publish(&log, A, "{}");
    assert!(matches!(watch.poll_next(), Some(Watched::Missed)));
    assert_eq!(watch.end(), log.end());
    assert!(watch.poll_next().is_none());
    let (end, none) = (log.end(), crate::Offset::ZERO);
    assert!(
        log.read_application_in_memory(A, none..end, LIMIT)
            .is_none()
    );
}

#[test]
fn what_memory_holds_is_read_without_the_disk() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory, 1 << 20);
    for (application, payload) in [(A, "0"), (B, "1"), (A, "2"), (A, "3")] {
        publish(&log, application, payload);
    }
    let all = crate::Offset::ZERO..log.end();
    let page = log
        .read_application_in_memory(A, all.clone(), Limit { items: 2, ..LIMIT })
        .unwrap();
    let found: Vec<u64> = page.records.iter().map(|r| r.offset.get()).collect();
    assert_eq!((found, page.rest.start.get()), (vec![0, 2], 3));
    let rest = log.read_application_in_memory(A, page.rest, LIMIT).unwrap();
    assert_eq!((rest.records.len(), rest.rest.is_empty()), (1, true));
    let past = log.end()..log.end();
    let past = log.read_application_in_memory(A, past, LIMIT).unwrap();
    assert!(past.records.is_empty() && past.rest.is_empty());
}
