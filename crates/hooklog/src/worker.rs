//! Closures that are called with each event: subscribe, retry, stop.
//!
//! **Invariant:** an event is acknowledged only after the closure returned `Ok` for it, so a crash or a
//! stop repeats it; at most `concurrency` events are with the closure at a time.
//! **Next:** `worker/run.rs`, the loop.

use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{ConsumeError, Consumer, ConsumerError, ConsumerOptions, Record};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use crate::hooklog::{Hooklog, Inner};
use crate::worker::run::{Run, Stop};

mod run;

/// Most events that one subscription may have with its closure: each is a task.
const CONCURRENCY_LIMIT: usize = 4096;

/// How a closure is called.
#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    /// Which events, and where a new name begins.
    pub consumer: ConsumerOptions,
    /// Events with the closure at a time. With 1 (the default) they come in order, each after the
    /// one before it was settled; with more an event that fails holds up only itself.
    pub concurrency: usize,
    /// The wait before an event comes again that the closure failed on; doubled each time.
    pub retry_first: Duration,
    /// Longest such wait.
    pub retry_max: Duration,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            consumer: ConsumerOptions::default(),
            concurrency: 1,
            // Short enough for a lock or a restart next door, and soon no load for what stays down.
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
        }
    }
}

impl From<ConsumerOptions> for SubscribeOptions {
    fn from(consumer: ConsumerOptions) -> Self {
        Self {
            consumer,
            ..Self::default()
        }
    }
}

impl SubscribeOptions {
    /// The wait after an attempt, the first being 0.
    fn wait(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX);
        self.retry_first.saturating_mul(factor).min(self.retry_max)
    }
}

/// An event with a closure.
#[derive(Clone, Debug)]
pub struct Received {
    /// The event.
    pub record: Record,
    /// How often the closure failed on it since the subscription was started. A closure that wants
    /// to give an event up after so many times returns `Ok`.
    pub attempt: u32,
}

impl Deref for Received {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// Its consumer was not opened.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// `concurrency` is out of its range.
    #[error("concurrency is {found}, but must be 1 to {limit}")]
    Concurrency {
        /// Its value.
        found: usize,
        /// The most it may be.
        limit: usize,
    },
    /// There is no thread for it.
    #[error("cannot start a thread for the subscription")]
    Thread(#[source] std::io::Error),
}

/// Why a subscription ended although nobody stopped it.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It cannot read on.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// The closure panicked. Its event comes again.
    #[error("the closure panicked")]
    Panicked,
    /// The runtime that it ran in ended.
    #[error("the runtime ended")]
    Runtime,
}

/// A running subscription. Dropping it tells it to stop; [`stop`](Self::stop) waits for that, too.
#[derive(Debug)]
#[must_use = "a subscription stops when it is dropped"]
pub struct Worker {
    stop: watch::Sender<bool>,
    done: oneshot::Receiver<Result<(), WorkerError>>,
}

impl Worker {
    /// Takes no event any more, waits for the closure to return from those that it has, and stops.
    /// An event that waits for its next attempt comes again when the name is subscribed again.
    pub async fn stop(self) -> Result<(), WorkerError> {
        self.stop.send_replace(true);
        let Self { stop, done } = self;
        let result = done.await.unwrap_or(Err(WorkerError::Runtime));
        drop(stop);
        result
    }

    /// [`stop`](Self::stop) for callers without a runtime; not to be called within one.
    pub fn stop_blocking(self) -> Result<(), WorkerError> {
        self.stop.send_replace(true);
        let Self { stop, done } = self;
        let result = done.blocking_recv().unwrap_or(Err(WorkerError::Runtime));
        drop(stop);
        result
    }

    /// Resolves when it ended: by itself with an error, or because everything was closed.
    pub async fn ended(self) -> Result<(), WorkerError> {
        let Self { stop, done } = self;
        let result = done.await.unwrap_or(Err(WorkerError::Runtime));
        drop(stop);
        result
    }
}

