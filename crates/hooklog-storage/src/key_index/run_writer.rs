//! Writes a run from entries that come in the order of their hashes.
//!
//! **Invariant:** a run has its name only when all of it is durable; memory does not grow with it.
//! **Next:** `run.rs`, which reads it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::directory::{IoError, io_error, sync_directory};
use crate::key_index::entry::{KeyEntry, Span};
use crate::key_index::layout::{BlockBuilder, Geometry, LineBuilder, RunHeader};

/// Bytes are handed to the system in pieces of this size.
const WRITE_BYTES: usize = 64 << 10;
/// How much may be dirty before it is synced: a merged run is hundreds of MiB, and one sync of all
/// of it would stand in the way of the journal's for seconds.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;

/// The name of a run.
pub(crate) fn run_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("run-{number}.keys"))
}

/// A run that is being written.
#[derive(Debug)]
pub(crate) struct RunWriter {
    directory: PathBuf,
    /// The name until it is complete.
    draft: PathBuf,
    file: File,
    number: u64,
    level: u8,
    geometry: Geometry,
    entries: u64,
    span: Option<Span>,
    line: LineBuilder,
    line_number: u32,
    lines: Region,
    block: BlockBuilder,
    block_number: u32,
    blocks: Region,
    unsynced_bytes: usize,
    /// Whether it has its name.
    complete: bool,
}

impl Drop for RunWriter {
    /// What was not completed is of no use. If it cannot be removed now, the next open does it.
    fn drop(&mut self) {
        if !self.complete {
            drop(fs::remove_file(&self.draft));
        }
    }
}

/// Bytes on their way to one part of the file.
#[derive(Debug)]
struct Region {
    position: u64,
    buffer: Vec<u8>,
}

impl Region {
    fn new(position: u64) -> Self {
        Self {
            position,
            buffer: Vec::with_capacity(WRITE_BYTES),
        }
    }

    /// Writes what is buffered; says how much it was.
    fn flush(&mut self, file: &File) -> std::io::Result<usize> {
        file.write_all_at(&self.buffer, self.position)?;
        let bytes = self.buffer.len();
        self.position += bytes as u64;
        self.buffer.clear();
        Ok(bytes)
    }
}

impl RunWriter {
    /// Starts a run of at most `entries_max` entries.
    pub(crate) fn create(
        directory: &Path,
        number: u64,
        level: u8,
        entries_max: u64,
    ) -> Result<Self, IoError> {
        let draft = run_path(directory, number).with_extension("keys.new");
        let file = File::create(&draft).map_err(io_error("create", &draft))?;
        let geometry = Geometry::for_entries(entries_max);
        Ok(Self {
            directory: directory.to_path_buf(),
            draft,
            file,
            number,
            level,
            geometry,
            entries: 0,
            span: None,
            line: LineBuilder::new(),
            line_number: 0,
            lines: Region::new(Geometry::line_position(0)),
            block: BlockBuilder::default(),
            block_number: 0,
            blocks: Region::new(geometry.block_position(0)),
            unsynced_bytes: 0,
            complete: false,
        })
    }

    /// Appends an entry whose hash is above all before it.
    pub(crate) fn push(&mut self, entry: &KeyEntry) -> Result<(), IoError> {
        let line = entry.hash.slot(self.geometry.lines);
        while self.line_number < line {
            self.finish_line()?;
        }
        self.line.insert(&entry.hash);
        let home = entry.hash.slot(self.geometry.homes);
        while self.block_number < home || self.block.is_full() {
            self.finish_block()?;
        }
        self.block.push(entry);
        self.entries += 1;
        match &mut self.span {
            Some(span) => span.include(&entry.id),
            None => self.span = Some(Span::of(&entry.id)),
        }
        Ok(())
    }

    /// Makes the run durable under its name; `None` if it has no entries.
    pub(crate) fn finish(mut self) -> Result<Option<RunHeader>, IoError> {
        let Some(span) = self.span else {
            return Ok(None);
        };
        while self.line_number < self.geometry.lines {
            self.finish_line()?;
        }
        // One block more if entries of the last home were spilled.
        while self.block_number < self.geometry.homes || !self.block.is_empty() {
            self.finish_block()?;
        }
        let header = RunHeader {
            number: self.number,
            level: self.level,
            entries: self.entries,
            geometry: self.geometry,
            blocks: self.block_number,
            span,
        };
        let path = run_path(&self.directory, self.number);
        self.lines
            .flush(&self.file)
            .and_then(|_| self.blocks.flush(&self.file))
            .and_then(|_| self.file.write_all_at(&header.encode(), 0))
            .and_then(|()| self.file.sync_all())
            .map_err(io_error("write", &self.draft))?;
        fs::rename(&self.draft, &path).map_err(io_error("rename", &self.draft))?;
        self.complete = true;
        sync_directory(&self.directory)?;
        Ok(Some(header))
    }

    fn finish_line(&mut self) -> Result<(), IoError> {
        let (number, out) = (self.line_number, &mut self.lines.buffer);
        self.line.finish(self.number, number, out);
        self.line_number += 1;
        if self.lines.buffer.len() >= WRITE_BYTES {
            let written = self.lines.flush(&self.file);
            self.wrote(written)?;
        }
        Ok(())
    }

    fn finish_block(&mut self) -> Result<(), IoError> {
        let (number, out) = (self.block_number, &mut self.blocks.buffer);
        self.block.finish(self.number, number, out);
        self.block_number += 1;
        if self.blocks.buffer.len() >= WRITE_BYTES {
            let written = self.blocks.flush(&self.file);
            self.wrote(written)?;
        }
        Ok(())
    }

    fn wrote(&mut self, written: std::io::Result<usize>) -> Result<(), IoError> {
        self.unsynced_bytes += written.map_err(io_error("write", &self.draft))?;
        if self.unsynced_bytes >= UNSYNCED_BYTES_MAX {
            self.unsynced_bytes = 0;
            self.file
                .sync_data()
                .map_err(io_error("fsync", &self.draft))?;
        }
        Ok(())
    }
}
