//! The bytes of a segment, a piece at a time: a segment may have a GiB, and an open must not.
//!
//! Records that are read back share the memory of their piece, which is free again when they are
//! applied.
//!
//! **Invariant:** bytes are asked for by their place and come from there, or it is an error: where a
//! piece ends makes no difference to the answer.
//! **Next:** `scan.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use crate::directory::{IoError, io_error};

/// Read at once: as much as a group of the committer has, and little for an allocator to keep when
/// the log is open. Tests have pieces that end within most frames.
pub(super) const PIECE_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// A segment that is read.
#[derive(Debug)]
pub(super) struct Image<'a> {
    path: &'a Path,
    /// `None` if all of it is in memory.
    file: Option<File>,
    length: u64,
    /// Where the piece in memory begins.
    start: u64,
    piece: Bytes,
}

impl<'a> Image<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, IoError> {
        let file = File::open(path).map_err(io_error("read", path))?;
        let length = file.metadata().map_err(io_error("stat", path))?.len();
        Ok(Self {
            path,
            file: Some(file),
            length,
            start: 0,
            piece: Bytes::new(),
        })
    }

    /// One that is in memory.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of(path: &'a Path, piece: Bytes) -> Self {
        Self {
            path,
            file: None,
            length: piece.len() as u64,
            start: 0,
            piece,
        }
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `position` on: at least `least`, or all that there are.
    pub(super) fn at(&mut self, position: u64, least: usize) -> Result<Bytes, IoError> {
        let left = self.length.saturating_sub(position);
        let least = least.min(usize::try_from(left).unwrap_or(usize::MAX));
        if least == 0 {
            return Ok(Bytes::new());
        }
        let held = |image: &Self| {
            let skip = usize::try_from(position.checked_sub(image.start)?).ok()?;
            let rest = image.piece.len().checked_sub(skip)?;
            (rest >= least).then(|| image.piece.slice(skip..))
        };
        if let Some(bytes) = held(self) {
            return Ok(bytes);
        }
        let wanted = u64::try_from(least.max(PIECE_BYTES)).unwrap_or(u64::MAX);
        let mut piece = vec![0; usize::try_from(wanted.min(left)).unwrap_or(usize::MAX)];
        // The old one goes before the new one is filled.
        self.piece = Bytes::new();
        if let Some(file) = &self.file {
            file.read_exact_at(&mut piece, position)
                .map_err(io_error("read", self.path))?;
        }
        (self.start, self.piece) = (position, piece.into());
        Ok(self.piece.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_from_their_place_whatever_was_read_before() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("segment");
        let mut rng = fastrand::Rng::with_seed(1);
        let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(10_000).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut image = Image::open(&path).unwrap();
        assert_eq!(image.length(), 10_000);
        for _ in 0..1000 {
            let (position, least) = (rng.usize(..11_000), rng.usize(..3 * PIECE_BYTES));
            let found = image.at(position as u64, least).unwrap();
            let all = bytes.get(position..).unwrap_or_default();
            assert!(all.starts_with(&found), "{position} {least}");
            assert!(found.len() >= least.min(all.len()), "{position} {least}");
        }
    }
}