impl Hooklog {
    /// Calls `handler` with each event of a consumer, at least once, until the worker is stopped. An
    /// event is settled when `handler` returned `Ok`; after an error it comes again, a little later
    /// each time. Call it within a tokio runtime.
    ///
    /// # Errors
    /// As for [`EventLog::consumer`](crate::storage::EventLog::consumer).
    pub async fn subscribe<F, R, E>(
        &self,
        name: &str,
        options: impl Into<SubscribeOptions>,
        handler: F,
    ) -> Result<Worker, SubscribeError>
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let options = checked(options.into())?;
        let consumer = self.consumer(name, options.consumer.clone()).await?;
        let (worker, run) = self.worker(consumer, options, handler);
        // The task ends with its worker, or with `close`, which waits for it.
        let mut tasks = JoinSet::new();
        tasks.spawn(run);
        tasks.detach_all();
        Ok(worker)
    }

    /// [`subscribe`](Self::subscribe) for a program without a runtime: `handler` may block, and is
    /// called in threads of the subscription's own.
    pub fn subscribe_blocking<F, E>(
        &self,
        name: &str,
        options: impl Into<SubscribeOptions>,
        handler: F,
    ) -> Result<Worker, SubscribeError>
    where
        F: Fn(Received) -> Result<(), E> + Send + Sync + 'static,
        E: Display + Send + 'static,
    {
        let options = checked(options.into())?;
        let consumer = self.consumer_blocking(name, options.consumer.clone())?;
        let handler = Arc::new(handler);
        let in_a_thread = move |received| {
            let handler = Arc::clone(&handler);
            async move {
                match tokio::task::spawn_blocking(move || handler(received)).await {
                    Ok(result) => result,
                    Err(error) => resume(error).await,
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            // One more for reads of the disk.
            .max_blocking_threads(options.concurrency.saturating_add(1))
            .build()
            .map_err(SubscribeError::Thread)?;
        let (worker, run) = self.worker(consumer, options, in_a_thread);
        std::thread::Builder::new()
            .name(format!("hooklog-{name}"))
            .spawn(move || runtime.block_on(run))
            .map_err(SubscribeError::Thread)?;
        Ok(worker)
    }

    /// A handle, and what runs behind it.
    fn worker<F, R, E>(
        &self,
        consumer: Consumer,
        options: SubscribeOptions,
        handler: F,
    ) -> (Worker, impl Future<Output = ()> + Send + 'static)
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let (tell, done) = oneshot::channel();
        let counted = Counted::new(Arc::clone(&self.inner));
        let run = Run {
            options,
            handler: Arc::new(handler),
            stop: Stop {
                own: stopped,
                all: self.inner.stop.subscribe(),
            },
        };
        let task = async move {
            let result = run.run(consumer).await;
            if let Err(error) = &result {
                tracing::error!(%error, "a subscription ended");
            }
            // Nobody may want to know.
            drop(tell.send(result));
            drop(counted);
        };
        (Worker { stop, done }, task)
    }
}

fn checked(mut options: SubscribeOptions) -> Result<SubscribeOptions, SubscribeError> {
    let found = options.concurrency;
    if !(1..=CONCURRENCY_LIMIT).contains(&found) {
        let limit = CONCURRENCY_LIMIT;
        return Err(SubscribeError::Concurrency { found, limit });
    }
    // What the closure has is bounded by the concurrency; the consumer must not be in its way.
    options.consumer.unacked_max = options.consumer.unacked_max.max(found + 1);
    Ok(options)
}

/// Goes on with a panic of the closure; if the runtime is going down instead, never comes back.
async fn resume<T>(error: JoinError) -> T {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => std::future::pending().await,
    }
}

/// Counts a worker while it lives.
struct Counted(Arc<Inner>);

impl Counted {
    fn new(inner: Arc<Inner>) -> Self {
        inner.workers.send_modify(|count| *count += 1);
        Self(inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let uncount = |count: &mut usize| *count = count.saturating_sub(1);
        self.0.workers.send_modify(uncount);
    }
}

#[cfg(test)]
mod tests;
