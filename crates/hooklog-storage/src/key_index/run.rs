//! A run: an immutable file of keys, sorted by hash; looked up in place, nothing of it is in memory.
//!
//! **Invariant:** every byte that an answer rests on is covered by a checksum that was compared.
//! **Next:** `run_reader.rs`, which reads a run from its start to its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::directory::io_error;
use crate::key_index::entry::{Floor, KeyEntry, KeyHash};
use crate::key_index::error::{KeyIndexError, damaged};
use crate::key_index::layout::{BLOCK_BYTES, Block, Geometry, LINE_BYTES, Line, RunHeader};
use crate::key_index::manifest::ListedRun;
use crate::key_index::merge::RunSize;
use crate::key_index::run_writer::run_path;
use crate::offset::Offset;

/// A run that is open for lookups.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    file: File,
    header: RunHeader,
    /// Entries at or above this offset are of events that the log lost: they do not count.
    end: Offset,
}

impl Run {
    /// Opens the run with this number and checks its header and its length.
    pub(crate) fn open(directory: &Path, number: u64, end: Offset) -> Result<Self, KeyIndexError> {
        let path = run_path(directory, number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(&path, 0, "the file is missing"));
            }
            Err(error) => return Err(io_error("open", &path)(error).into()),
        };
        let mut bytes = [0; BLOCK_BYTES];
        read_at(&file, &path, &mut bytes, 0)?;
        let header = RunHeader::decode(&bytes)
            .ok_or_else(|| damaged(&path, 0, "its header does not match its checksum"))?;
        if header.number != number {
            return Err(damaged(&path, 0, "it is another run under this name"));
        }
        let found = file.metadata().map_err(io_error("look at", &path))?.len();
        if found != header.file_bytes() {
            let position = found.min(header.file_bytes());
            return Err(damaged(&path, position, "its length is not the header's"));
        }
        Ok(Self {
            path,
            file,
            header,
            end,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn header(&self) -> &RunHeader {
        &self.header
    }

    /// What the list of runs says of it.
    pub(crate) const fn listed(&self) -> ListedRun {
        ListedRun {
            number: self.header.number,
            end: self.end,
        }
    }

    pub(crate) const fn size(&self) -> RunSize {
        RunSize {
            level: self.header.level,
            entries: self.header.entries,
        }
    }

    /// Forgets entries at or above `end`; says whether there may be any.
    pub(crate) fn cut(&mut self, end: Offset) -> bool {
        let cuts = end < self.end && self.header.span.highest >= end;
        if cuts {
            self.end = end;
        }
        cuts
    }

    /// Whether no entry counts.
    pub(crate) fn is_dead(&self, floor: Floor) -> bool {
        self.header.span.lowest >= self.end || self.header.span.is_below(floor)
    }

    /// Whether this entry of the run counts.
    pub(crate) fn counts(&self, entry: &KeyEntry, floor: Floor) -> bool {
        entry.id.offset() < self.end && floor.keeps(&entry.id)
    }

    /// The entry with this hash, whether it counts or not.
    pub(crate) fn get(&self, hash: &KeyHash) -> Result<Option<KeyEntry>, KeyIndexError> {
        let geometry = self.header.geometry;
        let mut bytes = [0; LINE_BYTES];
        let number = hash.slot(geometry.lines);
        if !self.line(number, &mut bytes)?.may_hold(hash) {
            return Ok(None);
        }
        let mut bytes = [0; BLOCK_BYTES];
        let home = hash.slot(geometry.homes);
        for number in home..self.header.blocks {
            self.read(&mut bytes, geometry.block_position(number))?;
            let block = self.check_block(number, &bytes)?;
            let found = block.get(hash);
            if found.is_some() || !block.may_spill(hash) {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Reads and checks a filter line.
    pub(crate) fn line<'a>(
        &self,
        number: u32,
        bytes: &'a mut [u8; LINE_BYTES],
    ) -> Result<Line<'a>, KeyIndexError> {
        let position = Geometry::line_position(number);
        self.read(bytes, position)?;
        Line::check(self.header.number, number, bytes).ok_or_else(|| {
            let reason = "a line of its filter does not match its checksum";
            damaged(&self.path, position, reason)
        })
    }

    pub(crate) fn check_block<'a>(
        &self,
        number: u32,
        bytes: &'a [u8],
    ) -> Result<Block<'a>, KeyIndexError> {
        Block::check(self.header.number, number, bytes).ok_or_else(|| {
            let position = self.header.geometry.block_position(number);
            damaged(&self.path, position, "a block does not match its checksum")
        })
    }

    pub(crate) fn read(&self, bytes: &mut [u8], position: u64) -> Result<(), KeyIndexError> {
        read_at(&self.file, &self.path, bytes, position)
    }
}

fn read_at(file: &File, path: &Path, bytes: &mut [u8], position: u64) -> Result<(), KeyIndexError> {
    file.read_exact_at(bytes, position)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(path, position, "the file ends early"),
            _ => io_error("read", path)(error).into(),
        })
}
