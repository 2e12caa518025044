//! Consumers of readers elsewhere: they ask for events by offset, and say later how far they are.
//!
//! **Invariant:** [`EventLog::advance_consumer`] never moves a cursor back, whatever order the words
//! of several readers arrive in; only a seek does. A consumer that a reader of this process holds is
//! moved by that one alone.
//! **Next:** `stream.rs`.

use crate::consumer::open::now;
use crate::consumer::{
    ConsumeError, ConsumerCursor, ConsumerError, ConsumerInfo, ConsumerKey, ConsumerOptions, Start,
};
use crate::log::EventLog;
use crate::offset::Offset;
use crate::request::ConsumerWrite;

impl EventLog {
    /// A consumer as it stands, if there is one of that name; from memory.
    pub fn find_consumer(&self, key: &ConsumerKey) -> Option<ConsumerInfo> {
        let row = self.handle.shared.consumers.lock().get(key)?;
        Some(ConsumerInfo {
            key: key.clone(),
            cursor: row.cursor,
            lag: self.end().since(row.cursor),
            created: row.created,
        })
    }

    /// Creates a consumer that begins at `start`, unless there is one of that name; durable when it
    /// returns, as it stands. `start` may read the disk if it is a time.
    pub async fn create_consumer(
        &self,
        key: ConsumerKey,
        start: Start,
    ) -> Result<ConsumerInfo, ConsumerError> {
        self.handle.shared.consumers.lock().check_room(&key)?;
        let row = ConsumerCursor {
            cursor: self.start(start)?,
            created: now(),
        };
        self.written(ConsumerWrite::Create(key.clone(), row))
            .await?;
        let found = self.find_consumer(&key);
        found.ok_or(ConsumerError::NotFound { what: "consumer" })
    }

    /// Settles everything below `to` (what is past the end counts as the end); a cursor that is
    /// further already stays. Returns when it survives the death of the process; a power cut may
    /// forget it, so that events come again.
    pub async fn advance_consumer(
        &self,
        key: &ConsumerKey,
        to: Offset,
    ) -> Result<(), ConsumerError> {
        let found = {
            let consumers = self.handle.shared.consumers.lock();
            if consumers.is_lent(key) {
                return Err(ConsumerError::InUse { key: key.clone() });
            }
            consumers.get(key)
        };
        // What is settled already needs no turn in the queue.
        if found.is_some_and(|row| row.cursor >= to) {
            return Ok(());
        }
        Ok(self
            .written(ConsumerWrite::Advance(key.clone(), to))
            .await?)
    }

    /// Goes on from `to`, back or forwards (what is past the end counts as the end), and creates the
    /// consumer if it is new; durable when it returns.
    pub async fn seek_consumer(&self, key: &ConsumerKey, to: Offset) -> Result<(), ConsumerError> {
        let options = ConsumerOptions {
            scope: key.scope,
            start: Start::At(to),
            ..ConsumerOptions::default()
        };
        // Opened, so that no reader of this process is moved under its feet.
        let mut consumer = self.consumer(key.name.as_str(), options).await?;
        match consumer.seek(to).await {
            Ok(()) => Ok(()),
            Err(ConsumeError::Commit(error)) => Err(error.into()),
            Err(ConsumeError::Read(error)) => Err(error.into()),
            // A seek yields nothing, so nothing else than the first can be said.
            Err(
                ConsumeError::Deleted { .. }
                | ConsumeError::Expired { .. }
                | ConsumeError::Unacked { .. },
            ) => Err(ConsumerError::NotFound { what: "consumer" }),
        }
    }
}

#[cfg(test)]
mod tests;
