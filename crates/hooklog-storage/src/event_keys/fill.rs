//! Filling the indexes at open with what they do not have: a power cut, a kill, a reset or a copy of
//! the log leaves them behind the log.
//!
//! **Invariant:** the log takes no append before every key of a kept event is in its index.
//! **Next:** `event_keys/upkeep.rs`.

use super::EventKeys;
use crate::key_index::{KeyIndex, KeyIndexError, MergeStep};
use crate::offset::Offset;
use crate::page::Limit;
use crate::read::ReadError;
use crate::recovery::OpenErrorKind;
use crate::shared::Shared;
use crate::time::Timestamp;

/// So much of the log is read at a time: far fewer keys than an index takes between two seals, and
/// little memory.
const PAGE: Limit = Limit {
    items: 4096,
    bytes: 8 << 20,
};

impl Shared {
    /// Reads the log from where the indexes end. `now` is the time of the last commit.
    pub(crate) fn fill_keys(&self, now: Timestamp) -> Result<(), OpenErrorKind> {
        let (keys, low) = (&self.keys, self.low());
        keys.committed(0, now);
        keys.expire(low)?;
        let covered = keys.both().map(KeyIndex::covered);
        let [requests, uids] = covered;
        let mut next = requests.min(uids).max(low);
        let (first, end) = (next, self.ring.end());
        while next < end {
            let records = self.read(next, PAGE)?;
            // What is left was lost, and a repair has marked it so.
            let Some(last) = records.last() else { break };
            for record in &records {
                keys.insert_above(record, requests, uids)?;
                // Not forgotten if the process is killed again soon: it is sealed in its time.
                keys.committed(record.event.payload.len(), now);
            }
            next = last.offset.next();
            if keys.is_filling() {
                keys.seal_fully(next)?;
            }
        }
        if next > first {
            tracing::info!(
                events = next.since(first),
                "the keys of events were read from the log"
            );
        }
        Ok(())
    }
}

impl EventKeys {
    /// Seals what is due, after merging: as many runs as there may be leave no room for another.
    fn seal_fully(&self, up_to: Offset) -> Result<(), KeyIndexError> {
        for index in self.both() {
            if index.seal_is_due() {
                while index.merge_step(&self.stop)? == MergeStep::Merged {}
                index.seal(up_to)?;
            }
        }
        Ok(())
    }
}

impl From<KeyIndexError> for OpenErrorKind {
    fn from(error: KeyIndexError) -> Self {
        match error {
            KeyIndexError::Io(error) => Self::Directory(error.into()),
            KeyIndexError::Damaged { .. }
            | KeyIndexError::Full { .. }
            | KeyIndexError::Behind { .. }
            | KeyIndexError::Limits { .. } => Self::Keys {
                reason: error.to_string(),
            },
        }
    }
}

impl From<ReadError> for OpenErrorKind {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Engine(error) => Self::Engine(error),
            ReadError::Keys { reason } => Self::Keys { reason },
            ReadError::Corrupt { .. } | ReadError::Expired { .. } => Self::Damaged {
                reason: error.to_string(),
            },
        }
    }
}
