//! What one group commit holds, in memory and as the body of a journal frame.
//!
//! Body: `bytes of the records u32 | records (record.rs) | per entry: length u32, codec bytes`.
//!
//! **Invariant:** encoding and decoding a `Committed` gives the same value: recovery sees what the
//! committer saw.
//! **Next:** `journal.rs`, which writes it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::answers::AnswerEntry;
use crate::attempt::{Attempt, Cursor, Expired, Low, NewAttempt};
use crate::bytes::Reader;
use crate::change::Change;
use crate::codec::{self, CodecError};
use crate::consumer::{ConsumerCursor, ConsumerKey};
use crate::event::Record;
use crate::health::Health;
use crate::id::{AttemptId, SubscriptionId};
use crate::offset::{Offset, Sequence};
use crate::record;

/// An attempt with its id, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredAttempt {
    pub(crate) id: AttemptId,
    pub(crate) attempt: NewAttempt,
}

impl From<StoredAttempt> for Attempt {
    fn from(stored: StoredAttempt) -> Self {
        Self {
            id: stored.id,
            attempt: stored.attempt,
        }
    }
}

/// Everything but events. The order of variants is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    Change(Change),
    Attempt(StoredAttempt),
    Cursor(SubscriptionId, Cursor),
    Mark(Offset),
    Low(Low),
    Expired(SubscriptionId, Expired),
    /// A consumer's cursor as it is now; `None` deletes the consumer.
    Consumer(ConsumerKey, Option<ConsumerCursor>),
    Health(SubscriptionId, Health),
    Skipped(SubscriptionId, Offset),
    /// The answer to a request is kept.
    Answer(AnswerEntry),
}

impl Entry {
    /// The attempt, if it is one.
    pub(crate) fn attempt(&self) -> Option<&StoredAttempt> {
        if let Self::Attempt(stored) = self {
            return Some(stored);
        }
        None
    }

    /// The kept answer, if it is one.
    pub(crate) fn answer(&self) -> Option<&AnswerEntry> {
        if let Self::Answer(answer) = self {
            return Some(answer);
        }
        None
    }

    /// The change of the registry, if it is one.
    pub(crate) fn change(&self) -> Option<&Change> {
        if let Self::Change(change) = self {
            return Some(change);
        }
        None
    }
}

/// One group commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) sequence: Sequence,
    /// Offset of the first record (the log's end if there is none).
    pub(crate) base: Offset,
    pub(crate) records: Arc<[Record]>,
    pub(crate) entries: Vec<Entry>,
    /// Bytes of the frame's body: what it weighs in memory, about.
    pub(crate) bytes: usize,
    /// CRC of the frame, for the chain.
    pub(crate) crc: u32,
    /// Epoch of the journal segment that holds the frame.
    pub(crate) epoch: u64,
}

impl Committed {
    /// The log's end after this commit.
    pub(crate) fn end(&self) -> Offset {
        self.base.plus(self.records.len() as u64)
    }
}

/// Why a body is not a commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("the frame's body is cut short")]
    Short,
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Appends the body of a frame.
pub(crate) fn encode(
    records: &[Record],
    entries: &[Entry],
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    prefixed(out, |out| {
        records
            .iter()
            .try_for_each(|record| record::encode(record, out))
    })?;
    entries
        .iter()
        .try_for_each(|entry| prefixed(out, |out| codec::encode_into(entry, out)))
}

/// The records and entries of a body.
pub(crate) fn decode(
    body: &Bytes,
    base: Offset,
    count: u32,
) -> Result<(Arc<[Record]>, Vec<Entry>), EntryError> {
    let count = usize::try_from(count).map_err(|_| EntryError::Short)?;
    let mut reader = Reader::new(body);
    let length = reader.length().ok_or(EntryError::Short)?;
    reader.take(length).ok_or(EntryError::Short)?;
    let records = body.slice(4..4 + length);
    let (spans, end) = record::spans(&records, count).ok_or(EntryError::Short)?;
    if end != length {
        return Err(EntryError::Short);
    }
    let decode = |(index, span)| record::decode(&records, span, base.plus(index));
    let records = (0..).zip(&spans).map(decode).collect::<Result<_, _>>()?;
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let length = reader.length().ok_or(EntryError::Short)?;
        entries.push(codec::decode(
            reader.take(length).ok_or(EntryError::Short)?,
        )?);
    }
    Ok((records, entries))
}

/// Writes a `u32` length before what `write` appends.
pub(crate) fn prefixed(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    // A commit is bounded far below 4 GiB.
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
