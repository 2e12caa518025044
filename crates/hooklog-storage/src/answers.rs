//! Answers to requests that changed something, kept for a while under the idempotency keys of those
//! requests, so that a repetition gets the first answer instead of doing the work again. Events carry
//! their keys themselves (`event_keys.rs`); this is for everything else.
//!
//! **Invariant:** the table in memory is what the rows on disk say; both are bounded, and what has to
//! go to make room is decided once, by the committer, and is part of the entry. An answer that has
//! expired is never given, whether its row is still there or not.
//! **Next:** `answers/table.rs`.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::change::ChangeError;
use crate::commit_error::CommitError;
use crate::idempotency::IdempotencyKey;
use crate::log::EventLog;
use crate::request::{Request, Sync};
use crate::time::Timestamp;
use crate::wait::wait;

pub(crate) use table::Answers;

mod table;

/// Longest answer that is kept: below the engine's limit for one row, as values of the registry.
pub(crate) const ANSWER_BYTES_MAX: usize = 96 << 10;

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
}

/// What is known of a request by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It was here before, with this answer.
    Before(KeptAnswer),
    /// Its key belongs to another request.
    KeyMismatch,
}

/// What a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerSync {
    /// Nothing: kept when an `fdatasync` returned.
    Now,
    /// The answer, until the next sync for something else. It survives the death of the process.
    Later,
}

/// The hash of a key.
pub(crate) type Hash = [u8; 16];

/// An answer as it is stored. The order of fields is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerRow {
    /// Of the request.
    pub(crate) fingerprint: u64,
    pub(crate) expires: Timestamp,
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// An answer that is kept, and those that go for it. The order of fields is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerEntry {
    pub(crate) dropped: Vec<Hash>,
    pub(crate) hash: Hash,
    pub(crate) row: AnswerRow,
}

/// An answer on its way to the committer.
pub(crate) struct NewAnswer {
    pub(crate) key: IdempotencyKey,
    pub(crate) answer: KeptAnswer,
    pub(crate) age: Duration,
    pub(crate) sync: Sync,
}

impl EventLog {
    /// What is known of a request by its key, at the time `now`.
    pub fn answered(&self, key: &IdempotencyKey, now: Timestamp) -> Option<Answered> {
        self.handle.shared.answers.lock().get(key, now)
    }

    /// Keeps the answer to a request under its key, for `age` or [`Config::idempotency_age`], whichever
    /// is shorter. `Limit` if it is larger than 96 KiB: then it is not kept.
    ///
    /// [`Config::idempotency_age`]: crate::Config::idempotency_age
    pub async fn keep_answer(
        &self,
        key: IdempotencyKey,
        answer: KeptAnswer,
        age: Duration,
        sync: AnswerSync,
    ) -> Result<(), ChangeError> {
        if answer.body.len() > ANSWER_BYTES_MAX {
            let what = "the size of a kept answer in bytes";
            return Err(ChangeError::Limit {
                what,
                limit: ANSWER_BYTES_MAX,
            });
        }
        let age = age.min(self.config().idempotency_age);
        if age.is_zero() {
            return Ok(());
        }
        let sync = match sync {
            AnswerSync::Now => Sync::Now,
            AnswerSync::Later => Sync::Later,
        };
        let bytes = answer.body.len() + table::ROW_BYTES;
        let new = NewAnswer {
            key,
            answer,
            age,
            sync,
        };
        let (ack, kept) = oneshot::channel();
        let request = Request::Answer { new, ack };
        self.handle
            .submit(request, bytes)
            .map_err(CommitError::from)?;
        kept.await
            .unwrap_or_else(|_| Err(self.handle.gone().into()))
    }

    /// [`keep_answer`](Self::keep_answer); blocks.
    pub fn keep_answer_blocking(
        &self,
        key: IdempotencyKey,
        answer: KeptAnswer,
        age: Duration,
        sync: AnswerSync,
    ) -> Result<(), ChangeError> {
        wait(self.keep_answer(key, answer, age, sync))
    }
}

#[cfg(test)]
mod tests;
