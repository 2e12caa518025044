//! The bytes of a backup; only this file knows them. Big endian.
//!
//! ```text
//! header                          block
//!  0  magic "HLBK"          4      0  "STAT", "ROWS" or "DONE"  4
//!  4  version 1             1      4  body bytes                4
//!  5  kind 0 full|1 later   1      8  CRC32C of the body        4
//!  6  zeros                 2     12  CRC32C of 0..12           4
//!  8  events from           8     16  body
//! 16  attempts from         8
//! 24  CRC of the batch of events before it      4
//! 28  CRC of the batch of attempts before it    4
//! 32  zeros                28
//! 60  CRC32C of 0..60       4
//!
//! file   header · STAT · ROWS … · DONE, and nothing behind it
//! STAT   the applier's state (codec)
//! ROWS   name of the family: length u8, text · per row: key bytes u32, value bytes u32, key, value
//! DONE   rows u64 · bytes before this block u64 · CRC32C of all bytes before this block
//! ```
//! Rows of `registry`, `cursor` and `retry` are all there; of the families of batches, those from
//! `events from` and `attempts from` on (0 in a full backup) up to the ends in the state.
//!
//! **Invariant:** a file that was cut, or of which a bit changed, is told by the place.
//! **Next:** `backup.rs` writes it, `parse.rs` reads it.

use std::fmt;
use std::str::FromStr;

use crate::bytes::Reader;
use crate::keys::Family;
use crate::offset::{AttemptSeq, Offset};
use crate::state::State;
use crate::transfer::rows::Row;

const MAGIC: &[u8; 4] = b"HLBK";
const VERSION: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const BLOCK_HEADER_BYTES: usize = 16;
/// Most bytes of a block's body: a page of rows and the largest row (values are bounded by the codec
/// at 4 MiB), so what a damaged length could make us allocate at most.
pub(crate) const BLOCK_BYTES_MAX: usize = 8 << 20;

/// A place in a log where a backup ends and the next, incremental one goes on.
///
/// As text: `offset-crc-attempt-crc`, the form that `GET /api/v1/operator/backup?since=` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupPoint {
    /// One past the last event.
    pub events: Offset,
    /// CRC of the batch before it.
    pub(crate) events_crc: u32,
    /// One past the last attempt.
    pub attempts: AttemptSeq,
    /// CRC of the batch before it.
    pub(crate) attempts_crc: u32,
}

impl BackupPoint {
    /// Where a log in this state ends.
    pub(crate) fn end(state: &State) -> Self {
        Self {
            events: state.events.end,
            events_crc: state.events.crc,
            attempts: state.attempts.end,
            attempts_crc: state.attempts.crc,
        }
    }
}

impl fmt::Display for BackupPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            events_crc,
            attempts,
            attempts_crc,
        } = self;
        write!(f, "{events}-{events_crc:08x}-{attempts}-{attempts_crc:08x}")
    }
}

/// A text is no [`BackupPoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a point of a backup must be offset-crc-attempt-crc, as 5120-0a1b2c3d-77-00000000")]
pub struct BackupPointError;

impl FromStr for BackupPoint {
    type Err = BackupPointError;

    fn from_str(text: &str) -> Result<Self, BackupPointError> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(BackupPointError);
        let number = |text: &str| text.parse().map_err(|_| BackupPointError);
        let crc = |text: &str| u32::from_str_radix(text, 16).map_err(|_| BackupPointError);
        let point = Self {
            events: Offset::new(number(part()?)?),
            events_crc: crc(part()?)?,
            attempts: AttemptSeq::new(number(part()?)?),
            attempts_crc: crc(part()?)?,
        };
        match parts.next() {
            None => Ok(point),
            Some(_) => Err(BackupPointError),
        }
    }
}

/// What a backup says first: where it begins, `None` for a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) since: Option<BackupPoint>,
}

