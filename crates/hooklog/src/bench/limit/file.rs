//! The limit of every durable append: a plain file, the same bytes, one `fdatasync` a commit, and
//! nothing else.
//!
//! **Invariant:** the file is written with zeros before it counts and then overwritten in place, as
//! large as a journal segment of the log, so that no sync has metadata to write. Imports nothing of this
//! crate: the program that measures peers is built with this file alone.
//! **Next:** `../append.rs`, the log beside it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// As large as a journal segment.
const FILE_BYTES: usize = 64 << 20;

/// A file, and what is written to it.
pub struct PlainFile {
    file: File,
    position: usize,
    /// All payloads twice, end to end: what follows any payload is in one piece behind it.
    bytes: Vec<u8>,
    /// Where each payload begins in the first copy.
    starts: Vec<usize>,
    next: usize,
    sync: bool,
}

impl PlainFile {
    /// Makes the file, and makes it durable; `sync` says whether commits are, too.
    pub fn create<'a>(
        directory: &Path,
        payloads: impl IntoIterator<Item = &'a [u8]>,
        sync: bool,
    ) -> io::Result<Self> {
        let file = File::create(directory.join("plain"))?;
        file.write_all_at(&vec![0; FILE_BYTES], 0)?;
        file.sync_all()?;
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for payload in payloads {
            starts.push(bytes.len());
            bytes.extend_from_slice(payload);
        }
        bytes.extend_from_within(..);
        Ok(Self {
            file,
            position: 0,
            bytes,
            starts,
            next: 0,
            sync,
        })
    }

    /// Writes the payloads of the next `count` events, durably; says how many bytes they were.
    pub fn commit(&mut self, count: usize) -> io::Result<usize> {
        let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "no payloads");
        let events = self.starts.len();
        let cycle = self.bytes.len() / 2;
        let start_of = |index: usize| self.starts.get(index).copied().ok_or_else(nothing);
        let start = start_of(self.next)?;
        let (whole, rest) = (count / events, (self.next + count) % events);
        // More events than there are payloads go round the pool.
        let mut left = whole * cycle + (cycle + start_of(rest)? - start) % cycle;
        let total = left;
        if self.position + left > FILE_BYTES {
            self.position = 0;
        }
        let mut from = start;
        while left > 0 {
            let piece = left.min(self.bytes.len() - from);
            let bytes = self.bytes.get(from..from + piece).ok_or_else(nothing)?;
            self.file.write_all_at(bytes, self.position as u64)?;
            self.position += piece;
            left -= piece;
            from = (from + piece) % cycle;
        }
        if self.sync {
            self.file.sync_data()?;
        }
        self.next = rest;
        Ok(total)
    }
}
