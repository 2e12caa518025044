//! Merging: which neighbouring runs become one, and the merge itself.
//!
//! A lookup of an absent key asks every run, so there must be few; and a key should not be written
//! often. Runs of one level are merged eight at a time into one of the next level, so a key is
//! written once a level. A run above half of the largest size is not merged again: expiry and the
//! bound on keys drop whole runs, and the smaller those are, the less is held too long.
//!
//! **Invariant:** memory does not grow with the runs; of two entries with one hash the newer counts.
//! **Next:** `key_index.rs`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::key_index::entry::{Floor, KeyEntry};
use crate::key_index::error::KeyIndexError;
use crate::key_index::layout::RunHeader;
use crate::key_index::run::Run;
use crate::key_index::run_reader::RunReader;
use crate::key_index::run_writer::RunWriter;

/// Runs of one level that become one of the next. With 50 million keys, sealed 57,344 at a time, there
/// were at most 27 runs and 18 in the end; each key was written three times at most.
pub(crate) const FAN_IN: usize = 8;
/// Above so many runs neighbours are merged whatever their levels: many small seals between large
/// ones leave runs behind that never find seven others of their level beside them.
const RUNS_TARGET: usize = 40;
/// A merge looks whether it shall stop after so many entries, some milliseconds of work.
const STOP_EVERY: u64 = 1 << 16;

/// What the choice rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunSize {
    pub(crate) level: u8,
    pub(crate) entries: u64,
}

/// Which runs, of all from the oldest to the newest, are merged next; no result is larger than
/// `entries_max`.
pub(crate) fn plan(runs: &[RunSize], entries_max: u64) -> Option<Range<usize>> {
    let small = |run: &RunSize| run.entries <= entries_max / 2;
    let group = |a: &RunSize, b: &RunSize| a.level == b.level && small(a) && small(b);
    let mut start = 0;
    let mut found: Option<(u8, Range<usize>)> = None;
    for chunk in runs.chunk_by(group) {
        let level = chunk.first().map_or(0, |run| run.level);
        // The lowest level first: its merges are the cheapest and lower the number of runs most.
        if chunk.len() >= FAN_IN && found.as_ref().is_none_or(|(lowest, _)| level < *lowest) {
            let window = start..start + fitting(chunk, entries_max);
            found = Some((level, window));
        }
        start += chunk.len();
    }
    let regular = found.map(|(_, window)| window);
    regular.or_else(|| {
        let crowded = runs.len() > RUNS_TARGET;
        crowded.then(|| cheapest(runs, entries_max)).flatten()
    })
}

/// How many of the first runs together are within the limit, at most [`FAN_IN`].
fn fitting(runs: &[RunSize], entries_max: u64) -> usize {
    let sums = runs.iter().take(FAN_IN).scan(0_u64, |sum, run| {
        *sum = sum.saturating_add(run.entries);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= entries_max).count()
}

/// The two neighbours with the fewest entries, if a run may be as large as both.
fn cheapest(runs: &[RunSize], entries_max: u64) -> Option<Range<usize>> {
    let sums = runs.windows(2).enumerate().map(|(start, pair)| {
        let sum: u64 = pair.iter().map(|run| run.entries).sum();
        (sum, start)
    });
    let (sum, start) = sums.min()?;
    (sum <= entries_max).then_some(start..start + 2)
}

/// How a merge ended.
#[derive(Debug)]
pub(crate) enum Merged {
    /// One run, or none if no entry counts any more.
    Run(Option<RunHeader>),
    /// It was told to stop; nothing has changed.
    Stopped,
}

/// Where a merge writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) number: u64,
    pub(crate) level: u8,
}

/// Writes the entries of `inputs` (the oldest first) that count into one run.
pub(crate) fn merge(
    output: Output<'_>,
    inputs: &[Arc<Run>],
    floor: Floor,
    stop: &AtomicBool,
) -> Result<Merged, KeyIndexError> {
    let entries = inputs.iter().map(|run| run.header().entries).sum();
    let mut writer = RunWriter::create(output.directory, output.number, output.level, entries)?;
    if copy(&mut writer, inputs, floor, stop)? {
        Ok(Merged::Run(writer.finish()?))
    } else {
        Ok(Merged::Stopped)
    }
}

/// One input and its next entry that counts.
struct Input<'a> {
    reader: RunReader<'a>,
    run: &'a Run,
    head: Option<KeyEntry>,
}

impl Input<'_> {
    fn advance(&mut self, floor: Floor) -> Result<(), KeyIndexError> {
        loop {
            self.head = self.reader.next()?;
            if self.head.is_none_or(|entry| self.run.counts(&entry, floor)) {
                return Ok(());
            }
        }
    }
}

/// Says whether it came to the end.
fn copy(
    writer: &mut RunWriter,
    runs: &[Arc<Run>],
    floor: Floor,
    stop: &AtomicBool,
) -> Result<bool, KeyIndexError> {
    let mut inputs = Vec::with_capacity(runs.len());
    for run in runs {
        let (reader, head) = (RunReader::new(run), None);
        let mut input = Input { reader, run, head };
        input.advance(floor)?;
        inputs.push(input);
    }
    for count in 0_u64.. {
        if count.is_multiple_of(STOP_EVERY) && stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        // `min_by_key` takes the first of equals; reversed, that is the newest run.
        let heads = inputs.iter().rev().filter_map(|input| input.head);
        let Some(next) = heads.min_by_key(|entry| entry.hash) else {
            break;
        };
        writer.push(&next)?;
        for input in &mut inputs {
            if input.head.is_some_and(|entry| entry.hash == next.hash) {
                input.advance(floor)?;
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
