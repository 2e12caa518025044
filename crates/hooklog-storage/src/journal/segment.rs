//! One file of the journal, and the two ways into it.
//!
//! A frame that is synced at once is written past the page cache: the sync then finds nothing to write, and
//! no memory is filled with what nobody reads. One that is synced later is written into the page cache, which
//! is as safe as the kernel and costs no wait for the disk. Blocks are never shared by the two, so that the kernel
//! has nothing to reconcile; a block of an acked frame is never written again before the segment is recycled.
//!
//! **Invariant:** the file has its whole length in zeros or frames, durably, before a frame is written.
//! **Next:** `layout.rs`.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::blocks::{BlockFile, Blocks};
use crate::directory::{IoError, io_error};
use crate::offset::Sequence;
use crate::request::Sync;

/// Zeros are written in pieces of this size.
const ZERO_FILL_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    file: BlockFile,
    /// 0 until it is first used.
    pub(super) epoch: u64,
    /// The last frame in it.
    pub(super) last: Option<Sequence>,
}

impl Segment {
    /// A segment that is there. It may be short if the process died while it was being filled.
    pub(super) fn open(path: PathBuf, epoch: u64, bytes: u64) -> Result<Self, IoError> {
        Self::with(path, epoch, bytes, &mut OpenOptions::new())
    }

    /// A new one, filled with zeros; a fallocated one would cost metadata at each sync.
    pub(super) fn create(path: PathBuf, bytes: u64) -> Result<Self, IoError> {
        Self::with(path, 0, bytes, OpenOptions::new().create_new(true))
    }

    fn with(
        path: PathBuf,
        epoch: u64,
        bytes: u64,
        options: &mut OpenOptions,
    ) -> Result<Self, IoError> {
        let file = BlockFile::open(&path, options).map_err(io_error("open", &path))?;
        let mut segment = Self {
            path,
            file,
            epoch,
            last: None,
        };
        segment.zero_fill(bytes)?;
        Ok(segment)
    }

    /// Writes a frame: whole blocks, to a place that is a block's.
    pub(super) fn write_frame(
        &mut self,
        frame: &[u8],
        position: u64,
        sync: Sync,
    ) -> Result<(), IoError> {
        let written = match sync {
            Sync::Now => self.file.write_blocks(frame, position),
            Sync::Later => self.file.file().write_all_at(frame, position),
        };
        written.map_err(io_error("write a frame to", &self.path))
    }

    /// Writes what the segment says about itself, durably; `action` is for the error.
    pub(super) fn write_note(
        &self,
        action: &'static str,
        note: &[u8],
        position: u64,
    ) -> Result<(), IoError> {
        self.file
            .file()
            .write_all_at(note, position)
            .map_err(io_error(action, &self.path))?;
        self.sync()
    }

    /// Makes all that was written durable, by whichever way.
    pub(super) fn sync(&self) -> Result<(), IoError> {
        self.file
            .file()
            .sync_data()
            .map_err(io_error("fdatasync", &self.path))
    }

    /// Writes zeros from the file's end up to `bytes`, durably.
    fn zero_fill(&mut self, bytes: u64) -> Result<(), IoError> {
        let found = self.file.file().metadata();
        let mut position = found.map_err(io_error("stat", &self.path))?.len();
        if position >= bytes {
            return Ok(());
        }
        let mut zeros = Blocks::default();
        let (out, start) = zeros.begin();
        out.resize(start + ZERO_FILL_BYTES, 0);
        while position < bytes {
            // To where whole pieces go, for a file may end anywhere, and what it has is left as it is.
            let piece = ZERO_FILL_BYTES as u64;
            let length = (bytes - position).min(piece - position % piece);
            let length = usize::try_from(length).unwrap_or(ZERO_FILL_BYTES);
            let piece = zeros.aligned().get(..length).unwrap_or_default();
            self.file
                .write_blocks(piece, position)
                .map_err(io_error("zero-fill", &self.path))?;
            position += piece.len() as u64;
        }
        let synced = self.file.file().sync_all();
        synced.map_err(io_error("fsync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks;

    #[test]
    fn what_cannot_go_past_the_page_cache_goes_through_it() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("segment");
        let mut segment = Segment::create(path.clone(), 1 << 20).unwrap();
        // No block, at no block's place.
        segment.write_frame(b"frame", 4099, Sync::Now).unwrap();
        // From an odd place in memory, which most disks refuse, as one with larger blocks refuses all.
        let memory = [7; 1 + 2 * blocks::BLOCK_BYTES];
        segment.write_frame(&memory[1..], 8192, Sync::Now).unwrap();
        segment.sync().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        assert_eq!(&bytes[4099..4104], b"frame");
        assert_eq!(bytes[8192..16384], memory[1..]);
        let others = bytes.iter().filter(|byte| **byte != 0).count();
        assert_eq!(others, 4 + memory.len());
    }

    #[test]
    fn what_a_short_file_holds_is_left_and_any_length_is_filled() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("segment");
        for (held, length) in [
            (0, 1_500_001),
            (100, 1 << 20),
            (5000, 1_500_001),
            (1_300_000, 2 << 20),
        ] {
            std::fs::write(&path, vec![7; held]).unwrap();
            let segment = Segment::open(path.clone(), 0, length).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, length);
            let (old, new) = bytes.split_at(held);
            assert!(old.iter().all(|byte| *byte == 7), "{held} of {length}");
            assert!(new.iter().all(|byte| *byte == 0), "{held} of {length}");
            // A last piece that is no block does not end it.
            let had = blocks::open_direct(&path).is_some();
            assert_eq!(segment.file.is_direct(), had, "{held} of {length}");
        }
    }
}
