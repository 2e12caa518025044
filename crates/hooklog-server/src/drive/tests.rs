use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::*;

/// Counts how often it is polled, and is done when told.
async fn counted(polls: &AtomicUsize, end: oneshot::Receiver<()>) {
    let mut end = pin!(end);
    poll_fn(|context| {
        polls.fetch_add(1, Ordering::Relaxed);
        end.as_mut().poll(context).map(drop)
    })
    .await;
}

#[tokio::test]
async fn what_is_aside_is_polled_only_when_it_woke() {
    let (polls, bell) = (AtomicUsize::new(0), Notify::new());
    let (end, ends) = oneshot::channel();
    let main = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        end.send(()).expect("still waits");
        // Only what is aside can end this.
        bell.notified().await;
    };
    let done = first(main, counted(&polls, ends)).await;
    assert!(matches!(done, First::Aside(())));
    assert_eq!(
        polls.load(Ordering::Relaxed),
        2,
        "at first, and when it woke"
    );
    let done = first(async { 7 }, std::future::pending::<()>()).await;
    assert!(matches!(done, First::Main(7)));
}

#[tokio::test]
async fn what_is_aside_ends_it_from_another_thread() {
    for _ in 0..200 {
        let (end, ends) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || end.send(()));
        let done = first(std::future::pending::<()>(), ends);
        let done = tokio::time::timeout(Duration::from_secs(10), done).await;
        assert!(matches!(done, Ok(First::Aside(Ok(())))));
        thread.join().expect("ends").expect("is heard");
    }
}

/// A future that wakes itself `wakes` times, and how often the task that polls it had its turn.
async fn turns(wakes: usize) -> (usize, usize) {
    let (mut left, polls, turns) = (wakes, AtomicUsize::new(0), AtomicUsize::new(0));
    let restless = poll_fn(|context| {
        polls.fetch_add(1, Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    });
    let mut driven = pin!(at_once(restless));
    poll_fn(|context| {
        turns.fetch_add(1, Ordering::Relaxed);
        driven.as_mut().poll(context)
    })
    .await;
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    (count(&polls), count(&turns))
}

#[tokio::test]
async fn what_woke_itself_goes_on_at_once_and_not_for_ever() {
    for (wakes, taken) in [(0, 1), (1, 1), (3, 1), (4, 2), (7, 2), (8, 3), (40, 11)] {
        assert_eq!(turns(wakes).await, (wakes + 1, taken), "{wakes}");
    }
}

/// Wakes that come at any moment, from other threads, all arrive.
#[tokio::test]
async fn no_wake_is_lost() {
    let (ask, asked) = std::sync::mpsc::sync_channel::<oneshot::Sender<usize>>(1);
    let thread = std::thread::spawn(move || {
        for (number, answer) in asked.iter().enumerate() {
            answer.send(number).expect("is awaited");
        }
    });
    let talk = async {
        for number in 0..2_000 {
            let (answer, answers) = oneshot::channel();
            ask.send(answer).expect("is there");
            assert_eq!(answers.await, Ok(number));
        }
        drop(ask);
    };
    let talk = tokio::time::timeout(Duration::from_secs(30), at_once(talk));
    talk.await.expect("none is lost");
    thread.join().expect("ends");
}
