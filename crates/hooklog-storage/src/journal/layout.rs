//! The bytes of segment headers and journal frames; only this file knows them. Big endian.
//!
//! ```text
//! segment header            frame header
//!  0  magic "HLJS"     4     0  magic "HLJF"              4
//!  4  version 1        1     4  version 1                 1
//!  5  zeros            3     5  zeros                     3
//!  8  epoch            8     8  epoch of the segment      8
//! 16  first sequence   8    16  salt of the segment       8
//! 24  segment bytes    8    24  sequence                  8
//! 32  salt             8    32  1 + last synced sequence  8
//! 40  zeros           20    40  base offset               8
//! 60  CRC32C of 0..60  4    48  records                   4
//!                           52  CRC of the frame before   4
//!                           56  body bytes                4
//!                           60  CRC32C of 0..60           4
//! ```
//! The salt is random and stays on disk: a publisher who knows this layout cannot make a payload that
//! passes for a frame when recovery looks behind the last one.
//!
//! **Invariant:** a frame tells which frames before it were durable when it was written. A broken
//! frame that a later one calls durable is damage; any other broken frame at the end is a torn
//! write that was never acked.
//! **Next:** `image.rs`, then `scan.rs`.

use crate::blocks::BLOCK_BYTES;
use crate::bytes::Reader;
use crate::offset::{Offset, Sequence};

const SEGMENT_MAGIC: &[u8; 4] = b"HLJS";
const FRAME_MAGIC: &[u8; 4] = b"HLJF";
const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;
/// Frames start on a block of their own, so that writing one never touches the header's block.
pub(crate) const FRAMES_START: u64 = 4096;
/// Frames start at multiples of this, so that they can be written past the page cache, the block of an acked
/// frame is not written again, and a search for frames looks at few places.
pub(crate) const ALIGNMENT: usize = BLOCK_BYTES;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const FRAME_HEADER_BYTES: usize = 64;

/// Start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Grows with each use of any segment; tells stale frames from live ones.
    pub(crate) epoch: u64,
    /// Sequence of the first frame.
    pub(crate) first: Sequence,
    pub(crate) segment_bytes: u64,
    /// What its frames must carry.
    pub(crate) salt: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.first.get().to_be_bytes());
        out.extend_from_slice(&self.segment_bytes.to_be_bytes());
        out.extend_from_slice(&self.salt.to_be_bytes());
        out.resize(SEGMENT_HEADER_BYTES - CRC_BYTES, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        let mut header = [0; SEGMENT_HEADER_BYTES];
        header.copy_from_slice(&out);
        header
    }

    /// The header, if these bytes are one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, rest) = bytes.split_at_checked(SEGMENT_HEADER_BYTES - CRC_BYTES)?;
        if crc32c::crc32c(covered) != Reader::new(rest).u32()? {
            return None;
        }
        let mut reader = Reader::new(covered);
        let known = reader.array::<4>()? == *SEGMENT_MAGIC && reader.u8()? == VERSION;
        reader.take(3)?;
        let (epoch, first) = (reader.u64()?, Sequence::new(reader.u64()?));
        let (segment_bytes, salt) = (reader.u64()?, reader.u64()?);
        known.then_some(Self {
            epoch,
            first,
            segment_bytes,
            salt,
        })
    }
}

/// Where the note about the next segment stands: a sector of its own behind the header.
pub(crate) const SUCCESSOR_START: u64 = 512;
const SUCCESSOR_MAGIC: &[u8; 4] = b"HLJN";
pub(crate) const SUCCESSOR_BYTES: usize = 24;

/// What a segment says about the one after it: `magic, epoch u64, next epoch u64, CRC32C`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Successor {
    /// The epoch of the segment that holds the note; an older one is stale.
    pub(crate) epoch: u64,
    /// The epoch that was begun after it.
    pub(crate) next: u64,
}

