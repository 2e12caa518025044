use std::sync::atomic::{AtomicUsize, Ordering};

use hooklog_storage::{Config, Event};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn open(directory: &tempfile::TempDir) -> Hooklog {
    let config = Config {
        journal_segment_bytes: 1 << 20,
        payload_bytes_max: 256 << 10,
        ..Config::new(directory.path())
    };
    Hooklog::open_with(config).unwrap()
}

async fn publish(hooklog: &Hooklog, count: u64) {
    let application = hooklog.application("demo").await.unwrap().id;
    let event = |number: u64| Event::new(application, "a.b".parse().unwrap(), number.to_string());
    hooklog
        .publish_all((0..count).map(event).collect())
        .await
        .unwrap();
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("in time")
}

fn cursor(hooklog: &Hooklog) -> u64 {
    hooklog.log().consumers(None)[0].cursor.get()
}

fn quick(concurrency: usize) -> SubscribeOptions {
    SubscribeOptions {
        concurrency,
        retry_first: Duration::from_millis(1),
        ..SubscribeOptions::default()
    }
}

#[test]
fn waits_double_up_to_the_longest() {
    let options = SubscribeOptions::default();
    let waits = [0, 1, 2, 8, 9, 31, u32::MAX].map(|attempt| options.wait(attempt).as_millis());
    assert_eq!(waits, [100, 200, 400, 25_600, 30_000, 30_000, 30_000]);
}

#[tokio::test]
async fn one_at_a_time_events_come_in_order_and_a_failure_holds_the_next_up() {
    let directory = tempfile::tempdir().unwrap();
    let hooklog = open(&directory);
    publish(&hooklog, 5).await;
    let (send, mut got) = mpsc::channel(64);
    let handler = move |event: Received| {
        let send = send.clone();
        async move {
            send.send((event.offset.get(), event.attempt))
                .await
                .unwrap();
            let fails = event.offset.get() == 2 && event.attempt < 2;
            if fails { Err("not now") } else { Ok(()) }
        }
    };
    let worker = hooklog.subscribe("x", quick(1), handler).await.unwrap();
    for expected in [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (3, 0), (4, 0)] {
        assert_eq!(soon(got.recv()).await, Some(expected));
    }
    soon(worker.stop()).await.unwrap();
    soon(hooklog.close()).await.unwrap();
    drop(hooklog);
    assert_eq!(cursor(&open(&directory)), 5);
}

#[tokio::test]
async fn with_more_at_a_time_a_failure_holds_up_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let hooklog = open(&directory);
    publish(&hooklog, 100).await;
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (send, mut got) = mpsc::channel(1000);
    let seen = (Arc::clone(&at_once), Arc::clone(&most));
    let handler = move |event: Received| {
        let (send, (at_once, most)) = (send.clone(), seen.clone());
        async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            if event.offset.get() == 0 {
                return Err("never");
            }
            send.send(event.offset.get())
                .await
                .map_err(|_| "nobody listens")
        }
    };
    let options = SubscribeOptions {
        consumer: ConsumerOptions {
            unacked_max: 50,
            ..ConsumerOptions::default()
        },
        ..quick(4)
    };
    let worker = hooklog.subscribe("x", options, handler).await.unwrap();
    // Up to the bound of what a crash may repeat, and no further.
    let mut found = std::collections::BTreeSet::new();
    while found.len() < 49 {
        found.insert(soon(got.recv()).await.unwrap());
    }
    assert_eq!(found, (1..50).collect());
    assert!(got.try_recv().is_err());
    // Ends although the first event still waits for its next attempt.
    soon(worker.stop()).await.unwrap();
    assert!((2..=4).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    assert_eq!(at_once.load(Ordering::SeqCst), 0);
    soon(hooklog.close()).await.unwrap();
    drop(hooklog);
    assert_eq!(cursor(&open(&directory)), 0, "the first was never settled");
}

