//! Memory and files for writes past the page cache: bytes that start at a block, there and here.
//!
//! **Invariant:** what [`Blocks::aligned`] gives starts at a multiple of [`BLOCK_BYTES`] in memory; a file that refuses
//! such writes takes them through the page cache.
//! **Next:** `journal/segment.rs` and `engine/extents/writer.rs`, which write them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What is written past the page cache starts and ends at multiples of this, in memory and in the file: a page,
/// and the largest logical block that disks have.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// A buffer that is filled again and again.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
    start: usize,
}

impl Blocks {
    /// Empties it. What is appended to the vector at this index and behind is what it holds.
    pub(crate) fn begin(&mut self) -> (&mut Vec<u8>, usize) {
        self.bytes.clear();
        self.start = self.first_aligned();
        self.bytes.resize(self.start, 0);
        self.held()
    }

    /// What it holds, as [`begin`](Self::begin) gave it.
    pub(crate) fn held(&mut self) -> (&mut Vec<u8>, usize) {
        (&mut self.bytes, self.start)
    }

    /// Empties it, and makes room for so many bytes, padded and wherever they start.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        self.bytes.clear();
        self.start = 0;
        self.bytes
            .reserve_exact(bytes.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES);
    }

    /// How many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The first place of a block in the vector's memory.
    fn first_aligned(&self) -> usize {
        let first = self.bytes.as_ptr().align_offset(BLOCK_BYTES);
        // It may be unknown to the compiler's own interpreter, which has no disk either.
        if first < BLOCK_BYTES { first } else { 0 }
    }

    /// What it holds, aligned. Copies it if the vector has moved while it was filled, which it does less and
    /// less often: its room stays.
    pub(crate) fn aligned(&mut self) -> &[u8] {
        let found = self.first_aligned();
        if found != self.start {
            let length = self.len();
            // With room for any alignment, so that it does not move once more.
            self.bytes.reserve(BLOCK_BYTES);
            let to = self.first_aligned();
            self.bytes.resize(self.bytes.len().max(to + length), 0);
            self.bytes.copy_within(self.start..self.start + length, to);
            self.bytes.truncate(to + length);
            self.start = to;
        }
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// A file with a second way into it, past the page cache.
#[derive(Debug)]
pub(crate) struct BlockFile {
    file: File,
    /// The same file past the page cache; `None` where that is not to be had.
    direct: Option<File>,
}

impl BlockFile {
    /// Opens it to be read and written, and as `options` say besides.
    pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let file = options.read(true).write(true).open(path)?;
        let direct = open_direct(path);
        Ok(Self { file, direct })
    }

    /// The way through the page cache.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes past the page cache if possible, as whole blocks are.
    pub(crate) fn write_blocks(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        let is_whole =
            position.is_multiple_of(BLOCK_BYTES as u64) && bytes.len().is_multiple_of(BLOCK_BYTES);
        if let Some(direct) = self.direct.as_ref().filter(|_| is_whole) {
            match direct.write_all_at(bytes, position) {
                // The disk wants larger blocks, or the memory otherwise, or an earlier piece ended within one.
                Err(error) if error.kind() == ErrorKind::InvalidInput => self.direct = None,
                written => return written,
            }
        }
        self.file.write_all_at(bytes, position)
    }

    /// Whether there are two ways.
    #[cfg(test)]
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }
}

/// The file for writes past the page cache; `None` where the file system has no such thing.
#[cfg(target_os = "linux")]
pub(crate) fn open_direct(path: &Path) -> Option<File> {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags).open(path).ok()
}

/// The file for writes past the page cache, which this system has not.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open_direct(_: &Path) -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_at_once_and_for_little_more() {
        let mut blocks = Blocks::default();
        for length in [0, 1, 4095, 4096, 4097, 100_000, 5] {
            let before = blocks.bytes.capacity();
            blocks.make_room(length);
            let memory = blocks.bytes.as_ptr();
            let (out, start) = blocks.begin();
            out.resize(start + length.next_multiple_of(BLOCK_BYTES), 7);
            assert_eq!(blocks.bytes.as_ptr(), memory, "{length}: it did not move");
            let most = length + 2 * BLOCK_BYTES;
            assert!(blocks.bytes.capacity() <= most.max(before), "{length}");
        }
    }

    #[test]
    fn what_is_held_is_aligned_however_often_the_vector_moves() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut blocks = Blocks::default();
        for round in 0..200 {
            let length = rng.usize(..3 * BLOCK_BYTES * (1 + round / 20));
            let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
            let (out, start) = blocks.begin();
            assert_eq!(out.len(), start);
            for piece in bytes.chunks(1000) {
                out.extend_from_slice(piece);
                if rng.u8(..) == 0 {
                    out.shrink_to_fit();
                }
            }
            let (out, start) = blocks.held();
            assert_eq!(out.get(start..), Some(bytes.as_slice()));
            let aligned = blocks.aligned();
            assert_eq!(aligned, bytes);
            assert_eq!(aligned.as_ptr().align_offset(BLOCK_BYTES), 0, "{round}");
        }
    }
}