impl Successor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SUCCESSOR_BYTES);
        out.extend_from_slice(SUCCESSOR_MAGIC);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.next.to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// The note, if these bytes are one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, rest) = bytes.split_at_checked(SUCCESSOR_BYTES - CRC_BYTES)?;
        if crc32c::crc32c(covered) != Reader::new(rest).u32()? {
            return None;
        }
        let mut reader = Reader::new(covered);
        let known = reader.array::<4>()? == *SUCCESSOR_MAGIC;
        let (epoch, next) = (reader.u64()?, reader.u64()?);
        known.then_some(Self { epoch, next })
    }
}

/// Start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) epoch: u64,
    pub(crate) salt: u64,
    pub(crate) sequence: Sequence,
    /// The last frame of this run of the process that was durable when this one was written.
    pub(crate) synced: Option<Sequence>,
    /// Offset of the first record.
    pub(crate) base: Offset,
    /// Records.
    pub(crate) count: u32,
    pub(crate) previous_crc: u32,
    pub(crate) body_bytes: u32,
}

/// Bytes of a whole frame.
pub(crate) fn frame_bytes(body_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES + body_bytes + CRC_BYTES).next_multiple_of(ALIGNMENT) as u64
}

/// Fills in the header's place at the start of the frame, which is all of `out` from `start` on, appends CRC and
/// padding; returns the CRC.
pub(crate) fn seal(header: &FrameHeader, out: &mut Vec<u8>, start: usize) -> u32 {
    let mut head = Vec::with_capacity(FRAME_HEADER_BYTES);
    head.extend_from_slice(FRAME_MAGIC);
    head.extend_from_slice(&[VERSION, 0, 0, 0]);
    head.extend_from_slice(&header.epoch.to_be_bytes());
    head.extend_from_slice(&header.salt.to_be_bytes());
    head.extend_from_slice(&header.sequence.get().to_be_bytes());
    let synced = header.synced.map_or(0, |sequence| sequence.next().get());
    head.extend_from_slice(&synced.to_be_bytes());
    head.extend_from_slice(&header.base.get().to_be_bytes());
    head.extend_from_slice(&header.count.to_be_bytes());
    head.extend_from_slice(&header.previous_crc.to_be_bytes());
    head.extend_from_slice(&header.body_bytes.to_be_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_be_bytes());
    if let Some(place) = out.get_mut(start..start + FRAME_HEADER_BYTES) {
        place.copy_from_slice(&head);
    }
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
    out.resize(start + (out.len() - start).next_multiple_of(ALIGNMENT), 0);
    crc
}

impl FrameHeader {
    /// The header at the start of `bytes`, if its own checksum holds.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(FRAME_MAGIC) {
            return None;
        }
        let (covered, rest) = bytes.split_at_checked(FRAME_HEADER_BYTES - CRC_BYTES)?;
        if crc32c::crc32c(covered) != Reader::new(rest).u32()? {
            return None;
        }
        let mut reader = Reader::new(covered);
        reader.take(4)?;
        let version = reader.u8()?;
        reader.take(3)?;
        let (epoch, salt, sequence) = (reader.u64()?, reader.u64()?, Sequence::new(reader.u64()?));
        let synced = reader.u64()?.checked_sub(1).map(Sequence::new);
        let (base, count) = (Offset::new(reader.u64()?), reader.u32()?);
        let (previous_crc, body_bytes) = (reader.u32()?, reader.u32()?);
        let header = Self {
            epoch,
            salt,
            sequence,
            synced,
            base,
            count,
            previous_crc,
            body_bytes,
        };
        (version == VERSION).then_some(header)
    }

    /// The body and CRC of the frame at the start of `bytes`, if its checksum holds.
    pub(crate) fn body<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], u32)> {
        let covered = FRAME_HEADER_BYTES + usize::try_from(self.body_bytes).ok()?;
        let (frame, rest) = bytes.split_at_checked(covered)?;
        let crc = Reader::new(rest).u32()?;
        (crc32c::crc32c(frame) == crc).then_some((frame.get(FRAME_HEADER_BYTES..)?, crc))
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod reseal;
