//! Where the next batch goes, and how.
//!
//! What comes in bulk is gathered and written past the page cache: it is not read soon, or from memory of our
//! own, and pages for it cost more than the disk and push out what is read. It starts at a block and is padded to
//! one. What does not is written through the page cache, one batch behind the other: who is behind in a
//! quiet log reads it soon, and small commits are held up less.
//!
//! **Invariant:** no block is written in both ways, so that the kernel has nothing to reconcile.
//! **Next:** `../../blocks.rs`.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Place;
use crate::blocks::{BLOCK_BYTES, BlockFile, Blocks};
use crate::directory::{IoError, io_error, sync_directory};

/// Gathered bytes are written before they would be more: what is applied together is one write.
const GATHER_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Writer {
    /// The extent that is written, and where in it the next batch goes.
    number: u64,
    position: u64,
    open: Option<(PathBuf, BlockFile)>,
    is_dirty: bool,
    is_new: bool,
    /// The bytes before `position` that are not written yet, from a block's place on; `None` while
    /// batches are not gathered.
    gathered: Option<Blocks>,
}

impl Writer {
    pub(super) fn new(number: u64, position: u64) -> Self {
        Self {
            number,
            position,
            open: None,
            is_dirty: false,
            is_new: false,
            gathered: None,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes before the next sync are to be gathered, if they are; none is yet. The memory for them is
    /// kept for as long as they follow each other.
    pub(super) fn begin(&mut self, gathers: Option<usize>) {
        let Some(bytes) = gathers else {
            self.gathered = None;
            return;
        };
        self.position = self.position.next_multiple_of(BLOCK_BYTES as u64);
        let gathered = self.gathered.get_or_insert_default();
        // At once: a vector that grows takes up to twice as much.
        gathered.make_room(bytes.min(GATHER_BYTES_MAX));
        gathered.begin();
    }

    /// Whether a batch goes into the next extent: it does not if this one is empty.
    pub(super) fn is_full(&self, batch: usize, extent_bytes: u64) -> bool {
        self.position > 0 && self.position + batch as u64 > extent_bytes
    }

    /// Leaves the extent, which must be synced.
    pub(super) fn next_extent(&mut self) {
        (self.number, self.position, self.open) = (self.number + 1, 0, None);
    }

    /// Opens the extent that is written, which has this path, if it is not open.
    pub(super) fn open(&mut self, path: PathBuf) -> Result<(), IoError> {
        if self.open.is_some() {
            return Ok(());
        }
        let is_first = self.position == 0;
        let mut options = OpenOptions::new();
        // A file that begins anew may be what a crash left before its row was committed.
        options.create(is_first).truncate(is_first);
        let file = BlockFile::open(&path, &mut options).map_err(io_error("open", &path))?;
        self.is_new |= is_first;
        self.open = Some((path, file));
        Ok(())
    }

    /// Writes or gathers a batch behind the last one.
    pub(super) fn append(&mut self, batch: &[u8]) -> Result<Place, IoError> {
        self.is_dirty = true;
        let gathers = |gathered: &Blocks| {
            gathered.len() > 0 && gathered.len() + batch.len() > GATHER_BYTES_MAX
        };
        if self.gathered.as_ref().is_some_and(gathers) {
            self.write_gathered()?;
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.held().0.extend_from_slice(batch);
        } else if let Some((path, file)) = &self.open {
            file.file()
                .write_all_at(batch, self.position)
                .map_err(io_error("write a batch to", path))?;
        }
        let place = Place {
            extent: self.number,
            position: self.position,
            // A batch is bounded far below 4 GiB.
            bytes: u32::try_from(batch.len()).unwrap_or(u32::MAX),
        };
        self.position += batch.len() as u64;
        Ok(place)
    }

    fn write_gathered(&mut self) -> Result<(), IoError> {
        let (Some(gathered), Some((path, file))) = (&mut self.gathered, &mut self.open) else {
            return Ok(());
        };
        let from = self.position - gathered.len() as u64;
        let padding = gathered.len().next_multiple_of(BLOCK_BYTES) - gathered.len();
        let (out, _) = gathered.held();
        out.resize(out.len() + padding, 0);
        file.write_blocks(gathered.aligned(), from)
            .map_err(io_error("write batches to", path))?;
        self.position += padding as u64;
        gathered.begin();
        Ok(())
    }

    /// Makes everything durable. Never retried after an error.
    pub(super) fn sync(&mut self, directory: &Path) -> Result<(), IoError> {
        if !self.is_dirty {
            return Ok(());
        }
        self.write_gathered()?;
        if let Some((path, file)) = &self.open {
            let synced = file.file().sync_data();
            synced.map_err(io_error("fdatasync", path))?;
        }
        if self.is_new {
            sync_directory(directory)?;
        }
        (self.is_dirty, self.is_new) = (false, false);
        Ok(())
    }
}
