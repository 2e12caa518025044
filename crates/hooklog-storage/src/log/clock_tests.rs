//! A clock that was set back: the log's time stands still until the clock has caught up, and what
//! people mean by a time is told by the clock all the same.
//!
//! **Invariant:** the log is a day ahead, which no test waits for.
//! **Next:** `tests.rs`.

use std::time::Duration;

use tempfile::TempDir;

use super::tests::{ORGANISATION, application, config, event, open, subscription};
use super::*;
use crate::attempt::{NewAttempt, Retry, Trigger};
use crate::codec;
use crate::engine::Engine;
use crate::event::Appended;
use crate::keys::{self, Family};
use crate::revocation::{RevokedToken, TokenCut};
use crate::state::State;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::default().plus(since)
}

/// A log with an application, whose last event was published while the clock was a day ahead.
async fn ahead(directory: &TempDir) -> (EventLog, ApplicationId) {
    let log = open(directory);
    let app = application(&log, "a").await;
    log.append(vec![event(1, "{}")]).await.unwrap();
    (ahead_by(log, directory, DAY), app)
}

/// The log as it is when the clock was ahead for a moment.
fn ahead_by(log: EventLog, directory: &TempDir, by: Duration) -> EventLog {
    log.close().unwrap();
    drop(log);
    let path = config(directory).directory.join("sled");
    let sizes = config(directory).sizes();
    let engine = Engine::open(&path, &path.join("db"), sizes).unwrap();
    let row = engine.get(Family::State, keys::STATE).unwrap().unwrap();
    let mut state: State = codec::decode(&row).unwrap();
    state.last_timestamp = now().plus(by);
    engine.commit(&[state.op().unwrap()]).unwrap();
    engine.barrier().unwrap();
    drop(engine);
    open(directory)
}

/// The story: an event for later was taken as due by the log's time, and pushed a day too early.
#[tokio::test]
async fn events_wait_for_their_time_by_the_wall_clock() {
    let directory = TempDir::new().unwrap();
    let (log, app) = ahead(&directory).await;
    for (after, waits) in [(HOUR, true), (DAY + HOUR, true), (Duration::ZERO, false)] {
        let later = Event {
            application: app,
            ..event(1, "{}").deliver_at(now().plus(after))
        };
        let appended = log.append(vec![later]).await.unwrap();
        let Appended::Committed { id, timestamp } = appended[0] else {
            panic!("{appended:?}");
        };
        assert!(timestamp >= now().plus(23 * HOUR), "ids sort as offsets");
        let record = log.get(id).unwrap().unwrap();
        assert_eq!(record.event.deliver_at.is_some(), waits, "{after:?}");
        let page = log.delayed(None, Timestamp::from_millis(i64::MAX), 9);
        let found = page.unwrap().due.iter().any(|of| of.offset == id.offset());
        assert_eq!(found, waits, "{after:?}");
    }
}

/// The story: whoever ended an application's tokens, or asked for a retry at once, waited for a day.
#[tokio::test]
async fn what_is_asked_for_at_once_is_so_by_the_wall_clock() {
    let directory = TempDir::new().unwrap();
    let (log, app) = ahead(&directory).await;
    for after in [Duration::ZERO, HOUR] {
        let cut = log.expire_tokens(app, after).await.unwrap();
        assert!(cut.from <= now().plus(after), "{after:?}: {cut:?}");
        // Those that were made while the clock was ahead are meant, too.
        assert!(cut.issued_until >= now().plus(23 * HOUR), "{cut:?}");
    }
    // By the log's time it has expired, by the clock that tokens are read with it has not.
    let expires = now().plus(HOUR);
    let token = |hash| RevokedToken {
        organisation: ORGANISATION,
        expires,
        hash,
        application: None,
    };
    log.revoke_token(token([1; 32]), None).await.unwrap();
    log.revoke_token(token([2; 32]), None).await.unwrap();
    assert!(log.registry().is_revoked(ORGANISATION, &[1; 32]));

    let to = subscription(&log, app).await.id;
    let of_app = Event {
        application: app,
        ..event(1, "{}")
    };
    let appended = log.append(vec![of_app]).await.unwrap();
    let Appended::Committed { id, .. } = appended[0] else {
        panic!("{appended:?}");
    };
    let due = now();
    let failed = NewAttempt {
        event: id,
        subscription: to,
        url: "https://example.com/hook".into(),
        number: 0,
        started: due,
        duration: Duration::from_millis(1),
        status_code: Some(500),
        response: String::new(),
        outcome: Outcome::Retry(Retry::failed(1, due)),
        trigger: Trigger::Scheduled,
    };
    log.record(vec![Progress::Attempt(failed)]).await.unwrap();
    log.retry_now(to, id).await.unwrap();
    let retries = log.delivery_state().unwrap().retries;
    assert_eq!(retries, [(to, id.offset(), Retry::failed(1, due))]);
}

