//! Tests of the tasks that make attempts.

use std::collections::BTreeSet;

use hooklog_storage::{Endpoint, Offset, Trigger};
use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::deliver::Verdict;
use crate::resolve::Resolver;
use crate::resolve::system::NameServers;
use crate::testing::sink::{Reply, Sink};
use crate::testing::{record_of, subscription};

/// Twice what the doc of `IDLE_MAX` says.
const CARRIER_BYTES_MAX: usize = 2 << 10;

/// More than wait for work in the end.
const ATTEMPTS: u64 = 2 * IDLE_MAX as u64;

fn carriers(directory: &TempDir) -> Carriers {
    let log = EventLog::open(hooklog_storage::Config::new(directory.path())).unwrap();
    let config = Config {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..Config::default()
    };
    let resolver = Arc::new(Resolver::new(NameServers::default()));
    Carriers::new(log, Deliver::new(&config, resolver))
}

fn flight(sink: &Sink, offset: u64) -> Flight {
    let endpoint = Endpoint {
        url: sink.url().into(),
        ..subscription(1).endpoint
    };
    Flight {
        subscription: Arc::new(Subscription {
            endpoint,
            ..subscription(1)
        }),
        start: Start {
            offset: Offset::new(offset),
            record: Some(Arc::new(record_of(offset, 100))),
            number: 0,
            trigger: Trigger::Scheduled,
        },
        now: Timestamp::from_millis(1_700_000_000_000),
        begun: Instant::now(),
        sample: 0.5,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_ends_once_and_carriers_are_used_again() {
    let directory = TempDir::new().unwrap();
    let sink = Sink::start(|_, _| Reply::Status(204, "")).await;
    let mut carriers = carriers(&directory);
    for round in 0..3 {
        for number in 0..ATTEMPTS {
            carriers.start(flight(&sink, round * ATTEMPTS + number));
        }
        let (mut ended, mut taken) = (BTreeSet::new(), Vec::new());
        while ended.len() < usize::try_from(ATTEMPTS).unwrap() {
            carriers.finished(&mut taken).await.unwrap();
            for finished in taken.drain(..) {
                assert_eq!(finished.answer.verdict, Verdict::Delivered);
                assert!(ended.insert(finished.offset), "it ended before");
            }
        }
        assert!(carriers.yard.state.lock().idle.len() <= IDLE_MAX);
    }
    // One after the other needs no further carrier: the last one waits, or is about to.
    let mut taken = Vec::new();
    for number in 0..100 {
        carriers.start(flight(&sink, number));
        carriers.finished(&mut taken).await.unwrap();
        taken.clear();
        assert!(carriers.yard.state.lock().waiting.is_empty());
    }
    assert!(carriers.yard.state.lock().idle.len() <= IDLE_MAX);
    assert_eq!(sink.received().len() as u64, 3 * ATTEMPTS + 100);
}

#[tokio::test]
async fn a_carrier_that_breaks_is_told() {
    let directory = TempDir::new().unwrap();
    let mut sink = Sink::start(|_, _| Reply::Hang).await;
    let mut carriers = carriers(&directory);
    carriers.start(flight(&sink, 1));
    sink.wait(|received| received.len() == 1).await;
    carriers.tasks.abort_all();
    assert_eq!(carriers.finished(&mut Vec::new()).await, Err(Broken));
}

/// What idles is to be small: the ways that few attempts go (a new connection, HTTP/2) are in boxes.
#[tokio::test]
async fn a_carrier_takes_little() {
    let directory = TempDir::new().unwrap();
    let carriers = carriers(&directory);
    let bytes = size_of_val(&carry(Arc::clone(&carriers.yard)));
    assert!(bytes <= CARRIER_BYTES_MAX, "{bytes}");
}
