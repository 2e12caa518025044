//! What an errand makes of a log that refuses.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use hooklog_storage::{
    Appended, Config, Cursor, CursorState, Endpoint, Event, NewApplication, NewAttempt,
    NewSubscription, OrganisationId, Outcome, Retry, SecretKey, Timestamp, Trigger,
};
use tempfile::TempDir;

use super::*;

/// How much the disk has left, and how often that was asked.
static FREE: AtomicU64 = AtomicU64::new(u64::MAX / 2);
static ASKED: AtomicU64 = AtomicU64::new(0);

#[expect(clippy::unnecessary_wraps, reason = "the type of a setting")]
fn free(_: &Path) -> Option<u64> {
    ASKED.fetch_add(1, Ordering::SeqCst);
    Some(FREE.load(Ordering::SeqCst))
}

/// The story: what a full disk refused was taken as recorded; a later cursor passed the event, and
/// after a restart nobody tried it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_a_full_disk_refuses_is_recorded_once_there_is_room() {
    let directory = TempDir::new().unwrap();
    let mut config = Config::new(directory.path());
    config.journal_segment_bytes = 4 << 20;
    config.payload_bytes_max = 64 << 10;
    config.free_bytes = free;
    let log = EventLog::open(config.clone()).unwrap();
    let new = NewApplication::new(OrganisationId::from_bytes([1; 20]), "test");
    let application = log.create_application(new).await.unwrap().id;
    let endpoint = Endpoint::new("http://127.0.0.1/", SecretKey::new(vec![7; 24]));
    let new = NewSubscription::new(application, endpoint);
    let subscription = log.create_subscription(new).await.unwrap().id;
    let event = Event::new(application, "a.b".parse().unwrap(), "{}");
    let appended = log.append(vec![event]).await.unwrap();
    let Appended::Committed { id, timestamp } = appended[0] else {
        panic!("{appended:?}");
    };
    let retry = Retry::failed(1, timestamp);
    let passed = |log: &EventLog| {
        let cursor = Cursor {
            floor: log.end(),
            settled: Vec::new(),
            state: CursorState::CaughtUp,
        };
        let mark = Progress::Mark(log.end());
        vec![Progress::Cursor(subscription, cursor), mark]
    };
    let mut progress = vec![Progress::Attempt(NewAttempt {
        event: id,
        subscription,
        url: "http://127.0.0.1/".into(),
        number: 0,
        started: Timestamp::default(),
        duration: Duration::from_millis(1),
        status_code: Some(500),
        response: String::new(),
        outcome: Outcome::Retry(retry),
        trigger: Trigger::Scheduled,
    })];
    progress.extend(passed(&log));

    FREE.store(0, Ordering::SeqCst);
    let before = ASKED.load(Ordering::SeqCst);
    let mut errand = std::pin::pin!(record(log.clone(), progress));
    let tried_again = async {
        while ASKED.load(Ordering::SeqCst) < before + 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let within = tokio::time::timeout(Duration::from_secs(20), tried_again);
    tokio::select! {
        _ = &mut errand => panic!("nothing of it is on record"),
        tried = within => tried.expect("it is tried again"),
    }
    FREE.store(u64::MAX / 2, Ordering::SeqCst);
    let Errand::Done(input) = errand.await else {
        panic!("the log is stopped");
    };
    assert!(matches!(*input, Input::Recorded));
    log.record(passed(&log)).await.unwrap();
    log.close().unwrap();
    drop(log);

    let log = EventLog::open(config).unwrap();
    let state = log.delivery_state().unwrap();
    assert_eq!(state.mark, log.end(), "it is passed");
    assert_eq!(state.retries, [(subscription, id.offset(), retry)]);
}
