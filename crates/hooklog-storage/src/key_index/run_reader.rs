//! Reads a run from its start to its end, for merging and for checking it.
//!
//! **Invariant:** entries come in strictly ascending order of hashes and as many as the header says,
//! or the run is damaged.
//! **Next:** `merge.rs`.

use crate::key_index::entry::{KeyEntry, KeyHash};
use crate::key_index::error::{KeyIndexError, damaged};
use crate::key_index::layout::{BLOCK_BYTES, Geometry, LINE_BYTES};
use crate::key_index::run::Run;

/// Blocks that are read at once.
const READ_BLOCKS: u32 = 16;

/// A place in a run.
#[derive(Debug)]
pub(crate) struct RunReader<'a> {
    run: &'a Run,
    bytes: Vec<u8>,
    /// The entries of the blocks in `bytes` that were not handed out, the last one first.
    ready: Vec<KeyEntry>,
    next_block: u32,
    last: Option<KeyHash>,
    entries: u64,
}

impl<'a> RunReader<'a> {
    pub(crate) fn new(run: &'a Run) -> Self {
        Self {
            run,
            bytes: Vec::new(),
            ready: Vec::new(),
            next_block: 0,
            last: None,
            entries: 0,
        }
    }

    /// The next entry, whether it counts or not.
    pub(crate) fn next(&mut self) -> Result<Option<KeyEntry>, KeyIndexError> {
        while self.ready.is_empty() {
            if self.next_block >= self.run.header().blocks {
                return self.check_end();
            }
            self.fill()?;
        }
        Ok(self.ready.pop())
    }

    fn check_end(&self) -> Result<Option<KeyEntry>, KeyIndexError> {
        if self.entries == self.run.header().entries {
            return Ok(None);
        }
        let reason = "it does not hold as many entries as its header says";
        Err(damaged(self.run.path(), 0, reason))
    }

    fn fill(&mut self) -> Result<(), KeyIndexError> {
        let (run, first) = (self.run, self.next_block);
        let header = run.header();
        let count = READ_BLOCKS.min(header.blocks - first);
        self.bytes
            .resize(usize::try_from(count).unwrap_or(0) * BLOCK_BYTES, 0);
        run.read(&mut self.bytes, header.geometry.block_position(first))?;
        for (number, bytes) in (first..).zip(self.bytes.chunks_exact(BLOCK_BYTES)) {
            let block = run.check_block(number, bytes)?;
            for entry in block.entries.iter().filter_map(KeyEntry::decode) {
                if self.last.is_some_and(|last| last >= entry.hash) {
                    let position = header.geometry.block_position(number);
                    return Err(damaged(
                        run.path(),
                        position,
                        "its entries are not in order",
                    ));
                }
                self.last = Some(entry.hash);
                self.entries += 1;
                self.ready.push(entry);
            }
        }
        self.ready.reverse();
        self.next_block = first + count;
        Ok(())
    }
}

/// Compares every checksum of a run and the order of its entries, and looks every entry up in the
/// filter; says how many entries there are, or the first place of the file that is damaged.
pub(crate) fn verify(run: &Run) -> Result<u64, KeyIndexError> {
    let lines = run.header().geometry.lines;
    let mut bytes = [0; LINE_BYTES];
    // All of the filter before the blocks, which lie behind it.
    for number in 0..lines {
        run.line(number, &mut bytes)?;
    }
    let mut reader = RunReader::new(run);
    let mut next = reader.next()?;
    for number in 0..lines {
        let line = run.line(number, &mut bytes)?;
        while let Some(entry) = next.filter(|entry| entry.hash.slot(lines) == number) {
            if !line.may_hold(&entry.hash) {
                let position = Geometry::line_position(number);
                return Err(damaged(run.path(), position, "its filter misses an entry"));
            }
            next = reader.next()?;
        }
    }
    match next {
        None => Ok(reader.entries),
        Some(_) => Err(damaged(run.path(), 0, "its entries are not in order")),
    }
}
