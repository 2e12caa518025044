//! The tasks that make attempts, one after the other each: what an attempt needs beside its request (a
//! task, a timer, room for its state) is made once and used again.
//!
//! A task of its own for each attempt cost some 5,000 instructions: its allocation, its moves into it
//! and out of it, its timer, and its place in a set.
//!
//! **Invariant:** each attempt that is handed in comes out as finished once, or the carriers are broken.
//! No more wait for work than [`IDLE_MAX`]; those that work are as many as the board lets fly.
//! **Next:** `errand.rs`, an attempt.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hooklog_storage::{EventLog, Subscription, Timestamp};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::board::Finished;
use crate::deliver::Deliver;
use crate::errand;
use crate::lane::Start;

/// Carriers that wait for work: as many as the idle connections of one place. Each takes some 1.2 KiB.
const IDLE_MAX: usize = 128;

/// An attempt to make.
pub(crate) struct Flight {
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) start: Start,
    /// When it was handed out.
    pub(crate) now: Timestamp,
    pub(crate) begun: Instant,
    /// A random number from 0 to 1, for the jitter.
    pub(crate) sample: f64,
}

/// A carrier broke: its attempt has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// All carriers.
pub(crate) struct Carriers {
    yard: Arc<Yard>,
    tasks: JoinSet<()>,
}

/// What carriers and their driver have in common.
struct Yard {
    log: EventLog,
    deliver: Arc<Deliver>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Handed in, and taken by no carrier yet.
    waiting: VecDeque<Flight>,
    /// Carriers without work, the last one first: its memory is still in the processor's caches.
    idle: Vec<Waker>,
    finished: Vec<Finished>,
    /// The driver, if it waits for any.
    driver: Option<Waker>,
    is_broken: bool,
}

impl Carriers {
    pub(crate) fn new(log: EventLog, deliver: Deliver) -> Self {
        let deliver = Arc::new(deliver);
        let state = Mutex::default();
        Self {
            yard: Arc::new(Yard {
                log,
                deliver,
                state,
            }),
            tasks: JoinSet::new(),
        }
    }

    /// Hands in an attempt. Runs inside a tokio runtime.
    pub(crate) fn start(&mut self, flight: Flight) {
        let mut state = self.yard.state.lock();
        state.waiting.push_back(flight);
        let idle = state.idle.pop();
        drop(state);
        if let Some(idle) = idle {
            idle.wake();
            return;
        }
        // Those that ended are not kept.
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(carry(Arc::clone(&self.yard)));
    }

    /// Waits until any attempt has ended, and adds those that have to `taken`.
    ///
    /// # Cancel safety
    /// Nothing is taken before it is handed out.
    pub(crate) async fn finished(&self, taken: &mut Vec<Finished>) -> Result<(), Broken> {
        poll_fn(|context| self.yard.poll_finished(context, taken)).await
    }

    /// Adds those that have ended meanwhile.
    pub(crate) fn take_finished(&self, taken: &mut Vec<Finished>) {
        taken.append(&mut self.yard.state.lock().finished);
    }

    /// Gives up all that is under way.
    pub(crate) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl Yard {
    fn poll_finished(
        &self,
        context: &mut Context<'_>,
        taken: &mut Vec<Finished>,
    ) -> Poll<Result<(), Broken>> {
        let mut state = self.state.lock();
        // Told once: who drains waits for the others.
        if std::mem::take(&mut state.is_broken) {
            return Poll::Ready(Err(Broken));
        }
        if !state.finished.is_empty() {
            taken.append(&mut state.finished);
            return Poll::Ready(Ok(()));
        }
        let waker = context.waker();
        match &mut state.driver {
            Some(old) => old.clone_from(waker),
            None => state.driver = Some(waker.clone()),
        }
        Poll::Pending
    }

    /// The next attempt; `None` if there are enough carriers that wait for one.
    fn poll_next(&self, context: &mut Context<'_>, is_idle: &mut bool) -> Poll<Option<Flight>> {
        let mut state = self.state.lock();
        if let Some(flight) = state.waiting.pop_front() {
            return Poll::Ready(Some(flight));
        }
        let waker = context.waker();
        // Something else woke it: a timer that it was done with, or a connection.
        if *is_idle && state.idle.iter().any(|idle| idle.will_wake(waker)) {
            return Poll::Pending;
        }
        if state.idle.len() >= IDLE_MAX {
            return Poll::Ready(None);
        }
        *is_idle = true;
        state.idle.push(waker.clone());
        Poll::Pending
    }

    /// An attempt has ended.
    fn finish(&self, finished: Finished) {
        let mut state = self.state.lock();
        state.finished.push(finished);
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// Tells the driver if a carrier ends in the midst of an attempt.
struct Guard<'a> {
    yard: &'a Yard,
    is_carrying: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.is_carrying {
            let mut state = self.yard.state.lock();
            state.is_broken = true;
            let driver = state.driver.take();
            drop(state);
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }
}

async fn carry(yard: Arc<Yard>) {
    let mut guard = Guard {
        yard: &yard,
        is_carrying: false,
    };
    let mut deadline = pin!(tokio::time::sleep(yard.deliver.timeout()));
    loop {
        let mut is_idle = false;
        let next = poll_fn(|context| yard.poll_next(context, &mut is_idle));
        let Some(flight) = next.await else { return };
        guard.is_carrying = true;
        let Flight {
            subscription,
            start,
            now,
            begun,
            sample,
        } = flight;
        let offset = start.offset;
        deadline.as_mut().reset(begun + yard.deliver.timeout());
        let attempt = errand::attempt(
            &yard.log,
            &yard.deliver,
            &subscription,
            start,
            now,
            deadline.as_mut(),
        );
        let (event, answer) = attempt.await;
        yard.finish(Finished {
            subscription: subscription.id,
            url: Arc::clone(&subscription.endpoint.url),
            offset,
            event,
            started: now,
            duration: begun.elapsed(),
            answer,
            sample,
        });
        guard.is_carrying = false;
    }
}

#[cfg(test)]
mod tests;
