//! Callers that commit in their own thread.
//!
//! **Invariant:** a log sees no difference: order, seals and panics are as if its own thread had committed.
//! **Next:** `../commit/seat.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tests::{event, open};
use super::*;

const ALL: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

#[test]
fn what_was_asked_for_first_is_committed_first() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    for round in 0..200 {
        // Handed to the committer's thread, and not waited for.
        let (request, bytes, answer) = log.append_request(vec![event(1, "first")]).unwrap();
        assert!(log.handle.submit(request, bytes).is_ok());
        log.append_blocking(vec![event(1, "second")]).unwrap();
        answer.blocking_recv().unwrap().unwrap();
        let page = log.read(Offset::new(2 * round), ALL).unwrap();
        let found: Vec<_> = page
            .iter()
            .map(|record| &record.event.payload[..])
            .collect();
        assert_eq!(found, [&b"first"[..], b"second"], "round {round}");
    }
}

#[test]
fn the_thread_seals_what_a_caller_has_committed() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let last = || log.handle.shared.ring.position().0;
    for _ in 0..3 {
        log.append_blocking(vec![event(1, "{}")]).unwrap();
        let committed = last();
        let patience = Instant::now() + Duration::from_secs(20);
        while last() == committed {
            assert!(
                Instant::now() < patience,
                "the frame behind it does not come"
            );
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_caller_that_unwinds_does_not_stop_the_log() {
    struct Farewell<'a>(&'a EventLog);
    impl Drop for Farewell<'_> {
        fn drop(&mut self) {
            self.0.append_blocking(vec![event(1, "bye")]).unwrap();
        }
    }

    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _farewell = Farewell(&log);
        panic!("the caller's own");
    }));
    assert!(unwound.is_err());
    assert_eq!(log.poisoned(), None);
    log.append_blocking(vec![event(1, "hello")]).unwrap();
    assert_eq!(log.end().get(), 2);
}
