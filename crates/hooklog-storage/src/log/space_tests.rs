//! A disk that is nearly full: what is refused, what goes on, and that nothing refused is lost.
//!
//! **Invariant:** how much is left is told by the test, not by the machine's disk.
//! **Next:** `tests.rs`.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tests::{application, config, event, subscription};
use super::*;
use crate::attempt::{Cursor, CursorState, NewAttempt, Retry, Trigger};
use crate::commands::TaskStep;
use crate::delayed::ReleaseStep;
use crate::event::Appended;
use crate::offset::AttemptSeq;
use crate::page::AttemptsOf;
use crate::space::PROGRESS_RESERVE_BYTES;
use crate::task::{Replay, TaskState};

const FULL: CommitError = CommitError::Busy { what: "the disk" };
/// What is asked before a group finds the disk full from this many groups on.
static GROUPS_LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

#[expect(clippy::unnecessary_wraps, reason = "the type of a setting")]
fn full_after_some_groups(_: &Path) -> Option<u64> {
    let left = GROUPS_LEFT.fetch_update(Atomic::SeqCst, Atomic::SeqCst, |left| left.checked_sub(1));
    Some(left.map_or(0, |_| u64::MAX / 2))
}

/// The story: an attempt that failed was refused with its cursor and the mark, the dispatcher was told
/// that nothing was left to record, and after a restart nobody tried that event again.
#[tokio::test]
async fn progress_that_a_full_disk_refuses_is_given_back_and_recorded_later() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(Config {
        free_bytes: full_after_some_groups,
        ..config(&directory)
    })
    .unwrap();
    let app = application(&log, "a").await;
    let to = subscription(&log, app).await.id;
    let events = (0..20).map(|_| Event {
        application: app,
        ..event(1, "{}")
    });
    let appended = log.append(events.collect()).await.unwrap();
    let ids: Vec<EventId> = appended
        .iter()
        .map(|appended| match appended {
            Appended::Committed { id, .. } => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut made = Vec::new();
    for pieces in 0..3 {
        // Five attempts are a piece and a bit, twenty of them four.
        let mut progress: Vec<Progress> = ids.iter().map(|id| failed(*id, to)).collect();
        let cursor = Cursor {
            floor: log.end(),
            settled: Vec::new(),
            state: CursorState::CaughtUp,
        };
        progress.push(Progress::Cursor(to, cursor));
        progress.push(Progress::Mark(log.end()));
        GROUPS_LEFT.store(pieces, Atomic::SeqCst);
        let refused = log.record(progress.clone()).await.unwrap_err();
        assert_eq!(refused.error, FULL);
        let recorded = progress.len() - refused.rest.len();
        assert_eq!(refused.rest, progress[recorded..], "what was not recorded");
        assert_eq!(recorded > 0, pieces > 0, "{recorded} are recorded");
        assert!(refused.rest.len() > 5, "more than the last piece is left");
        GROUPS_LEFT.store(u64::MAX, Atomic::SeqCst);
        record(&log, refused.rest).await;
        made.extend(ids.iter().copied());
    }
    let of = AttemptsOf::Subscription(to);
    let all = Limit {
        items: usize::MAX,
        bytes: usize::MAX,
    };
    let range = AttemptSeq::ZERO..AttemptSeq::MAX;
    let page = log.attempts(of, range, Order::Ascending, all).unwrap();
    let found: Vec<EventId> = page.attempts.iter().map(|a| a.attempt.event).collect();
    assert_eq!(found, made, "each is recorded once, in order");
    drop(log);
    let log = super::tests::open(&directory);
    let state = log.delivery_state().unwrap();
    assert_eq!(state.retries.len(), ids.len());
    assert_eq!((state.mark, state.cursors.len()), (log.end(), 1));
}

/// Records what is left, as the dispatcher does: the group that refused it may still be open.
async fn record(log: &EventLog, mut progress: Vec<Progress>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(Unrecorded { error, rest }) = log.record(progress).await {
        assert_eq!(error, FULL);
        assert!(Instant::now() < deadline, "there is room");
        progress = rest;
        tokio::task::yield_now().await;
    }
}

/// An attempt that takes a fifth of a piece.
fn failed(event: EventId, subscription: crate::SubscriptionId) -> Progress {
    Progress::Attempt(NewAttempt {
        event,
        subscription,
        url: "https://example.com/hook".into(),
        number: 0,
        started: Timestamp::from_millis(1),
        duration: Duration::from_millis(1),
        status_code: Some(500),
        response: "x".repeat(100 << 10),
        outcome: Outcome::Retry(Retry::failed(1, Timestamp::from_millis(9))),
        trigger: Trigger::Scheduled,
    })
}

static FREE: AtomicU64 = AtomicU64::new(u64::MAX);

#[expect(clippy::unnecessary_wraps, reason = "the type of a setting")]
fn free(_: &Path) -> Option<u64> {
    Some(FREE.load(Atomic::SeqCst))
}

/// The story: events that came due went on to be released when the disk had less left than what is
/// kept free, until the database found it full and the log was stopped.
#[tokio::test]
async fn what_runs_by_itself_leaves_the_reserve_and_what_people_ask_for_does_not() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(Config {
        free_bytes: free,
        ..config(&directory)
    })
    .unwrap();
    let app = application(&log, "a").await;
    let to = subscription(&log, app).await.id;
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    // Later than the commit that it is told with, on a slow machine too.
    let due = Timestamp::default().plus(since + Duration::from_millis(300));
    let later = Event {
        application: app,
        deliver_at: Some(due),
        ..event(1, "{}")
    };
    let appended = log.append(vec![later]).await.unwrap();
    let Appended::Committed { id, .. } = appended[0] else {
        panic!("{appended:?}");
    };
    let all = Offset::ZERO..Offset::MAX;
    let task = log.create_task(to, Replay::Missing, all.clone()).await;
    let task = task.unwrap().id;
    let step = |again| TaskStep {
        from: Offset::ZERO,
        next: Offset::new(1),
        again,
    };
    let of = log.delayed(None, Timestamp::from_millis(i64::MAX), 9);
    let of = of.unwrap().due.remove(0);
    let release = ReleaseStep {
        of,
        key: None,
        seen: vec![to],
        to: vec![to],
        is_last: true,
    };

    FREE.store(PROGRESS_RESERVE_BYTES, Atomic::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match log.release(vec![release.clone()]).await {
            // Its time has not come, and nothing is written.
            Ok(_) => assert!(parked(&log).is_empty(), "it is released"),
            Err(ChangeError::Commit(error)) => break assert_eq!(error, FULL),
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < deadline, "its time never comes");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let refused = log.advance_task(task, step(vec![id.offset()])).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, ChangeError::Commit(FULL)),
        "a step: {refused}"
    );
    assert!(parked(&log).is_empty());
    let appended = log.append(vec![event(1, "{}")]).await.unwrap_err();
    assert!(matches!(appended, AppendError::Commit(FULL)));
    // What people ask for, and what makes nothing, goes on.
    log.redeliver(to, id).await.unwrap();
    assert_eq!(parked(&log).len(), 1);
    log.skip(to, id).await.unwrap();
    let other = log.create_task(to, Replay::Missing, all).await.unwrap().id;
    log.advance_task(other, step(Vec::new())).await.unwrap();
    log.record(vec![Progress::Skipped(to, id.offset())])
        .await
        .unwrap_err();

    FREE.store(u64::MAX, Atomic::SeqCst);
    record(&log, vec![Progress::Skipped(to, id.offset())]).await;
    log.release(vec![release]).await.unwrap();
    assert_eq!(parked(&log).len(), 1, "it is released once there is room");
    let task = log.advance_task(task, step(vec![id.offset()])).await;
    assert_eq!(task.unwrap().state, TaskState::Finished);
}

fn parked(log: &EventLog) -> Vec<Offset> {
    let retries = log.delivery_state().unwrap().retries;
    retries.into_iter().map(|(_, offset, _)| offset).collect()
}
