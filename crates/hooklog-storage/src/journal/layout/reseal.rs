//! Journal segments for the fuzzer: any bytes, made to pass the checksums.
//!
//! **Invariant:** only compiled for tests and fuzzing. What a checksum cannot vouch for (offsets,
//! counts, bodies, some lengths) stays as it is.
//! **Next:** `../../fuzzing.rs`, which scans them.

use super::{
    ALIGNMENT, CRC_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAMES_START, SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC, SUCCESSOR_BYTES, SUCCESSOR_MAGIC, SUCCESSOR_START, SegmentHeader, VERSION,
    frame_bytes,
};
use crate::bytes::Reader;
use crate::offset::Sequence;

/// Where a frame starts in what is folded: a multiple of this behind the one before it.
const FOLDED_ALIGNMENT: usize = 8;

/// Spreads `folded` (header, note of the successor, frames, without the gaps that real segments have
/// between them) over a segment, as small inputs are what a fuzzer is good at.
pub(crate) fn unfold(folded: &[u8]) -> Vec<u8> {
    let mut image = Vec::with_capacity(folded.len() + 4096);
    let (header, rest) = folded.split_at(folded.len().min(SEGMENT_HEADER_BYTES));
    let (note, frames) = rest.split_at(rest.len().min(SUCCESSOR_BYTES));
    for (part, end) in [(header, SUCCESSOR_START), (note, FRAMES_START)] {
        image.extend_from_slice(part);
        image.resize(usize::try_from(end).unwrap_or(usize::MAX), 0);
    }
    let mut frames = frames;
    while !frames.is_empty() {
        let body = frames.get(56..).and_then(|rest| Reader::new(rest).length());
        let length = (FRAME_HEADER_BYTES + CRC_BYTES)
            .saturating_add(body.unwrap_or(0))
            .next_multiple_of(FOLDED_ALIGNMENT);
        let (frame, rest) = frames.split_at(length.min(frames.len()));
        image.extend_from_slice(frame);
        if !rest.is_empty() {
            image.resize(image.len().next_multiple_of(ALIGNMENT), 0);
        }
        frames = rest;
    }
    image
}

/// Makes magics, versions, checksums and identities of a would-be segment hold, frame after frame,
/// so that a fuzzer gets past them to what lies behind.
pub(crate) fn reseal(image: &mut [u8]) {
    let Some(header) = reseal_header(image) else {
        return;
    };
    let (mut at, mut chain) = (usize::try_from(FRAMES_START).unwrap_or(usize::MAX), 0);
    let mut sequence = header.first;
    while let Some((length, crc)) = image
        .get_mut(at..)
        .and_then(|rest| reseal_frame(rest, &header, sequence, chain))
    {
        (at, chain, sequence) = (at + length, crc, sequence.next());
    }
}

fn reseal_header(image: &mut [u8]) -> Option<SegmentHeader> {
    let segment_bytes = image.len() as u64;
    put(image, 0, SEGMENT_MAGIC)?;
    put(image, 4, &[VERSION])?;
    put(image, 24, &segment_bytes.to_be_bytes())?;
    stamp(image, SEGMENT_HEADER_BYTES - CRC_BYTES)?;
    let header = SegmentHeader::decode(image)?;
    let note = image.get_mut(usize::try_from(SUCCESSOR_START).ok()?..)?;
    put(note, 0, SUCCESSOR_MAGIC)?;
    put(note, 4, &header.epoch.to_be_bytes())?;
    stamp(note, SUCCESSOR_BYTES - CRC_BYTES)?;
    Some(header)
}

/// Makes the frame at the start of `rest` hold; returns its bytes and its CRC.
fn reseal_frame(
    rest: &mut [u8],
    segment: &SegmentHeader,
    sequence: Sequence,
    chain: u32,
) -> Option<(usize, u32)> {
    let room = rest.len().checked_sub(FRAME_HEADER_BYTES + CRC_BYTES)?;
    put(rest, 0, FRAME_MAGIC)?;
    put(rest, 4, &[VERSION])?;
    put(rest, 8, &segment.epoch.to_be_bytes())?;
    put(rest, 16, &segment.salt.to_be_bytes())?;
    put(rest, 24, &sequence.get().to_be_bytes())?;
    put(rest, 52, &chain.to_be_bytes())?;
    let asked = Reader::new(rest.get(56..)?).length()?;
    // A length that is too long for the segment stays so now and then: the frame reads as torn.
    let lies = asked % 16 == 15;
    let body = if lies { asked } else { asked.min(room) };
    put(rest, 56, &u32::try_from(body).ok()?.to_be_bytes())?;
    stamp(rest, FRAME_HEADER_BYTES - CRC_BYTES)?;
    let crc = stamp(rest, FRAME_HEADER_BYTES + body)?;
    Some((usize::try_from(frame_bytes(body)).ok()?, crc))
}

/// Writes a field.
fn put(bytes: &mut [u8], at: usize, field: &[u8]) -> Option<()> {
    bytes.get_mut(at..at + field.len())?.copy_from_slice(field);
    Some(())
}

/// Puts the CRC of the first `covered` bytes behind them; returns it.
fn stamp(bytes: &mut [u8], covered: usize) -> Option<u32> {
    let (covered, rest) = bytes.split_at_mut_checked(covered)?;
    let crc = crc32c::crc32c(covered);
    *rest.first_chunk_mut::<CRC_BYTES>()? = crc.to_be_bytes();
    Some(crc)
}