/// The story: of two expiries the second left the tokens that were made between them.
#[tokio::test]
async fn each_expiry_means_the_tokens_behind_the_one_before() {
    let directory = TempDir::new().unwrap();
    let (log, app) = ahead(&directory).await;
    let session = [7; 32];
    let next = |log: &EventLog| {
        let registry = log.registry();
        let of_session = registry.session_cuts(ORGANISATION, app, &session);
        let cuts = registry.token_cuts(app).iter().chain(of_session);
        let latest = cuts.map(|cut| cut.issued_until).max();
        TokenCut::next_second(latest.unwrap_or_default())
    };
    for of_session in [false, true, true, false, true, false, false] {
        // As a token of the session that is made now says it.
        let issued = next(&log);
        if of_session {
            let sessions = [session].into();
            let expired = log.expire_sessions(app, sessions, Duration::ZERO);
            expired.await.unwrap();
        } else {
            log.expire_tokens(app, Duration::ZERO).await.unwrap();
        }
        assert!(next(&log) > issued, "{of_session}");
    }
}

/// A log that nobody dispatches keeps what says that an event waits no longer than the event, or for a
/// day after its time: a dispatcher that was stopped meanwhile tells who lost it.
#[tokio::test]
async fn what_waits_in_a_log_without_dispatcher_goes_with_its_events() {
    for (what, by, low, expected) in [
        ("a day after its time", 26 * HOUR, 2, &[2][..]),
        ("less than a day", 24 * HOUR, 2, &[0, 1, 2]),
        ("nothing has expired", 26 * HOUR, 0, &[0, 1, 2]),
        ("all have", 26 * HOUR, 4, &[]),
    ] {
        let directory = TempDir::new().unwrap();
        let log = open(&directory);
        let app = application(&log, "a").await;
        let to = subscription(&log, app).await.id;
        for _ in 0..3 {
            let later = Event {
                application: app,
                ..event(1, "{}").deliver_at(now().plus(HOUR))
            };
            let appended = log.append(vec![later]).await.unwrap();
            let Appended::Committed { id, .. } = appended[0] else {
                panic!("{appended:?}");
            };
            log.skip(to, id).await.unwrap();
        }
        let log = ahead_by(log, &directory, by);
        log.append(vec![event(1, "{}")]).await.unwrap();
        log.wait_applied();
        let low = Low {
            events: Offset::new(low),
            ..log.low()
        };
        assert!(log.handle.submit(Request::Expire(low), 1).is_ok());
        log.append(vec![event(1, "{}")]).await.unwrap();
        let page = log.delayed(None, Timestamp::from_millis(i64::MAX), 9);
        let waiting = page.unwrap().due;
        let offsets: Vec<u64> = waiting.iter().map(|of| of.offset.get()).collect();
        assert_eq!(offsets, expected, "{what}");
        for offset in 0..3 {
            let skips = log.delayed_skips(Offset::new(offset)).unwrap();
            assert_eq!(!skips.is_empty(), expected.contains(&offset), "{what}");
        }
        log.close().unwrap();
        drop(log);
        // Its rows add up.
        open(&directory).close().unwrap();
    }
}
