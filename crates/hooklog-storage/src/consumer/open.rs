//! The way to a consumer: open, list, delete.
//!
//! **Invariant:** a name is looked up only after every write that was asked for before is committed,
//! so that a reader that follows another on the same name goes on exactly where that one ended.
//! **Next:** `reader.rs`.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::change::ChangeError;
use crate::commit_error::CommitError;
use crate::consumer::{
    Consumer, ConsumerCursor, ConsumerError, ConsumerInfo, ConsumerKey, ConsumerOptions,
    ConsumerScope, Start,
};
use crate::log::EventLog;
use crate::offset::Offset;
use crate::request::{ConsumerWrite, Request, Sync};
use crate::shared::Shared;
use crate::time::Timestamp;
use crate::wait::wait;

/// Most that `unacked_max` may be: about 50 MiB of one consumer's table.
const UNACKED_LIMIT: usize = 1_000_000;
/// What a write counts for in the queue.
const WRITE_BYTES: usize = 256;

/// A name that is lent to one reader, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    shared: Arc<Shared>,
    pub(crate) key: ConsumerKey,
}

impl Lease {
    fn take(log: &EventLog, key: ConsumerKey) -> Result<Self, ConsumerError> {
        let shared = Arc::clone(&log.handle.shared);
        shared.consumers.lock().lend(&key)?;
        Ok(Self { shared, key })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.consumers.lock().give_back(&self.key);
    }
}

/// How a write went.
pub(crate) type Written = oneshot::Receiver<Result<(), ChangeError>>;

impl EventLog {
    /// Opens the consumer of this name, creating it (durably) if it is new. It goes on where the last
    /// one of this name stood.
    ///
    /// ```
    /// # use hooklog_storage::{ApplicationId, Config, ConsumerOptions, Event, EventLog};
    /// # let directory = tempfile::tempdir()?;
    /// # let log = EventLog::open(Config::new(directory.path()))?;
    /// # let application = ApplicationId::from_bytes([1; 20]);
    /// log.append_blocking(vec![Event::new(application, "invoice.paid".parse()?, "{}")])?;
    ///
    /// let mut consumer = log.consumer_blocking("billing", ConsumerOptions::default())?;
    /// let event = consumer.next_blocking()?;
    /// assert_eq!(event.event.event_type.as_str(), "invoice.paid");
    /// event.ack();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConsumerError::InUse`] if it is open in this process: two readers on one cursor would skip
    /// each other's events. To share the work, hand the deliveries of one consumer to several tasks.
    pub async fn consumer(
        &self,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, ConsumerError> {
        let found = options.unacked_max;
        if !(1..=UNACKED_LIMIT).contains(&found) {
            return Err(ConsumerError::Unacked {
                found,
                limit: UNACKED_LIMIT,
            });
        }
        let name = name.parse()?;
        let scope = options.scope;
        let lease = Lease::take(self, ConsumerKey { scope, name })?;
        self.written(ConsumerWrite::Nothing).await?;
        let shared = &self.handle.shared;
        let stored = shared.consumers.lock().get(&lease.key);
        let row = if let Some(row) = stored {
            row
        } else {
            let row = ConsumerCursor {
                cursor: self.start(options.start)?,
                created: now(),
            };
            let write = ConsumerWrite::Put(lease.key.clone(), row, Sync::Now);
            self.written(write).await?;
            row
        };
        Ok(Consumer::new(self.clone(), lease, row, options))
    }

    /// [`consumer`](Self::consumer); blocks.
    pub fn consumer_blocking(
        &self,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, ConsumerError> {
        wait(self.consumer(name, options))
    }

    /// The consumers of a scope, or all, by scope and name.
    pub fn consumers(&self, scope: Option<ConsumerScope>) -> Vec<ConsumerInfo> {
        let end = self.end();
        let consumers = self.handle.shared.consumers.lock();
        let rows = consumers.list(scope);
        rows.map(|(key, row)| ConsumerInfo {
            key: key.clone(),
            cursor: row.cursor,
            lag: end.since(row.cursor),
            created: row.created,
        })
        .collect()
    }

    /// Deletes a consumer and its cursor; returns when that is on disk. One that is open cannot be
    /// deleted.
    pub async fn delete_consumer(
        &self,
        scope: ConsumerScope,
        name: &str,
    ) -> Result<(), ConsumerError> {
        let name = name.parse()?;
        let lease = Lease::take(self, ConsumerKey { scope, name })?;
        self.written(ConsumerWrite::Nothing).await?;
        let stored = self.handle.shared.consumers.lock().get(&lease.key);
        stored.ok_or(ConsumerError::NotFound { what: "consumer" })?;
        let write = ConsumerWrite::Delete(lease.key.clone());
        Ok(self.written(write).await?)
    }

    /// [`delete_consumer`](Self::delete_consumer); blocks.
    pub fn delete_consumer_blocking(
        &self,
        scope: ConsumerScope,
        name: &str,
    ) -> Result<(), ConsumerError> {
        wait(self.delete_consumer(scope, name))
    }

    /// Hands a write to the committer.
    pub(crate) fn write_consumer(&self, write: ConsumerWrite) -> Result<Written, CommitError> {
        let (ack, answer) = oneshot::channel();
        let request = Request::Consumer { write, ack };
        self.handle.submit(request, WRITE_BYTES)?;
        Ok(answer)
    }

    pub(super) async fn written(&self, write: ConsumerWrite) -> Result<(), ChangeError> {
        let answer = self.write_consumer(write)?;
        answer
            .await
            .unwrap_or_else(|_| Err(self.handle.gone().into()))
    }

    pub(super) fn start(&self, start: Start) -> Result<Offset, ConsumerError> {
        Ok(match start {
            Start::Beginning => self.handle.shared.low(),
            Start::End => self.end(),
            Start::At(offset) => offset.min(self.end()),
            Start::Since(time) => self.offset_at(time)?,
        })
    }
}

/// When a consumer was created; shown to people, decides nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "a write without events has no time of its own"
)]
pub(super) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
