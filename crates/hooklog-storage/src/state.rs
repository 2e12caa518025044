//! Where the applier stands, as one row of sled, and the sums that show a lost row.
//!
//! **Invariant:** the row is written in the same transaction as the last of what it speaks of.
//! **Next:** `plan.rs`, which advances it.

use serde::{Deserialize, Serialize};

use crate::attempt::Low;
use crate::codec::{self, CodecError};
use crate::engine::Op;
use crate::keys::{self, Family};
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
    /// Time of the last commit with events.
    pub(crate) last_timestamp: Timestamp,
    /// The batches of events.
    pub(crate) events: Chain<Offset>,
    /// The batches of attempts.
    pub(crate) attempts: Chain<AttemptSeq>,
    /// The dispatcher's mark.
    pub(crate) mark: Offset,
    /// Sum over all rows of the summed families.
    pub(crate) sum: RowSum,
}

impl State {
    /// Where the log begins.
    pub(crate) fn low(&self) -> Low {
        Low {
            events: self.events.low,
            attempts: self.attempts.low,
        }
    }

    /// The write that stores it.
    pub(crate) fn op(&self) -> Result<Op, CodecError> {
        Ok(Op {
            family: Family::State,
            key: keys::STATE.to_vec(),
            value: Some(codec::encode(self)?),
        })
    }
}

/// The batches of one kind, from the first that is still stored to the last.
///
/// `first.position <= verified.position <= end`, and `low` lies anywhere in `0..=end`: what is below
/// it has expired, is not shown any more, and is removed batch by batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain<P> {
    /// The lowest position that is kept.
    pub(crate) low: P,
    /// Where the first stored batch begins.
    pub(crate) first: Link<P>,
    /// What an earlier open has verified, up to here.
    pub(crate) verified: Link<P>,
    /// One past the last position.
    pub(crate) end: P,
    /// CRC of the last batch.
    pub(crate) crc: u32,
    /// Bytes of all stored batches, as stored.
    pub(crate) bytes: u64,
}

/// A place between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link<P> {
    /// Position of the batch behind it.
    pub(crate) position: P,
    /// CRC of the batch before it, 0 if there was none.
    pub(crate) crc: u32,
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
