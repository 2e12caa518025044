//! Reading a backup: every byte of it is checked on the way.
//!
//! **Invariant:** rows are handed out only from blocks whose checksum holds, and the end is reported
//! only if nothing is missing before it and nothing follows it. Memory is bounded by a block.
//! **Next:** `restore.rs`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::codec;
use crate::state::State;
use crate::transfer::format::{
    self, BLOCK_HEADER_BYTES, BackupPoint, BlockHeader, Done, HEADER_BYTES, Header, Tag,
};
use crate::transfer::rows::Row;
use crate::transfer::{Stage, Transferred};

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is damaged, cut, or none at all.
    #[error("{path} is damaged at byte {position}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged part begins.
        position: u64,
        /// What is wrong.
        reason: String,
    },
}

/// A backup that is being read.
#[derive(Debug)]
pub(crate) struct Parser {
    path: PathBuf,
    input: BufReader<File>,
    pub(crate) header: Header,
    pub(crate) state: State,
    /// Where the next block begins.
    pub(crate) position: u64,
    crc: u32,
    rows: u64,
}

impl Parser {
    /// Reads the header and the state.
    pub(crate) fn open(path: &Path) -> Result<Self, BackupFileError> {
        let io = |source| BackupFileError::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut input = BufReader::with_capacity(256 << 10, File::open(path).map_err(io)?);
        let mut bytes = Vec::new();
        let wanted = HEADER_BYTES as u64;
        Read::by_ref(&mut input)
            .take(wanted)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        let header = Header::decode(&bytes).map_err(|reason| damaged(path, 0, reason))?;
        let mut parser = Self {
            path: path.to_path_buf(),
            input,
            header,
            state: State::default(),
            position: wanted,
            crc: crc32c::crc32c(&bytes),
            rows: 0,
        };
        let (tag, body) = parser.block()?;
        let state = codec::decode(&body).ok().filter(|_| tag == Tag::State);
        parser.state =
            state.ok_or_else(|| damaged(path, wanted, "it does not say where it ends"))?;
        Ok(parser)
    }

    /// Rows of the next block; `None` when the end is reached and all is well.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Row>>, BackupFileError> {
        let (start, before) = (self.position, self.crc);
        let (tag, body) = self.block()?;
        let damaged = |reason| damaged(&self.path, start, reason);
        match tag {
            Tag::Rows => {
                let rows = format::parse_rows(&body).map_err(damaged)?;
                self.rows += rows.len() as u64;
                Ok(Some(rows))
            }
            Tag::State => Err(damaged("a second state")),
            Tag::Done => {
                let expected = Done {
                    rows: self.rows,
                    bytes: start,
                    crc: before,
                };
                if Done::decode(&body) != Some(expected) {
                    return Err(damaged("blocks before the end are missing or changed"));
                }
                let mut more = [0];
                match self.input.read(&mut more) {
                    Ok(0) => Ok(None),
                    Ok(_) => Err(damaged("something follows the end")),
                    Err(source) => Err(self.io(source)),
                }
            }
        }
    }

    /// The next block, checked.
    fn block(&mut self) -> Result<(Tag, Bytes), BackupFileError> {
        let mut head = [0; BLOCK_HEADER_BYTES];
        self.fill(&mut head)?;
        let header = BlockHeader::decode(&head)
            .map_err(|reason| damaged(&self.path, self.position, reason))?;
        let mut body = vec![0; header.bytes];
        self.fill(&mut body)?;
        if crc32c::crc32c(&body) != header.crc {
            let reason = "a block's checksum does not match";
            return Err(damaged(&self.path, self.position, reason));
        }
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, &head), &body);
        self.position += (BLOCK_HEADER_BYTES + body.len()) as u64;
        Ok((header.tag, body.into()))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BackupFileError> {
        match self.input.read_exact(buffer) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let reason = "the file ends before its end is marked";
                Err(damaged(&self.path, self.position, reason))
            }
            Err(source) => Err(self.io(source)),
        }
    }

    fn io(&self, source: io::Error) -> BackupFileError {
        BackupFileError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

fn damaged(path: &Path, position: u64, reason: impl Into<String>) -> BackupFileError {
    BackupFileError::Damaged {
        path: path.to_path_buf(),
        position,
        reason: reason.into(),
    }
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// Where it begins; `None` for a full backup.
    pub since: Option<BackupPoint>,
    /// Where it ends.
    pub end: BackupPoint,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Where a backup ends, from its first bytes.
pub fn backup_end(path: &Path) -> Result<BackupPoint, BackupFileError> {
    Ok(BackupPoint::end(&Parser::open(path)?.state))
}

/// Reads a whole backup and checks every byte of it.
pub fn inspect_backup(
    path: &Path,
    mut progress: impl FnMut(Transferred),
) -> Result<BackupSummary, BackupFileError> {
    let mut parser = Parser::open(path)?;
    let total = path.metadata().map_err(|error| parser.io(error))?.len();
    while parser.next()?.is_some() {
        progress(Transferred {
            stage: Stage::Verify,
            bytes: parser.position,
            total,
        });
    }
    Ok(BackupSummary {
        since: parser.header.since,
        end: BackupPoint::end(&parser.state),
        rows: parser.rows,
        bytes: parser.position,
    })
}
