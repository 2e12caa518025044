//! Releases on a real log whose looks at events fail, break off or miss something.

use std::sync::atomic::{AtomicUsize, Ordering};

use hooklog_storage::{
    Config, Endpoint, Event, NewApplication, NewSubscription, OrganisationId, SecretKey,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::driver::clock;

async fn until(log: &EventLog, what: impl Fn(&EventLog) -> bool) {
    let waiting = async {
        let mut tail = log.tail(Offset::ZERO);
        while !what(log) {
            let soon = tokio::time::timeout(Duration::from_millis(20), tail.next());
            drop(soon.await);
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

/// Publishes events for a time that comes at once, releases them with this look, and waits until one
/// delivery is parked for each. The first of them has offset 0.
async fn released(count: usize, look: LookFn) -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut config = Config::new(directory.path());
    config.journal_segment_bytes = 4 << 20;
    config.payload_bytes_max = 64 << 10;
    let log = EventLog::open(config).unwrap();
    let new = NewApplication::new(OrganisationId::from_bytes([1; 20]), "test");
    let application = log.create_application(new).await.unwrap().id;
    let endpoint = Endpoint::new("http://127.0.0.1/", SecretKey::new(vec![7; 24]));
    let new = NewSubscription::new(application, endpoint);
    let to = log.create_subscription(new).await.unwrap();
    let due = clock().plus(Duration::from_millis(100));
    let event = |_| {
        let event = Event::new(application, "a.b".parse().unwrap(), "{}");
        event.deliver_at(due)
    };
    log.append((0..count).map(event).collect()).await.unwrap();
    let alarm = Arc::<Alarm>::default();
    let mut running = JoinSet::new();
    running.spawn(run_with(log.clone(), alarm, clock, look));
    until(&log, |log| {
        log.wait_applied();
        log.parked(to.id, Offset::ZERO, count + 1).unwrap().len() == count
    })
    .await;
    running.shutdown().await;
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_breaks_off_is_made_again_and_holds_up_no_other() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    released(3, |look, log, of, now| {
        let is_first = of.offset == Offset::ZERO && LOOKS.fetch_add(1, Ordering::SeqCst) == 0;
        assert!(!is_first, "it is not to be");
        look.event(log, of, now)
    })
    .await;
    assert_eq!(LOOKS.load(Ordering::SeqCst), 2);
}

/// A subscription came to be between the look and the commit, as far as the first look can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_was_left_out_is_looked_at_again() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    released(1, |look, log, of, now| {
        look.event(log, of, now)?;
        if LOOKS.fetch_add(1, Ordering::SeqCst) == 0 {
            for step in &mut look.steps {
                step.seen.clear();
                step.to.clear();
            }
        }
        Ok(())
    })
    .await;
    assert_eq!(LOOKS.load(Ordering::SeqCst), 2);
}
