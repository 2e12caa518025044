//! Check: looks at everything in a data directory and says what is damaged and what can be saved.
//!
//! sled writes into its directory when it opens, so its files are copied into a scratch directory
//! first; the journal and the rest are read in place.
//!
//! **Invariant:** the directory that is checked is never written to. A directory without problems
//! opens; one with problems is described by ranges of readable positions.
//! **Next:** `check/chain.rs` (batches and their indexes), `check/keys.rs`, `repair.rs`.

mod chain;
mod keys;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::directory::{DirectoryError, IoError, lock_read_only, read_manifest};
use crate::engine::{Engine, EngineError};
use crate::frame::Kind;
use crate::journal::{salvage, scan};
use crate::keys::Family;
use crate::offset::Offset;
use crate::recovery::{no_state, read_state};
use crate::state::{RowSum, State};
use crate::transfer::raw::Raw;
use crate::transfer::repair::end_seen_by;
use crate::transfer::rows::{Rows, Window, families};
use crate::transfer::survey::{Scratch, is_sound};
use crate::transfer::{Stage, Transferred};

/// How many problems are listed; all are counted.
const PROBLEMS_MAX: usize = 1000;

/// Why a directory could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no log.
    #[error("{path} holds no log")]
    NoLog {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has it open, or it cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The scratch copy could not be made.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: a file, or a family of rows.
    pub place: String,
    /// At which offset, attempt number or journal frame, or byte of a file of `keys/`, if it is one.
    pub position: Option<u64>,
    /// What is wrong there.
    pub what: String,
}

/// What is known of the events, or of the attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// The first position that is stored.
    pub first: u64,
    /// One past the last position of the database.
    pub end: u64,
    /// Readable positions, as half-open ranges.
    pub readable: Vec<(u64, u64)>,
    /// Positions that an earlier repair marked as lost.
    pub marked_lost: Vec<(u64, u64)>,
    /// The first position that is damaged or missing.
    pub first_bad: Option<u64>,
    /// Batches that were read.
    pub batches: u64,
    /// Bytes of their bodies, decompressed.
    pub bytes: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Events in the database.
    pub events: ChainReport,
    /// Attempts in the database.
    pub attempts: ChainReport,
    /// Events that are in the journal alone, as a half-open range of offsets.
    pub journal_events: Option<(u64, u64)>,
    /// Intact frames of the journal that the database does not hold yet.
    pub journal_frames: u64,
    /// Rows of the registry, of cursors and of parked deliveries.
    pub rows: u64,
    /// Sound files of idempotency keys and uids.
    pub key_runs: u64,
    /// Keys in these files, those that have expired included.
    pub keys: u64,
    /// The first problems.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problems_total: u64,
    /// One past the last offset that a cursor or a parked delivery speaks of.
    #[serde(skip)]
    seen_end: Offset,
}

impl CheckReport {
    /// Whether something is wrong, but only with what can be made from the log again: without the
    /// directory `keys` nothing would be wrong.
    pub fn only_keys_are_bad(&self) -> bool {
        let is_derived = |problem: &Problem| Path::new(&problem.place).starts_with("keys");
        let listed = u64::try_from(self.problems.len()).unwrap_or(u64::MAX);
        !self.is_good() && listed == self.problems_total && self.problems.iter().all(is_derived)
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems_total == 0
    }

    fn add(&mut self, place: &str, position: Option<u64>, what: impl Into<String>) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                place: place.to_owned(),
                position,
                what: what.into(),
            });
        }
    }
}

/// Checks a data directory that no process has open. `scratch` is created for a copy of the database
/// and removed again. Blocks.
pub fn check(
    directory: &Path,
    scratch: &Path,
    mut progress: impl FnMut(Transferred),
) -> Result<CheckReport, CheckError> {
    if !directory.join("journal").is_dir() && !directory.join("sled").is_dir() {
        let path = directory.to_path_buf();
        return Err(CheckError::NoLog { path });
    }
    let _lock = lock_read_only(directory)?;
    let mut report = CheckReport::default();
    if let Err(error) = read_manifest(directory) {
        report.add("MANIFEST", None, error.to_string());
    }
    check_files(directory, &mut report);
    let state = if directory.join("sled/db").is_file() {
        // Held in this order: the engine is closed before its files are removed.
        let copy = Scratch::copy(directory, scratch, &mut progress)?;
        let state = match copy.open() {
            Ok(engine) => check_database(&engine, &mut report, &mut progress),
            Err(error) => {
                report.add("sled", None, error.to_string());
                None
            }
        };
        if state.is_none() {
            search(directory, &mut report, &mut progress)?;
        }
        state
    } else {
        None
    };
    check_journal(directory, state.as_ref(), &mut report);
    keys::check(directory, &mut report);
    Ok(report)
}