#[tokio::test]
async fn a_stop_and_a_close_wait_for_the_closure() {
    for close in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let hooklog = open(&directory);
        publish(&hooklog, 3).await;
        let (begun, open_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let gates = (Arc::clone(&begun), Arc::clone(&open_gate));
        let handler = move |_| {
            let (begun, gate) = gates.clone();
            async move {
                begun.add_permits(1);
                gate.acquire().await.map(SemaphorePermit::forget)
            }
        };
        let worker = hooklog.subscribe("x", quick(1), handler).await.unwrap();
        soon(begun.acquire()).await.unwrap().forget();
        let ending = async {
            if close {
                hooklog.close().await.unwrap();
                worker.ended().await.unwrap();
            } else {
                worker.stop().await.unwrap();
            }
        };
        let opening = async {
            tokio::task::yield_now().await;
            open_gate.add_permits(3);
        };
        soon(async { tokio::join!(ending, opening) }).await;
        hooklog.close().await.unwrap();
        drop(hooklog);
        assert_eq!(
            cursor(&open(&directory)),
            1,
            "one was finished, none begun after"
        );
    }
}

#[tokio::test]
async fn a_closure_that_panics_ends_its_subscription_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let hooklog = open(&directory);
    publish(&hooklog, 1).await;
    let asynchronous = |_: Received| async { panic!("a bug") as Result<(), String> };
    let worker = hooklog
        .subscribe("x", quick(1), asynchronous)
        .await
        .unwrap();
    assert!(matches!(
        soon(worker.ended()).await,
        Err(WorkerError::Panicked)
    ));
    // The name is free again, and the event not lost.
    let blocking = |_: Received| -> Result<(), String> { panic!("the same bug") };
    let again = hooklog.clone();
    let worker =
        tokio::task::spawn_blocking(move || again.subscribe_blocking("x", quick(1), blocking));
    let worker = worker.await.unwrap().unwrap();
    assert!(matches!(
        soon(worker.ended()).await,
        Err(WorkerError::Panicked)
    ));
    assert_eq!(cursor(&hooklog), 0);
    soon(hooklog.close()).await.unwrap();
}

#[test]
fn a_program_without_a_runtime_subscribes_stops_and_closes() {
    let directory = tempfile::tempdir().unwrap();
    let hooklog = open(&directory);
    let application = hooklog.application_blocking("demo").unwrap().id;
    let (send, got) = std::sync::mpsc::sync_channel(64);
    let handler = move |event: Received| send.send(event.offset.get());
    let worker = hooklog.subscribe_blocking("x", quick(2), handler).unwrap();
    let in_use = hooklog.subscribe_blocking("x", quick(1), |_| Ok::<_, String>(()));
    assert!(matches!(
        in_use,
        Err(SubscribeError::Consumer(ConsumerError::InUse { .. }))
    ));
    let none = hooklog.subscribe_blocking("y", quick(0), |_| Ok::<_, String>(()));
    let error = none.unwrap_err().to_string();
    assert_eq!(error, "concurrency is 0, but must be 1 to 4096");
    let mut found = std::collections::BTreeSet::new();
    for number in 0..20 {
        let event = Event::new(application, "a.b".parse().unwrap(), number.to_string());
        hooklog.publish_blocking(event).unwrap();
        found.insert(got.recv_timeout(SOON).unwrap());
    }
    assert_eq!(found, (0..20).collect());
    worker.stop_blocking().unwrap();
    hooklog.close_blocking().unwrap();
    drop(hooklog);
    assert_eq!(cursor(&open(&directory)), 20);
}

#[tokio::test]
async fn what_lies_on_the_disk_is_caught_up_with_and_then_followed() {
    const STORED: u64 = 3000;
    let directory = tempfile::tempdir().unwrap();
    let hooklog = open(&directory);
    publish(&hooklog, STORED).await;
    hooklog.close().await.unwrap();
    drop(hooklog);
    // A log that was just opened has nothing in memory.
    let hooklog = open(&directory);
    let (send, mut got) = mpsc::channel(16);
    let handler = move |event: Received| {
        let send = send.clone();
        async move { send.send(event.offset.get()).await }
    };
    let worker = hooklog.subscribe("x", quick(1), handler).await.unwrap();
    for expected in 0..STORED {
        assert_eq!(soon(got.recv()).await, Some(expected));
    }
    publish(&hooklog, 1).await;
    assert_eq!(soon(got.recv()).await, Some(STORED));
    worker.stop().await.unwrap();
    hooklog.close().await.unwrap();
}
