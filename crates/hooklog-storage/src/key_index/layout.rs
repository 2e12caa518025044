//! The bytes of a run of keys; only this file knows them. Big endian.
//!
//! ```text
//! run-N.keys:  header, 4,096 B · filter lines of 64 B · zeros to a multiple of 4,096 ·
//!              blocks of 4,096 B, the entries ascending by hash over all of them
//!
//! header                          block                            filter line
//!  0  magic "HLKR"       4           0  entries n          2         0  480 bits           60
//!  4  version 1          1           2  zeros              2        60  CRC32C              4
//!  5  level              1           4  n entries      44 × n
//!  6  zeros              2              zeros
//!  8  number of the run  8        4092  CRC32C             4
//! 16  entries            8
//! 24  home blocks        4        entry
//! 28  blocks             4         0  hash                16
//! 32  filter lines       4        16  id of the event     20
//! 36  zeros              4        36  fingerprint          8
//! 40  lowest offset      8
//! 48  highest offset     8
//! 56  first timestamp    8
//! 64  last timestamp     8
//! 72  CRC32C of 0..72    4
//! 76  zeros           4020
//! ```
//! The CRC of a block or a line covers the number of the run, its own number and its bytes, so that a
//! block in a wrong place is found out.
//!
//! Hashes are even, so an entry's *home* is the block `hash × home blocks / 2^128`. Homes are filled
//! to three quarters; an entry whose home is full lies in the block after it, and the blocks are in
//! order all the same. A lookup is one read, and a second one in one of some thousand cases. Filter
//! lines divide the hashes alike; each is a Bloom filter of the entries of its part.
//!
//! **Invariant:** a block that is read back is the block that was written, or it is an error.
//! **Next:** `run_writer.rs` and `run.rs`.

use crate::bytes::Reader;
use crate::key_index::entry::{ENTRY_BYTES, HASH_BYTES, KeyEntry, KeyHash, Span};
use crate::offset::Offset;
use crate::time::Timestamp;

const MAGIC: &[u8; 4] = b"HLKR";
const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;
/// A page of the page cache and a block of the usual file systems.
pub(crate) const BLOCK_BYTES: usize = 4096;
const BLOCK_HEADER_BYTES: usize = 4;
/// How many entries fit a block: 92.
pub(crate) const BLOCK_ENTRIES: usize =
    (BLOCK_BYTES - BLOCK_HEADER_BYTES - CRC_BYTES) / ENTRY_BYTES;
/// How many entries a home gets on average: 3/4. The number in one home is Poisson distributed; with
/// a mean of 69 it is above 92 in 3 of 1,000 homes.
const HOME_ENTRIES: u64 = 69;
/// A line of a processor's cache.
pub(crate) const LINE_BYTES: usize = 64;
/// Bits of a line.
const LINE_BITS: usize = (LINE_BYTES - CRC_BYTES) * 8;
/// How many entries a line gets on average: about 11 bits for each, which with six probes lets one of
/// a hundred absent keys pass.
const LINE_ENTRIES: u64 = 44;
const HEADER_FIELDS_BYTES: usize = 72;

/// Into how many parts a run divides the hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Blocks that are some entry's home.
    pub(crate) homes: u32,
    /// Filter lines.
    pub(crate) lines: u32,
}

impl Geometry {
    /// For up to so many entries.
    pub(crate) fn for_entries(entries: u64) -> Self {
        let parts = |each| u32::try_from(entries.div_ceil(each).max(1)).unwrap_or(u32::MAX);
        Self {
            homes: parts(HOME_ENTRIES),
            lines: parts(LINE_ENTRIES),
        }
    }

    /// Where a line lies.
    pub(crate) fn line_position(line: u32) -> u64 {
        BLOCK_BYTES as u64 + u64::from(line) * LINE_BYTES as u64
    }

    /// Where a block lies.
    pub(crate) fn block_position(self, block: u32) -> u64 {
        let start = Self::line_position(self.lines).next_multiple_of(BLOCK_BYTES as u64);
        start + u64::from(block) * BLOCK_BYTES as u64
    }
}

/// Start of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunHeader {
    pub(crate) number: u64,
    /// How often its entries were merged.
    pub(crate) level: u8,
    pub(crate) entries: u64,
    pub(crate) geometry: Geometry,
    /// Homes, and what the last of them spilled.
    pub(crate) blocks: u32,
    pub(crate) span: Span,
}

