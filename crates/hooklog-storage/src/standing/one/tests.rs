//! One event with very many attempts: what is told, and what that costs.
//!
//! **Invariant:** the same is told whichever way it is found.
//! **Next:** `../many/tests.rs`.

use tempfile::TempDir;

use super::*;
use crate::attempt::Outcome;
use crate::log::EventLog;
use crate::log::tests::{application, config};
use crate::standing::Delivered;
use crate::standing::many::tests::{attempt, publish, targets};

/// The story: 5,000 attempts of one endpoint were read to find the one of another, and if that was
/// older still, it was told as not delivered.
#[tokio::test]
async fn one_endpoint_with_very_many_attempts_hides_no_other() {
    const AGAIN: usize = ATTEMPTS_MAX + 500;
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(config(&directory)).unwrap();
    let app = application(&log, "a").await;
    let targets = targets(&log, app).await;
    let events = publish(&log, app, &["a", "a"]).await;
    let (busy, once, elsewhere) = (targets[0].id, targets[1].id, targets[2].id);
    let first = attempt(events[0], once, Outcome::Delivered);
    let other = attempt(events[1], elsewhere, Outcome::Delivered);
    log.record(vec![first, other]).await.unwrap();
    for _ in 0..AGAIN / 500 {
        let again = attempt(events[0], busy, Outcome::Exhausted);
        log.record(vec![again; 500]).await.unwrap();
    }
    // In memory, and in sled alone.
    drop(log);
    let log = EventLog::open(config(&directory)).unwrap();
    let shared = &log.handle.shared;
    let offset = events[0].offset();
    let all: Vec<_> = targets.iter().map(|target| target.id).collect();
    for wanted in [&all[..], &[once], &[elsewhere], &[busy]] {
        let mut search = Search::new(shared, offset, wanted);
        search.run(STEPS_MAX).unwrap();
        let expected = [busy, once].into_iter().filter(|id| wanted.contains(id));
        assert!(search.found.keys().copied().eq({
            let mut expected: Vec<_> = expected.collect();
            expected.sort_unstable();
            expected
        }));
        assert!(search.looked <= ATTEMPTS_PAGE * PAGES, "{}", search.looked);
        assert!(search.steps <= 40_000, "{}", search.steps);
    }
    // Where the indexes are too dear, no more is read than before.
    let mut search = Search::new(shared, offset, &all);
    search.run(0).unwrap();
    assert!(search.found.keys().eq([&busy]));
    assert!(search.looked < ATTEMPTS_MAX + ATTEMPTS_PAGE);

    let record = log.get(events[0]).unwrap().unwrap();
    let pairs = targets.iter().map(|target| (&**target, log.end()));
    let told = log.statuses(&record, pairs).unwrap();
    let told: Vec<_> = told.iter().map(|status| status.delivered).collect();
    let never = Delivered::Never;
    assert_eq!(told, [Delivered::Failed, Delivered::Yes, never, never]);
}
