//! Looking through the files of an index without opening it: opening writes.
//!
//! **Invariant:** nothing is written, and each damaged file is named once, with its first bad byte.
//! **Next:** `run_reader.rs`, which compares the checksums of a run.

use std::collections::BTreeSet;
use std::path::Path;

use crate::key_index::error::{KeyIndexError, damaged};
use crate::key_index::manifest::{ListedRun, Manifest};
use crate::key_index::run::Run;
use crate::key_index::run_reader;
use crate::offset::Offset;

/// What is sound in the files of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) runs: u64,
    /// In these runs, those that have expired included.
    pub(crate) keys: u64,
}

/// Reads the list of runs and each run that it names. An index that is not there is an empty one.
pub(crate) fn inspect(directory: &Path, told: &mut dyn FnMut(KeyIndexError)) -> Inspected {
    let mut sound = Inspected::default();
    let listed = match Manifest::read(directory) {
        Ok(listed) => listed,
        Err(error) => {
            told(error);
            return sound;
        }
    };
    let mut seen = BTreeSet::new();
    for run in &listed.runs {
        let checked = if run.number >= listed.next || !seen.insert(run.number) {
            let reason = "it names a run twice, or one that was never begun";
            Err(damaged(&Manifest::path(directory), 0, reason))
        } else {
            check(directory, *run, listed.covered)
        };
        match checked {
            Ok(keys) => {
                sound.runs += 1;
                sound.keys += keys;
            }
            Err(error) => told(error),
        }
    }
    sound
}

fn check(directory: &Path, listed: ListedRun, covered: Offset) -> Result<u64, KeyIndexError> {
    let run = Run::open(directory, listed.number, listed.end)?;
    let keys = run_reader::verify(&run)?;
    // Those at or above its end do not count: a power cut took their events.
    if run.header().span.highest.min(listed.end) > covered {
        let reason = "it has keys of events that the list of runs does not cover";
        return Err(damaged(run.path(), 0, reason));
    }
    Ok(keys)
}
