//! Finding record batches in the extents and in sled's data file without sled.
//!
//! A batch describes and checks itself, and sled writes a value of ours in one piece (it is not told
//! to compress). So every place where a batch's magic stands is looked at. What this cannot find:
//! batches of more than one value (an event above 112 KiB) in sled's own file, and rows of other
//! families, which have no frame of their own.
//!
//! **Invariant:** only batches whose both checksums hold are reported; memory is one window of a file,
//! whatever its size.
//! **Next:** `repair.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::directory::{IoError, io_error};
use crate::engine::extents;
use crate::frame::{self, Batch, Kind};

/// The file is read in windows of this size; they overlap by the longest value.
const WINDOW_BYTES: usize = 4 << 20;
/// Longest batch that is found: one event at the largest payload limit (8 MiB) with its metadata.
const BATCH_BYTES_MAX: usize = 9 << 20;
/// Shortest batch: its header and its checksum.
const HEAD_BYTES: usize = 52;

/// A batch in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawBatch {
    pub(crate) kind: Kind,
    pub(crate) base: u64,
    pub(crate) count: u32,
    /// Which file, and where in it.
    file: usize,
    position: u64,
    bytes: usize,
}

/// The files that may hold batches, searched.
#[derive(Debug)]
pub(crate) struct Raw {
    files: Vec<(PathBuf, File)>,
    pub(crate) batches: Vec<RawBatch>,
}

impl Raw {
    /// Looks through the files of a database's directory; `progress` hears of the bytes that were
    /// searched, and of all there are.
    pub(crate) fn search(sled: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Self, IoError> {
        let mut paths = extents::files(sled)?;
        let database = sled.join("db");
        if database.is_file() {
            paths.push(database);
        }
        let total = super::compact::bytes_of(sled)?;
        let mut raw = Self {
            files: Vec::new(),
            batches: Vec::new(),
        };
        let mut searched = 0;
        for path in paths {
            let file = File::open(&path).map_err(io_error("open", &path))?;
            let before = searched;
            raw.search_file(&path, &file, |bytes| {
                searched = before + bytes;
                progress(searched.min(total), total);
            })?;
            raw.files.push((path, file));
        }
        raw.batches
            .sort_by_key(|batch| (batch.base, batch.file, batch.position));
        Ok(raw)
    }

    fn search_file(
        &mut self,
        path: &Path,
        file: &File,
        mut progress: impl FnMut(u64),
    ) -> Result<(), IoError> {
        let total = file.metadata().map_err(io_error("stat", path))?.len();
        let mut start = 0;
        let mut window = vec![0; WINDOW_BYTES + BATCH_BYTES_MAX];
        while start < total {
            let left = usize::try_from(total - start).unwrap_or(usize::MAX);
            let length = window.len().min(left);
            let Some(bytes) = window.get_mut(..length) else {
                break;
            };
            file.read_exact_at(bytes, start)
                .map_err(io_error("read", path))?;
            let mut at = 0;
            while at < WINDOW_BYTES.min(length) {
                let rest = bytes.get(at..).unwrap_or_default();
                match batch_at(rest) {
                    Some((batch, taken)) => {
                        self.batches.push(RawBatch {
                            kind: batch.header.kind,
                            base: batch.header.base,
                            count: batch.header.count,
                            file: self.files.len(),
                            position: start + at as u64,
                            bytes: taken,
                        });
                        at += taken;
                    }
                    None => at += next_magic(rest),
                }
            }
            // A batch that begins in this window may end in the next; it is not found again.
            start += at as u64;
            progress(start.min(total));
        }
        Ok(())
    }

    /// One of the batches.
    pub(crate) fn load(&self, batch: &RawBatch) -> Result<Option<Batch>, IoError> {
        let Some((path, file)) = self.files.get(batch.file) else {
            return Ok(None);
        };
        let mut bytes = vec![0; batch.bytes];
        file.read_exact_at(&mut bytes, batch.position)
            .map_err(io_error("read", path))?;
        Ok(frame::decode(&Bytes::from(bytes)).ok())
    }
}

/// The batch at the start of these bytes, and how many it takes.
fn batch_at(bytes: &[u8]) -> Option<(Batch, usize)> {
    if !bytes.starts_with(frame::MAGIC) || bytes.len() < HEAD_BYTES {
        return None;
    }
    let length = frame::total_bytes(bytes).ok()?;
    let batch = frame::decode(&Bytes::copy_from_slice(bytes.get(..length)?)).ok()?;
    Some((batch, length))
}

/// How far the next place is that may begin a batch.
fn next_magic(bytes: &[u8]) -> usize {
    let rest = bytes.get(1..).unwrap_or_default();
    let first = frame::MAGIC.first().copied().unwrap_or_default();
    rest.iter()
        .position(|byte| *byte == first)
        .map_or(bytes.len(), |at| at + 1)
}
