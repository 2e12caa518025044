//! The loop of a subscription: take an event, call the closure, retry, settle, stop.
//!
//! **Invariant:** an event is acknowledged only after the closure returned `Ok` for it; whatever ends
//! the loop, it waits for the closures under way.
//! **Next:** `consumer/reader.rs` of storage, where events and acks go.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{CommitError, ConsumeError, Consumer, Delivery};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::worker::{Received, SubscribeOptions, WorkerError};

/// Time to wait after the log could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// When to stop: the worker's own wish, its drop, or that of everything.
#[derive(Clone)]
pub(super) struct Stop {
    pub(super) own: watch::Receiver<bool>,
    pub(super) all: watch::Receiver<bool>,
}

impl Stop {
    fn is_asked(&self) -> bool {
        *self.own.borrow() || *self.all.borrow() || self.own.has_changed().is_err()
    }

    async fn wait(&mut self) {
        // An error means that the sender is dropped, which asks for the same.
        tokio::select! {
            _ = self.own.wait_for(|stop| *stop) => {}
            _ = self.all.wait_for(|stop| *stop) => {}
        }
    }
}

/// What a worker does.
pub(super) struct Run<F> {
    pub(super) options: SubscribeOptions,
    pub(super) handler: Arc<F>,
    pub(super) stop: Stop,
}

/// What woke a worker.
enum Woken {
    Stop,
    Settled(Option<Result<(), JoinError>>),
    Next(Result<Option<Box<Delivery>>, ConsumeError>),
}

impl<F, R, E> Run<F>
where
    F: Fn(Received) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    pub(super) async fn run(mut self, mut consumer: Consumer) -> Result<(), WorkerError> {
        let mut tasks: JoinSet<()> = JoinSet::new();
        // The first event is not settled yet, and as many as may be came after it.
        let mut window_full = false;
        let result = loop {
            let full = window_full || tasks.len() >= self.options.concurrency;
            let woken = if !full && consumer.reads_disk() {
                let reading = move || (consumer.poll_next(), consumer);
                let Ok((next, back)) = tokio::task::spawn_blocking(reading).await else {
                    return Err(WorkerError::Runtime);
                };
                consumer = back;
                if self.stop.is_asked() {
                    Woken::Stop
                } else {
                    Woken::Next(next.map(|next| next.map(Box::new)))
                }
            } else {
                tokio::select! {
                    () = self.stop.wait() => Woken::Stop,
                    settled = tasks.join_next(), if !tasks.is_empty() => Woken::Settled(settled),
                    next = consumer.next(), if !full => Woken::Next(next.map(Box::new).map(Some)),
                }
            };
            match woken {
                Woken::Stop => break Ok(()),
                Woken::Settled(Some(Err(error))) if error.is_panic() => {
                    break Err(WorkerError::Panicked);
                }
                Woken::Settled(_) => window_full = false,
                Woken::Next(Ok(None)) => {}
                Woken::Next(Err(ConsumeError::Unacked { .. })) if !tasks.is_empty() => {
                    window_full = true;
                }
                Woken::Next(Ok(Some(delivery))) => {
                    tasks.spawn(self.handle(*delivery));
                }
                Woken::Next(Err(error)) => match after(error) {
                    Ok(pause) => tokio::time::sleep(pause).await,
                    Err(end) => break end,
                },
            }
        };
        // Those that wait for their next attempt see the stop; the others are waited for.
        while tasks.join_next().await.is_some() {}
        result
    }

    /// Calls the closure until it succeeds or everything stops.
    fn handle(&self, delivery: Delivery) -> impl Future<Output = ()> + Send + 'static {
        let handler = Arc::clone(&self.handler);
        let options = self.options.clone();
        let mut stop = self.stop.clone();
        async move {
            let mut received = Received {
                record: delivery.record.clone(),
                attempt: 0,
            };
            loop {
                let Err(error) = handler(received.clone()).await else {
                    return delivery.ack();
                };
                let wait = options.wait(received.attempt);
                let (id, attempt) = (delivery.id, received.attempt);
                tracing::warn!(%error, %id, attempt, ?wait, "a closure failed; trying again");
                received.attempt = attempt.saturating_add(1);
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// What an error of the consumer means: a pause, or the end.
fn after(error: ConsumeError) -> Result<Duration, Result<(), WorkerError>> {
    match error {
        ConsumeError::Commit(CommitError::Closed) => Err(Ok(())),
        ConsumeError::Expired { range } => {
            let (from, to) = (range.start, range.end);
            tracing::warn!(%from, %to, "events expired before a subscription read them");
            Ok(Duration::ZERO)
        }
        ConsumeError::Read(error) => {
            tracing::error!(%error, "cannot read the log; trying again");
            Ok(READ_AGAIN)
        }
        ConsumeError::Unacked { .. } | ConsumeError::Commit(CommitError::Busy { .. }) => {
            Ok(READ_AGAIN)
        }
        ConsumeError::Deleted { .. } | ConsumeError::Commit(CommitError::Poisoned { .. }) => {
            Err(Err(error.into()))
        }
    }
}
