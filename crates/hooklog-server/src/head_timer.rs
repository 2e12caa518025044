//! The timer that hyper sets for the head of each request of a connection.
//!
//! **Invariant:** a deadline goes off when it has come, not before; of the runtime's timers a connection
//! has one, however many requests it makes.
//! **Next:** `answers.rs`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;
use tokio::time;

/// Of one connection. hyper sets a deadline behind each answer and takes it back with the next request.
/// Deadlines only get later, so the runtime's timer is set anew when it goes off, and not with each
/// request: in and out of the timer wheel costs as much as parsing the head.
#[derive(Clone)]
pub(crate) struct HeadTimer(Arc<Mutex<Pin<Box<time::Sleep>>>>);

impl HeadTimer {
    /// That of a connection whose deadlines are so far away.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self(Arc::new(Mutex::new(Box::pin(time::sleep(timeout)))))
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Deadline {
            at: deadline.into(),
            timer: Arc::clone(&self.0),
        })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

struct Deadline {
    at: time::Instant,
    timer: Arc<Mutex<Pin<Box<time::Sleep>>>>,
}

impl Sleep for Deadline {}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock();
        // Not so far away as the others.
        if timer.deadline() > self.at {
            timer.as_mut().reset(self.at);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            // It went off for a request that has come meanwhile.
            timer.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_deadline_goes_off_in_time() {
        let (second, start) = (Duration::from_secs(1), time::Instant::now());
        let timer = HeadTimer::new(second * 10);
        // Taken back, as by requests that come in time.
        for _ in 0..5 {
            let deadline = timer.sleep(second * 10);
            assert!(time::timeout(second * 4, deadline).await.is_err());
        }
        assert_eq!(start.elapsed(), second * 20);
        for (length, end) in [(10, 30), (3, 33), (10, 43), (0, 43)] {
            timer.sleep(second * length).await;
            assert_eq!(start.elapsed(), second * end);
        }
    }
}
