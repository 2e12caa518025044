//! Where the applier stands, as one row of sled, and the sums that show a lost row.
//!
//! **Invariant:** the row is written in the same transaction as the last of what it speaks of.
//! **Next:** `plan.rs`, which advances it.

use serde::{Deserialize, Serialize};

use crate::keys::Family;
use crate::offset::{AttemptSeq, Offset, Sequence};
use crate::time::Timestamp;

/// The applier's state. The order of fields is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The last journal frame that sled holds.
    pub(crate) applied: Option<Sequence>,
    /// CRC of that frame.
    pub(crate) journal_crc: u32,
    /// Epoch of the segment that holds it, or that a later open started.
    pub(crate) journal_epoch: u64,
    /// One past the last event.
    pub(crate) end: Offset,
    /// One past the last attempt.
    pub(crate) attempts: AttemptSeq,
    /// Time of the last commit with events.
    pub(crate) last_timestamp: Timestamp,
    /// CRC of the last batch of events.
    pub(crate) events_crc: u32,
    /// CRC of the last batch of attempts.
    pub(crate) attempts_crc: u32,
    /// The dispatcher's mark.
    pub(crate) mark: Offset,
    /// Sum over all rows of the summed families.
    pub(crate) sum: RowSum,
    /// Events below this were verified by an earlier open, with the CRC of the batch before it.
    pub(crate) verified: (Offset, u32),
    /// The same for attempts.
    pub(crate) attempts_verified: (AttemptSeq, u32),
}

/// An order-independent sum over rows: sled drops damaged log messages silently when it recovers,
/// and nothing else would show that a registry, cursor or retry row is an old one or gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowSum {
    rows: u64,
    sum: u64,
}

impl RowSum {
    /// Counts a row in.
    pub(crate) fn add(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(digest(family, key, value));
    }

    /// Counts a row out.
    pub(crate) fn remove(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(digest(family, key, value));
    }
}

fn digest(family: Family, key: &[u8], value: &[u8]) -> u64 {
    let of_key = crc32c::crc32c_append(family as u32, key);
    let of_value = crc32c::crc32c_append(of_key, value);
    u64::from(of_key) << 32 | u64::from(of_value)
}
