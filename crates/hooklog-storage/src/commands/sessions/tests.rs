//! The end of sessions: which tokens are meant, over restarts, within bounds.
//!
//! **Invariant:** as `../sessions.rs`.
//! **Next:** `../../sessions.rs`.

use tempfile::TempDir;

use super::*;
use crate::NewApplication;
use crate::id::OrganisationId;
use crate::log::tests::{ORGANISATION, open};
use crate::revocation::TOKEN_CUTS_MAX;
use crate::time::Timestamp;

fn hashes(bytes: impl IntoIterator<Item = u8>) -> BTreeSet<SessionHash> {
    bytes.into_iter().map(|byte| [byte; 32]).collect()
}

async fn application(log: &EventLog, uid: &str) -> ApplicationId {
    let new = NewApplication {
        uid: Some(uid.parse().unwrap()),
        ..NewApplication::new(ORGANISATION, uid)
    };
    log.create_application(new).await.unwrap().id
}

#[tokio::test]
async fn sessions_stay_cut_over_a_restart_and_go_with_their_application() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let (app, other) = (application(&log, "a").await, application(&log, "b").await);
    let hour = Duration::from_hours(1);
    log.expire_sessions(app, hashes([1, 2]), Duration::ZERO)
        .await
        .unwrap();
    // Later ones are meant after an hour; the cut of those before stays.
    log.expire_sessions(app, hashes([1]), hour).await.unwrap();
    // Twice is once.
    log.expire_sessions(app, hashes([2]), Duration::ZERO)
        .await
        .unwrap();
    log.expire_sessions(other, hashes([1]), hour).await.unwrap();
    let count = |log: &EventLog, app, byte| {
        let registry = log.registry();
        registry.session_cuts(ORGANISATION, app, &[byte; 32]).len()
    };
    let counts = |log: &EventLog| {
        let of = |app| [1, 2, 3].map(|byte| count(log, app, byte));
        (
            of(app),
            of(other),
            log.registry().sessions.count(ORGANISATION),
        )
    };
    for _ in 0..2 {
        assert_eq!(counts(&log), ([2, 1, 0], [1, 0, 0], 3));
        let stranger = OrganisationId::from_bytes([9; 20]);
        let registry = log.registry();
        assert!(registry.session_cuts(stranger, app, &[1; 32]).is_empty());
        assert!(registry.has_cut_sessions(ORGANISATION) && !registry.has_cut_sessions(stranger));
        drop(registry);
        log.close().unwrap();
        drop(log);
        log = open(&directory);
    }
    log.delete_application(app).await.unwrap();
    for _ in 0..2 {
        assert_eq!(counts(&log), ([0; 3], [1, 0, 0], 1));
        log.close().unwrap();
        drop(log);
        log = open(&directory);
    }
}

#[tokio::test]
async fn the_table_of_sessions_is_bounded_and_what_is_over_makes_room() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "a").await;
    {
        let mut registry = log.handle.shared.registry.write();
        for number in 0..CUT_SESSIONS_MAX {
            let mut session = [0; 32];
            session[..8].copy_from_slice(&number.to_be_bytes());
            // The first was cut so long ago that its tokens have expired.
            let at = if number == 0 { 0 } else { 4_000_000_000_000 };
            let at = Timestamp::from_millis(at);
            registry.sessions.put(&Arc::new(SessionCuts {
                organisation: ORGANISATION,
                application: app,
                session,
                cuts: vec![TokenCut {
                    issued_until: at,
                    from: at,
                }],
            }));
        }
    }
    let cut = async |byte| {
        log.expire_sessions(app, hashes([byte]), Duration::ZERO)
            .await
    };
    cut(0xee).await.unwrap();
    let refused = cut(0xef).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the number of expired sessions is limited to 10000"
    );
    // One that is there already needs no room.
    cut(0xee).await.unwrap();
    for more in 1..TOKEN_CUTS_MAX {
        let after = Duration::from_mins(more as u64);
        log.expire_sessions(app, hashes([0xee]), after)
            .await
            .unwrap();
    }
    let refused = log.expire_sessions(app, hashes([0xee]), Duration::from_hours(1));
    assert_eq!(
        refused.await.unwrap_err().to_string(),
        "the number of pending expirations is limited to 8"
    );
}
