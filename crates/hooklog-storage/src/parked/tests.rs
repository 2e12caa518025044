//! What is parked, read by pages, on a real log.

use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::attempt::{CursorState, Progress};
use crate::event::{Appended, Event};
use crate::log::tests::{application, open, subscription};

#[tokio::test]
async fn what_is_parked_is_read_by_pages_and_never_as_a_whole() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "a").await;
    let mut targets = Vec::new();
    for _ in 0..3 {
        targets.push(subscription(&log, app).await.id);
    }
    targets.sort_unstable();
    let event = || Event::new(app, "user.created".parse().unwrap(), Bytes::from("{}"));
    let appended = log
        .append((0..20).map(|_| event()).collect())
        .await
        .unwrap();
    // Two of three have something parked: twenty, and one.
    for (at, appended) in appended.iter().enumerate() {
        let Appended::Committed { id, .. } = appended else {
            panic!("it has no keys");
        };
        log.redeliver(targets[0], *id).await.unwrap();
        if at == 7 {
            log.redeliver(targets[2], *id).await.unwrap();
        }
    }
    let cursor = Cursor {
        floor: Offset::new(3),
        settled: Vec::new(),
        state: CursorState::Behind,
    };
    let health = Health {
        failing_since: Some(crate::Timestamp::default().plus(Duration::from_secs(1))),
        ..Health::default()
    };
    let progress = vec![
        Progress::Cursor(targets[1], cursor.clone()),
        Progress::Mark(Offset::new(9)),
        Progress::Health(targets[2], health),
    ];
    log.record(progress).await.unwrap();

    let all = log.dispatch_state().unwrap();
    let expected = DispatchState {
        mark: Offset::new(9),
        cursors: vec![(targets[1], cursor)],
        parked: vec![targets[0], targets[2]],
        health: vec![(targets[2], health)],
    };
    assert_eq!(all, expected, "and no row of what is parked");
    for (at, target) in targets.iter().enumerate() {
        let of_one = DispatchState {
            cursors: [&expected.cursors[..], &[]][usize::from(at != 1)].to_vec(),
            parked: [vec![*target], Vec::new()][usize::from(at == 1)].clone(),
            health: [&expected.health[..], &[]][usize::from(at != 2)].to_vec(),
            ..expected.clone()
        };
        assert_eq!(log.dispatch_state_of(*target).unwrap(), of_one);
    }
    by_pages(&log, &targets);
}

/// Twenty are parked for the first, none for the second, one for the third.
fn by_pages(log: &EventLog, targets: &[SubscriptionId]) {
    let behind = |id, most| log.parked_subscriptions(id, most).unwrap();
    assert_eq!(behind(None, 1), [targets[0]]);
    assert_eq!(behind(Some(targets[0]), 9), [targets[2]]);
    assert_eq!(behind(Some(targets[2]), 9), []);

    let rows = log.delivery_state_of(targets[0]).unwrap().retries;
    let rows: Vec<_> = rows.into_iter().map(|(_, at, retry)| (at, retry)).collect();
    assert_eq!(rows.len(), 20);
    // From, at most, and what is expected of all.
    let cases = [
        (0, 5, 0..5),
        (5, 5, 5..10),
        (17, 5, 17..20),
        (20, 5, 20..20),
        (0, 0, 0..0),
    ];
    for (from, most, expected) in cases {
        let page = log.parked(targets[0], Offset::new(from), most).unwrap();
        assert_eq!(page, rows[expected], "{most} from {from}");
    }
    assert_eq!(log.parked(targets[1], Offset::ZERO, 9).unwrap(), []);
}
