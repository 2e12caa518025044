//! What the index holds: the hash of a key, and which event carries the key.
//!
//! **Invariant:** the bytes of an entry are the same wherever it lies; they begin with the hash, so
//! that entries sort by it.
//! **Next:** `layout.rs`, which packs entries into blocks.

use crate::bytes::Reader;
use crate::id::EventId;
use crate::offset::Offset;
use crate::time::Timestamp;

/// Bytes of a hash. With 50 million keys the chance that two of them share one is below 1 in 10^22.
pub(crate) const HASH_BYTES: usize = 16;
/// Bytes of an entry: hash, id of the event (20), fingerprint (8).
pub(crate) const ENTRY_BYTES: usize = HASH_BYTES + 20 + 8;

/// The hash of a key, evenly spread. Places are derived from it, so it must be made with a secret:
/// who can choose hashes could crowd them into one place and make lookups there slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyHash([u8; HASH_BYTES]);

impl KeyHash {
    pub(crate) const fn new(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// Which of `slots` equal parts of all hashes this one lies in; grows with the hash.
    pub(crate) fn slot(&self, slots: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        let first = u64::from(u32::from_be_bytes([a, b, c, d]));
        u32::try_from((first * u64::from(slots)) >> 32).unwrap_or(u32::MAX)
    }

    /// Six numbers that do not depend on the bytes that [`slot`](Self::slot) looks at.
    pub(crate) fn probes(&self) -> impl Iterator<Item = u16> + '_ {
        let (_, rest) = self.0.split_at(4);
        rest.as_chunks::<2>()
            .0
            .iter()
            .copied()
            .map(u16::from_be_bytes)
    }
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) hash: KeyHash,
    /// The event that carries the key; says where and when it was.
    pub(crate) id: EventId,
    /// Of the request that carried the key, to tell a repetition from a mix-up.
    pub(crate) fingerprint: u64,
}

impl KeyEntry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.hash.as_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.fingerprint.to_be_bytes());
    }

    pub(crate) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Some(Self {
            hash: KeyHash::new(reader.array()?),
            id: EventId::from_bytes(reader.array()?),
            fingerprint: reader.u64()?,
        })
    }
}

/// Below which time and which offset keys are forgotten. Both only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) time: Timestamp,
    pub(crate) offset: Offset,
}

impl Floor {
    pub(crate) fn raise(&mut self, to: Self) {
        self.time = self.time.max(to.time);
        self.offset = self.offset.max(to.offset);
    }

    /// Whether the key of this event still counts.
    pub(crate) fn keeps(self, id: &EventId) -> bool {
        id.offset() >= self.offset && id.timestamp() >= self.time
    }
}

/// Between which offsets and times the entries of a run lie, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) lowest: Offset,
    pub(crate) highest: Offset,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Span {
    pub(crate) fn of(id: &EventId) -> Self {
        let (offset, time) = (id.offset(), id.timestamp());
        Self {
            lowest: offset,
            highest: offset,
            first: time,
            last: time,
        }
    }

    pub(crate) fn include(&mut self, id: &EventId) {
        let other = Self::of(id);
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    /// Whether nothing in it is kept.
    pub(crate) fn is_below(&self, floor: Floor) -> bool {
        self.highest < floor.offset || self.last < floor.time
    }
}