fn check_files(directory: &Path, report: &mut CheckReport) {
    for part in ["sled/db", "sled/conf", "journal"] {
        if !directory.join(part).exists() {
            report.add(part, None, "it is missing");
        }
    }
    let blobs = fs::read_dir(directory.join("sled/blobs"));
    if blobs.is_ok_and(|mut entries| entries.next().is_some()) {
        report.add("sled/blobs", None, "it is not empty");
    }
}

fn check_database(
    engine: &Engine,
    report: &mut CheckReport,
    progress: &mut dyn FnMut(Transferred),
) -> Option<State> {
    let state = match read_state(engine).and_then(|state| state.ok_or_else(no_state)) {
        Ok(state) => state,
        Err(error) => {
            report.add("state", None, error.to_string());
            return None;
        }
    };
    chain::check(engine, &state, Kind::Events, report, progress);
    chain::check(engine, &state, Kind::Attempts, report, progress);
    if let Err(error) = check_rows(engine, &state, report) {
        report.add("sled", None, error.to_string());
    }
    Some(state)
}

/// Decodes every replaced row, and holds them against their sum.
fn check_rows(engine: &Engine, state: &State, report: &mut CheckReport) -> Result<(), EngineError> {
    let mut sum = RowSum::default();
    let mut rows = Rows::new(families(false), Window::of(state));
    while let Some(page) = rows.next(engine)? {
        for row in page {
            report.rows += 1;
            report.seen_end = report.seen_end.max(end_seen_by(&row));
            if Family::SUMMED.contains(&row.family) {
                sum.add(row.family, &row.key, &row.value);
            }
            if !is_sound(row.family, &row.key, &row.value) {
                let place = format!("{:?}", row.family).to_lowercase();
                report.add(&place, None, "a row does not decode");
            }
        }
    }
    if sum != state.sum {
        let what = "rows of the registry, of cursors or of parked deliveries are missing or old";
        report.add("registry", None, what);
    }
    Ok(())
}

/// The journal above the database, and that cursors do not point behind its end.
fn check_journal(directory: &Path, state: Option<&State>, report: &mut CheckReport) {
    let journal = directory.join("journal");
    let applied = state.and_then(|state| state.applied);
    match salvage::find(&journal) {
        Ok(found) => {
            report.journal_frames = found.sequences().filter(|s| Some(*s) > applied).count() as u64;
            for what in &found.unread {
                report.add("journal", None, what);
            }
        }
        Err(error) => report.add("journal", None, error.to_string()),
    }
    let Some(state) = state else { return };
    let mut end = state.events.end;
    let scanned = scan::scan::<scan::ScanError>(&journal, applied, state.journal_epoch, |commit| {
        for (offset, record) in (commit.base.get()..).zip(commit.records.iter()) {
            if record.id.offset() != Offset::new(offset) {
                let what = "an event's id carries another offset";
                report.add("journal", Some(offset), what);
            }
        }
        end = end.max(commit.end());
        Ok(())
    });
    if let Err(error) = scanned {
        let position = match &error {
            scan::ScanError::Damaged { sequence, .. } => Some(sequence.get()),
            scan::ScanError::Missing { from, .. } => Some(from.get()),
            scan::ScanError::Io(_)
            | scan::ScanError::Epoch { .. }
            | scan::ScanError::Cut { .. } => None,
        };
        report.add("journal", position, error.to_string());
    }
    if end > state.events.end {
        report.journal_events = Some((state.events.end.get(), end.get()));
    }
    if report.seen_end > end {
        let what = "a cursor or a parked delivery lies behind the log's end";
        report.add("cursor", Some(report.seen_end.get()), what);
    }
    if state.mark > end {
        let what = "the dispatcher's mark lies behind the log's end";
        report.add("state", Some(state.mark.get()), what);
    }
}

/// Without a database, what its file holds.
fn search(
    directory: &Path,
    report: &mut CheckReport,
    progress: &mut dyn FnMut(Transferred),
) -> Result<(), IoError> {
    let path = directory.join("sled");
    let raw = Raw::search(&path, |bytes, total| {
        progress(Transferred {
            stage: Stage::Verify,
            bytes,
            total,
        });
    })?;
    for batch in &raw.batches {
        let chain = match batch.kind {
            Kind::Events => &mut report.events,
            Kind::Attempts => &mut report.attempts,
            Kind::Lost => continue,
        };
        chain.batches += 1;
        chain.read(batch.base, batch.base + u64::from(batch.count));
    }
    for chain in [&mut report.events, &mut report.attempts] {
        chain.first = chain.readable.first().map_or(0, |range| range.0);
        chain.end = chain.readable.last().map_or(0, |range| range.1);
        chain.first_bad = match chain.readable.as_slice() {
            [_, second, ..] => Some(second.0),
            _ => None,
        };
    }
    Ok(())
}

impl ChainReport {
    /// Adds a readable range; ranges come in the order of their starts, and may overlap.
    fn read(&mut self, from: u64, to: u64) {
        match self.readable.last_mut() {
            Some((_, end)) if *end >= from => *end = to.max(*end),
            _ => self.readable.push((from, to)),
        }
    }
}

#[cfg(test)]
mod tests;