impl Header {
    pub(crate) fn encode(self) -> Vec<u8> {
        let since = self.since.unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, u8::from(self.since.is_some()), 0, 0]);
        out.extend_from_slice(&since.events.get().to_be_bytes());
        out.extend_from_slice(&since.attempts.get().to_be_bytes());
        out.extend_from_slice(&since.events_crc.to_be_bytes());
        out.extend_from_slice(&since.attempts_crc.to_be_bytes());
        out.resize(HEADER_BYTES - 4, 0);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// The header in these bytes, or why they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (covered, crc) = bytes
            .split_at_checked(HEADER_BYTES - 4)
            .ok_or("it is cut")?;
        let mut reader = Reader::new(covered);
        if reader.array::<4>().as_ref() != Some(MAGIC) {
            return Err("it is no backup of hooklog");
        }
        if reader.u8() != Some(VERSION) {
            return Err("it was made by another version of hooklog");
        }
        if Reader::new(crc).u32() != Some(crc32c::crc32c(covered)) {
            return Err("the header's checksum does not match");
        }
        let decoded = (|| {
            let kind = reader.u8()?;
            reader.take(2)?;
            let (events, attempts) = (reader.u64()?, reader.u64()?);
            let point = BackupPoint {
                events: Offset::new(events),
                attempts: AttemptSeq::new(attempts),
                events_crc: reader.u32()?,
                attempts_crc: reader.u32()?,
            };
            match kind {
                0 => Some(Self { since: None }),
                1 => Some(Self { since: Some(point) }),
                _ => None,
            }
        })();
        decoded.ok_or("its kind is unknown")
    }
}

/// Kinds of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    State,
    Rows,
    Done,
}

impl Tag {
    const ALL: [(Self, &'static [u8; 4]); 3] = [
        (Self::State, b"STAT"),
        (Self::Rows, b"ROWS"),
        (Self::Done, b"DONE"),
    ];
}

/// The bytes of a block.
pub(crate) fn block(tag: Tag, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK_HEADER_BYTES + body.len());
    for (_, name) in Tag::ALL.iter().filter(|(known, _)| *known == tag) {
        out.extend_from_slice(*name);
    }
    // Pages and values are bounded far below 4 GiB.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(body).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// What stands before a block's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHeader {
    pub(crate) tag: Tag,
    pub(crate) bytes: usize,
    pub(crate) crc: u32,
}

impl BlockHeader {
    pub(crate) fn decode(bytes: &[u8; BLOCK_HEADER_BYTES]) -> Result<Self, &'static str> {
        let mut reader = Reader::new(bytes);
        let fields = (|| {
            let fields = (reader.array::<4>()?, reader.length()?, reader.u32()?);
            let covered = bytes.get(..12)?;
            (reader.u32()? == crc32c::crc32c(covered)).then_some(fields)
        })();
        let (name, bytes, crc) = fields.ok_or("a block's header has a wrong checksum")?;
        let tag = Tag::ALL.iter().find(|(_, known)| **known == name);
        let (tag, _) = *tag.ok_or("a block is of an unknown kind")?;
        if bytes > BLOCK_BYTES_MAX {
            return Err("a block is larger than any that is written");
        }
        Ok(Self { tag, bytes, crc })
    }
}

/// The body of a block with rows of one family.
pub(crate) fn rows(family: Family, rows: &[Row]) -> Vec<u8> {
    let name = name(family).as_bytes();
    let mut out = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
    out.extend_from_slice(name);
    for row in rows {
        for part in [row.key.as_slice(), &row.value] {
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        out.extend_from_slice(&row.key);
        out.extend_from_slice(&row.value);
    }
    out
}

/// The rows in a body.
pub(crate) fn parse_rows(body: &bytes::Bytes) -> Result<Vec<Row>, &'static str> {
    const CUT: &str = "a row is cut";
    let mut reader = Reader::new(body);
    let length = reader.u8().map(usize::from).ok_or(CUT)?;
    let name = reader.take(length).ok_or(CUT)?;
    let family = Family::ALL
        .into_iter()
        .find(|(_, known)| known.as_bytes() == name);
    let (family, _) = family.ok_or("rows of a family that this version does not know")?;
    let mut rows = Vec::new();
    while !reader.is_empty() {
        let (key, value) = (reader.length().ok_or(CUT)?, reader.length().ok_or(CUT)?);
        let key = reader.take(key).ok_or(CUT)?.to_vec();
        let value = body.slice_ref(reader.take(value).ok_or(CUT)?);
        rows.push(Row { family, key, value });
    }
    Ok(rows)
}

fn name(family: Family) -> &'static str {
    let found = Family::ALL.iter().find(|(known, _)| *known == family);
    found.map_or("", |(_, name)| name)
}

/// The end of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
}

impl Done {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.rows.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.crc.to_be_bytes());
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let done = Self {
            rows: reader.u64()?,
            bytes: reader.u64()?,
            crc: reader.u32()?,
        };
        reader.is_empty().then_some(done)
    }
}

#[cfg(test)]
mod tests;
