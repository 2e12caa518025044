//! The record batch: about 64 KiB of events or attempts as one value in sled. Only this file knows
//! its bytes. All integers are big endian.
//!
//! ```text
//!  0  magic "HLB1"          4     24  first timestamp ms   8
//!  4  version 1             1     32  last timestamp ms    8
//!  5  codec 1 (bincode)     1     40  CRC of the batch before  4
//!  6  compression 0|1 (lz4) 1     44  body bytes as stored     4
//!  7  kind                  1     48  CRC32C of bytes 0..48    4
//!  8  base position         8     52  body
//! 16  count                 4      …  CRC32C of all before     4
//! 20  body bytes raw        4
//! ```
//! Kinds: 0 events, 1 attempts, 2 lost: `count` positions from `base` on whose items a repair could
//! not save. It has no body and takes their place in the chain.
//!
//! **Invariant:** a batch carries the CRC of the batch before it, so a batch that the engine lost
//! silently is noticed by its neighbour.
//! **Next:** `keys.rs`, under which key it is stored.

use bytes::Bytes;

use crate::bytes::Reader;
use crate::config::Compression;
use crate::time::Timestamp;

pub(crate) const MAGIC: &[u8; 4] = b"HLB1";
const VERSION: u8 = 1;
const CODEC_BINCODE: u8 = 1;
const HEADER_BYTES: usize = 52;
const CRC_BYTES: usize = 4;
/// Most raw bytes of a body: one event at the payload limit with its metadata, and a margin; what a
/// damaged length field could make us allocate at most.
const RAW_BYTES_MAX: usize = 32 << 20;

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Events = 0,
    Attempts = 1,
    /// Items that are gone; see `transfer/repair.rs`.
    Lost = 2,
}

/// What a batch says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Position of the first item.
    pub(crate) base: u64,
    /// Items.
    pub(crate) count: u32,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// CRC of the batch before, 0 for the first.
    pub(crate) previous_crc: u32,
}

/// A decoded batch.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) header: Header,
    /// The items, decompressed.
    pub(crate) body: Bytes,
    /// Its own CRC, for the chain.
    pub(crate) crc: u32,
    /// Bytes that it takes as stored.
    pub(crate) stored_bytes: usize,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the batch is shorter than its header says")]
    Short,
    #[error("the batch has a wrong magic, version, codec or kind")]
    Unknown,
    #[error("the batch's checksum does not match")]
    Checksum,
    #[error("the batch does not decompress")]
    Compression,
}

/// The bytes of a batch, and its CRC.
pub(crate) fn encode(header: &Header, body: &[u8], compression: Compression) -> (Vec<u8>, u32) {
    let compressed = match compression {
        Compression::None => None,
        // Kept only when it is smaller; random payloads are stored as they are.
        Compression::Lz4 => Some(lz4_flex::block::compress(body)).filter(|c| c.len() < body.len()),
    };
    let stored = compressed.as_deref().unwrap_or(body);
    let mut out = Vec::with_capacity(HEADER_BYTES + stored.len() + CRC_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[
        VERSION,
        CODEC_BINCODE,
        u8::from(compressed.is_some()),
        header.kind as u8,
    ]);
    out.extend_from_slice(&header.base.to_be_bytes());
    out.extend_from_slice(&header.count.to_be_bytes());
    out.extend_from_slice(&length(body).to_be_bytes());
    out.extend_from_slice(&header.first.as_millis().to_be_bytes());
    out.extend_from_slice(&header.last.as_millis().to_be_bytes());
    out.extend_from_slice(&header.previous_crc.to_be_bytes());
    out.extend_from_slice(&length(stored).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    out.extend_from_slice(stored);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    (out, crc)
}

/// How many bytes the batch that starts with `head` has in all; `head` is its first chunk.
pub(crate) fn total_bytes(head: &[u8]) -> Result<usize, FrameError> {
    let mut reader = Reader::new(head);
    let checked = reader.take(48).ok_or(FrameError::Short)?;
    if crc32c::crc32c(checked) != reader.u32().ok_or(FrameError::Short)? {
        return Err(FrameError::Checksum);
    }
    let mut length = Reader::new(checked);
    length.take(44).ok_or(FrameError::Short)?;
    Ok(HEADER_BYTES + length.length().ok_or(FrameError::Short)? + CRC_BYTES)
}

/// What the batch that starts with `head` says about itself, and its bytes in all.
pub(crate) fn header(head: &[u8]) -> Result<(Header, usize), FrameError> {
    let total = total_bytes(head)?;
    let fields = fields(head).ok_or(FrameError::Unknown)?;
    Ok((fields.header, total))
}

/// The CRC of the batch before the one that starts with `head`, if its header is intact.
pub(crate) fn previous_crc(head: &[u8]) -> Option<u32> {
    total_bytes(head).ok()?;
    fields(head).map(|fields| fields.header.previous_crc)
}

/// The batch of exactly these bytes, checked.
pub(crate) fn decode(bytes: &Bytes) -> Result<Batch, FrameError> {
    if bytes.len() != total_bytes(bytes)? {
        return Err(FrameError::Short);
    }
    let (covered, crc) = bytes
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(FrameError::Short)?;
    let crc = u32::from_be_bytes(*crc);
    if crc32c::crc32c(covered) != crc {
        return Err(FrameError::Checksum);
    }
    let fields = fields(covered).ok_or(FrameError::Unknown)?;
    let stored = bytes.slice(HEADER_BYTES..bytes.len() - CRC_BYTES);
    let body = if fields.compressed {
        if fields.raw_bytes > RAW_BYTES_MAX {
            return Err(FrameError::Compression);
        }
        let body = lz4_flex::block::decompress(&stored, fields.raw_bytes)
            .map_err(|_| FrameError::Compression)?;
        Bytes::from(body)
    } else {
        stored
    };
    if body.len() != fields.raw_bytes {
        return Err(FrameError::Compression);
    }
    Ok(Batch {
        header: fields.header,
        body,
        crc,
        stored_bytes: bytes.len(),
    })
}

struct Fields {
    header: Header,
    compressed: bool,
    raw_bytes: usize,
}

fn fields(bytes: &[u8]) -> Option<Fields> {
    let mut reader = Reader::new(bytes);
    let known =
        reader.array::<4>()? == *MAGIC && reader.u8()? == VERSION && reader.u8()? == CODEC_BINCODE;
    let compression = reader.u8()?;
    let kind = match reader.u8()? {
        0 => Kind::Events,
        1 => Kind::Attempts,
        2 => Kind::Lost,
        _ => return None,
    };
    let (base, count, raw_bytes) = (reader.u64()?, reader.u32()?, reader.length()?);
    let first = Timestamp::from_millis(reader.i64()?);
    let last = Timestamp::from_millis(reader.i64()?);
    let previous_crc = reader.u32()?;
    let header = Header {
        kind,
        base,
        count,
        first,
        last,
        previous_crc,
    };
    (known && compression <= 1).then_some(Fields {
        header,
        compressed: compression == 1,
        raw_bytes,
    })
}

/// Bodies are bounded far below 4 GiB by the limits of a commit.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod reseal;
#[cfg(test)]
mod tests;