impl RunHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, self.level, 0, 0]);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.entries.to_be_bytes());
        out.extend_from_slice(&self.geometry.homes.to_be_bytes());
        out.extend_from_slice(&self.blocks.to_be_bytes());
        out.extend_from_slice(&self.geometry.lines.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.span.lowest.get().to_be_bytes());
        out.extend_from_slice(&self.span.highest.get().to_be_bytes());
        out.extend_from_slice(&self.span.first.as_millis().to_be_bytes());
        out.extend_from_slice(&self.span.last.as_millis().to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out.resize(BLOCK_BYTES, 0);
        out
    }

    /// The header, if these bytes are one of a version that is known.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, rest) = bytes.split_at_checked(HEADER_FIELDS_BYTES)?;
        if crc32c::crc32c(covered) != Reader::new(rest).u32()? {
            return None;
        }
        let mut reader = Reader::new(covered);
        let known = reader.array::<4>()? == *MAGIC && reader.u8()? == VERSION;
        let level = reader.u8()?;
        reader.take(2)?;
        let (number, entries) = (reader.u64()?, reader.u64()?);
        let (homes, blocks, lines) = (reader.u32()?, reader.u32()?, reader.u32()?);
        reader.take(4)?;
        let header = Self {
            number,
            level,
            entries,
            geometry: Geometry { homes, lines },
            blocks,
            span: Span {
                lowest: Offset::new(reader.u64()?),
                highest: Offset::new(reader.u64()?),
                first: Timestamp::from_millis(reader.i64()?),
                last: Timestamp::from_millis(reader.i64()?),
            },
        };
        known.then_some(header)
    }

    /// How long the file must be.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.geometry.block_position(self.blocks)
    }
}

/// What a block or a line ends with.
fn checksum(run: u64, number: u32, bytes: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&run.to_be_bytes()), &number.to_be_bytes());
    crc32c::crc32c_append(place, bytes)
}

/// The bytes before the checksum, if it holds.
fn checked(run: u64, number: u32, bytes: &[u8]) -> Option<&[u8]> {
    let (covered, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    (checksum(run, number, covered) == u32::from_be_bytes(*crc)).then_some(covered)
}

/// A block while it is filled.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    entries: Vec<u8>,
    count: usize,
}

impl BlockBuilder {
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.count >= BLOCK_ENTRIES
    }

    pub(crate) fn push(&mut self, entry: &KeyEntry) {
        entry.encode(&mut self.entries);
        self.count += 1;
    }

    /// Appends the block to `out` and is empty again.
    pub(crate) fn finish(&mut self, run: u64, number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let count = u16::try_from(self.count).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.entries);
        out.resize(start + BLOCK_BYTES - CRC_BYTES, 0);
        let crc = checksum(run, number, out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_be_bytes());
        self.entries.clear();
        self.count = 0;
    }
}

/// The entries of a block whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) entries: &'a [[u8; ENTRY_BYTES]],
}

impl<'a> Block<'a> {
    pub(crate) fn check(run: u64, number: u32, bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(checked(run, number, bytes)?);
        let count = usize::from(reader.u16()?);
        reader.take(BLOCK_HEADER_BYTES - 2)?;
        let entries = reader.take(count * ENTRY_BYTES)?.as_chunks().0;
        Some(Self { entries })
    }

    pub(crate) fn get(&self, hash: &KeyHash) -> Option<KeyEntry> {
        let found = self
            .entries
            .binary_search_by(|entry| start(entry).cmp(hash.as_bytes()))
            .ok()?;
        self.entries.get(found).and_then(KeyEntry::decode)
    }

    /// Whether an entry with this hash, whose home is not behind this block, may lie in the next one.
    pub(crate) fn may_spill(&self, hash: &KeyHash) -> bool {
        self.entries.len() >= BLOCK_ENTRIES
            && self
                .entries
                .last()
                .is_some_and(|last| start(last) < hash.as_bytes())
    }
}

/// The hash that an entry begins with.
fn start(entry: &[u8; ENTRY_BYTES]) -> &[u8; HASH_BYTES] {
    // The length is a constant, so the other arm is never taken.
    entry.first_chunk().unwrap_or(&[0; HASH_BYTES])
}

/// A filter line while it is filled.
#[derive(Debug)]
pub(crate) struct LineBuilder {
    bits: [u8; LINE_BYTES - CRC_BYTES],
}

impl LineBuilder {
    pub(crate) const fn new() -> Self {
        Self {
            bits: [0; LINE_BYTES - CRC_BYTES],
        }
    }

    pub(crate) fn insert(&mut self, hash: &KeyHash) {
        for (byte, mask) in line_bits(hash) {
            if let Some(byte) = self.bits.get_mut(byte) {
                *byte |= mask;
            }
        }
    }

    /// Appends the line to `out` and is empty again.
    pub(crate) fn finish(&mut self, run: u64, number: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bits);
        out.extend_from_slice(&checksum(run, number, &self.bits).to_be_bytes());
        *self = Self::new();
    }
}

/// A filter line whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    bits: &'a [u8],
}

impl<'a> Line<'a> {
    pub(crate) fn check(run: u64, number: u32, bytes: &'a [u8]) -> Option<Self> {
        checked(run, number, bytes).map(|bits| Self { bits })
    }

    /// Whether the hash may be in the run; if not, it is not.
    pub(crate) fn may_hold(&self, hash: &KeyHash) -> bool {
        line_bits(hash).all(|(byte, mask)| self.bits.get(byte).is_some_and(|b| b & mask != 0))
    }
}

/// Which bits of its line a hash sets: byte and mask.
fn line_bits(hash: &KeyHash) -> impl Iterator<Item = (usize, u8)> + '_ {
    hash.probes().map(|probe| {
        let bit = (usize::from(probe) * LINE_BITS) >> 16;
        (bit / 8, 1 << (bit % 8))
    })
}

#[cfg(test)]
mod tests;
