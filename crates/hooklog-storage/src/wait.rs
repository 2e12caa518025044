//! Waiting for a future of this crate on the current thread, without a runtime.
//!
//! **Invariant:** it only parks the thread: what completes the future runs in the log's own threads.
//! **Next:** `blocking.rs`, which waits for commands.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use tokio::task::coop::unconstrained;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks until the future is through.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    // Inside a runtime its budget would run out, and the future never be ready.
    let mut future = pin!(unconstrained(future));
    loop {
        match poll(future.as_mut()) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Blocks until the future is through, or until the deadline: then `None`, and it is dropped.
pub(crate) fn wait_until<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let mut future = pin!(unconstrained(future));
    loop {
        if let Poll::Ready(output) = poll(future.as_mut()) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    future.poll(&mut Context::from_waker(&waker))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_future_that_another_thread_completes_is_waited_for() {
        let (send, receive) = oneshot::channel();
        let thread = std::thread::spawn(move || send.send(7).unwrap());
        assert_eq!(wait(receive), Ok(7));
        thread.join().unwrap();
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let started = Instant::now();
        let deadline = started + Duration::from_millis(20);
        assert_eq!(wait_until(std::future::pending::<()>(), deadline), None);
        assert!(started.elapsed() >= Duration::from_millis(20));
        assert_eq!(
            wait_until(async { 7 }, started),
            Some(7),
            "what is ready is taken"
        );
    }
}
