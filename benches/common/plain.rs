//! The limit of every durable append: a plain file, the same bytes, one `fdatasync` a commit, and
//! nothing else.
//!
//! **Invariant:** the file is written with zeros before it counts and then overwritten in place, as
//! large as a journal segment of the log, so that no sync has metadata to write.
//! **Next:** the benchmark that it stands beside.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::payload::Payload;

/// As large as a journal segment.
const FILE_BYTES: usize = 64 << 20;

/// A file, and what is written to it.
pub(crate) struct PlainFile {
    file: File,
    position: usize,
    /// All payloads twice, end to end: what follows any payload is in one piece behind it.
    bytes: Vec<u8>,
    /// Where each payload begins in the first copy.
    starts: Vec<usize>,
    next: usize,
}

impl PlainFile {
    /// Makes the file, and makes it durable.
    pub(crate) fn create(directory: &Path, payloads: &[Payload]) -> Self {
        let file = File::create(directory.join("plain")).expect("a scratch file");
        file.write_all_at(&vec![0; FILE_BYTES], 0).expect("room");
        file.sync_all().expect("a sync");
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for (_, payload) in payloads {
            starts.push(bytes.len());
            bytes.extend_from_slice(payload);
        }
        bytes.extend_from_within(..);
        Self {
            file,
            position: 0,
            bytes,
            starts,
            next: 0,
        }
    }

    /// Writes the payloads of the next `count` events, durably; says how many bytes they were.
    pub(crate) fn commit(&mut self, count: usize) -> usize {
        let events = self.starts.len();
        let cycle = self.bytes.len() / 2;
        let start = self.starts[self.next];
        let (whole, rest) = (count / events, (self.next + count) % events);
        // More events than there are payloads go round the pool.
        let mut left = whole * cycle + (cycle + self.starts[rest] - start) % cycle;
        let total = left;
        if self.position + left > FILE_BYTES {
            self.position = 0;
        }
        let mut from = start;
        while left > 0 {
            let piece = left.min(self.bytes.len() - from);
            let bytes = &self.bytes[from..from + piece];
            self.file
                .write_all_at(bytes, self.position as u64)
                .expect("a write");
            self.position += piece;
            left -= piece;
            from = (from + piece) % cycle;
        }
        self.file.sync_data().expect("a sync");
        self.next = rest;
        total
    }
}
