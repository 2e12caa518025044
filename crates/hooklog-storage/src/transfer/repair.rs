//! Repair: everything that can still be read of a damaged log, in a new directory.
//!
//! Events keep their offsets, since ids carry them. What is lost gets a batch of kind `Lost` in its
//! place, so the new log is whole in its own eyes: it opens, verifies, and skips the hole when it is
//! read. Sources, in the order in which they are believed: batches that sled shows, frames of the
//! journal (those that sled has not applied, and what is left of older ones), batches found in
//! sled's file by their magic. Everything goes the way of an ordinary write, through the applier, so
//! indexes are made anew, those of keys as well: what they say rests on the log alone. Where the
//! database does not show all its rows, every event for a later time waits for it (again).
//!
//! **Invariant:** the damaged directory is never written to; the new one appears under its name only
//! when an open has verified it.
//! **Next:** `repair/pieces.rs`, where events and attempts come from.

mod pieces;
mod rebuild;

use std::fs;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::directory::{io_error, lock_read_only, parent_of, read_manifest, sync_directory};
use crate::engine::Engine;
use crate::entry::{Committed, Entry};
use crate::journal::salvage;

use crate::offset::{AttemptSeq, Offset, Sequence};
use crate::plan::PlanError;
use crate::recovery::{OpenErrorKind, no_state, open_patiently, read_state, recover};
use crate::state::State;
use crate::transfer::format::BackupPoint;
use crate::transfer::raw::Raw;
use crate::transfer::repair::pieces::Pieces;
use crate::transfer::repair::rebuild::Rebuild;
pub(crate) use crate::transfer::repair::rebuild::end_seen_by;
use crate::transfer::restore::{RestoreError, draft_of, make_keys};
use crate::transfer::rows::{Rows, Window, families};
use crate::transfer::survey::{Scratch, is_sound};
use crate::transfer::{Stage, Transferred};

/// Journal frames are applied in pieces of this size.
const APPLY_BYTES: usize = 8 << 20;

/// What a repair saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Where the log begins and ends.
    pub events: Range<u64>,
    /// Offsets within it that are lost.
    pub events_lost: Vec<Range<u64>>,
    /// Where the attempts begin and end.
    pub attempts: Range<u64>,
    /// Attempts within it that are lost.
    pub attempts_lost: Vec<Range<u64>>,
    /// Rows of the registry, cursors and parked deliveries that were taken from the database.
    pub rows: u64,
    /// Rows of those that could not be used.
    pub rows_lost: u64,
    /// Journal frames that were applied.
    pub frames: u64,
    /// What a person should know, in sentences.
    pub notes: Vec<String>,
}

/// Saves what can be read of the log in `damaged` into `config.directory`, which must not exist or be
/// empty. Blocks.
pub fn repair(
    damaged: &Path,
    config: &Config,
    mut progress: impl FnMut(Transferred),
) -> Result<Repaired, RestoreError> {
    let directory = |error: crate::directory::DirectoryError| RestoreError::Log(error.into());
    let target = config.directory.as_path();
    let draft = draft_of(target)?;
    let _lock = lock_read_only(damaged).map_err(directory)?;
    let mut config = config.clone();
    let mut notes = Vec::new();
    match read_manifest(damaged) {
        Ok(manifest) => config.journal_segment_bytes = manifest.journal_segment_bytes,
        Err(error) => notes.push(error.to_string()),
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&draft)
        .map_err(io_error("create", &draft))?;
    config.directory.clone_from(&draft);
    match salvage_into(damaged, &mut config, notes, &mut progress) {
        Ok(repaired) => {
            fs::rename(&draft, target).map_err(io_error("rename", &draft))?;
            sync_directory(parent_of(target))?;
            Ok(repaired)
        }
        Err(error) => {
            // It is worth nothing; that it could not be removed is told by the next repair.
            let _outcome = fs::remove_dir_all(&draft);
            Err(error)
        }
    }
}

fn salvage_into(
    damaged: &Path,
    config: &mut Config,
    notes: Vec<String>,
    progress: &mut dyn FnMut(Transferred),
) -> Result<Repaired, RestoreError> {
    let scratch = config.directory.join("damaged");
    let source = Source::open(damaged, &scratch, notes, progress);
    let new = open_patiently(&config.directory.join("sled"), config.sizes())
        .map_err(OpenErrorKind::from)?;
    let mut rebuild = Rebuild::new(new, &source, config.compression);
    let mut repaired = fill(&source, &mut rebuild, progress)?;
    drop(source);
    progress(Transferred {
        stage: Stage::Verify,
        bytes: 0,
        total: 0,
    });
    (repaired.events_lost, repaired.attempts_lost) = rebuild.finish()?;
    let recovered = recover(config)?;
    let state = &recovered.applier.state;
    repaired.events = state.events.first.position.get()..state.events.end.get();
    repaired.attempts = state.attempts.first.position.get()..state.attempts.end.get();
    make_keys(config, recovered)?;
    Ok(repaired)
}

/// What there is of the damaged log.
struct Source {
    /// A copy of the database, if it opens.
    engine: Option<Engine>,
    state: Option<State>,
    raw: Option<Raw>,
    journal: salvage::Found,
    notes: Vec<String>,
    /// Removed after the engine is closed.
    _scratch: Option<Scratch>,
}

impl Source {
    fn open(
        damaged: &Path,
        scratch: &Path,
        mut notes: Vec<String>,
        progress: &mut dyn FnMut(Transferred),
    ) -> Self {
        let scratch = Scratch::copy(damaged, scratch, progress)
            .map_err(|error| notes.push(error.to_string()))
            .ok();
        let mut told = |note: String| notes.push(note);
        let engine = scratch.as_ref().and_then(|scratch| {
            scratch
                .open()
                .map_err(|error| {
                    told(format!(
                        "the database does not open ({error}): events and attempts were searched \
                         for in its file, and the registry, cursors and parked deliveries are only \
                         what the journal holds of them"
                    ));
                })
                .ok()
        });
        let state = engine.as_ref().and_then(|engine| {
            read_state(engine)
                .and_then(|state| state.ok_or_else(no_state))
                .map_err(|error| told(error.to_string()))
                .ok()
        });
        let path = damaged.join("sled");
        let searched = Raw::search(&path, |bytes, total| {
            progress(Transferred {
                stage: Stage::Open,
                bytes,
                total,
            });
        });
        let raw = searched.map_err(|error| told(error.to_string())).ok();
        let journal = salvage::find(&damaged.join("journal"))
            .map_err(|error| told(error.to_string()))
            .unwrap_or_default();
        notes.extend(journal.unread.iter().cloned());
        Self {
            engine,
            state,
            raw,
            journal,
            notes,
            _scratch: scratch,
        }
    }
}

/// Events, attempts and rows into the new database.
fn fill(
    source: &Source,
    rebuild: &mut Rebuild,
    progress: &mut dyn FnMut(Transferred),
) -> Result<Repaired, OpenErrorKind> {
    let mut repaired = Repaired {
        notes: source.notes.clone(),
        ..Repaired::default()
    };
    let mut pieces = Pieces::collect(source);
    let applied = source.state.as_ref().and_then(|state| state.applied);
    let frames: Vec<_> = source
        .journal
        .sequences()
        .filter(|sequence| Some(*sequence) > applied)
        .collect();
    let total = frames.len() as u64;
    if let Some(first) = first_ends(source, &frames) {
        pieces.cover(source, rebuild, first)?;
    } else {
        pieces.cover(source, rebuild, (Offset::MAX, AttemptSeq::MAX))?;
    }
    if let Some(engine) = &source.engine {
        copy_rows(engine, rebuild, &mut repaired)?;
    }
    let mut waiting = Waiting::default();
    for (sequence, done) in frames.into_iter().zip(1..) {
        let Some(commit) = source.journal.load(sequence) else {
            continue;
        };
        let starts = starts_of(&commit);
        if !waiting.joins(rebuild, &commit) {
            waiting.apply(rebuild)?;
            pieces.cover(source, rebuild, starts)?;
        }
        waiting.add(rebuild, commit)?;
        repaired.frames += 1;
        progress(Transferred {
            stage: Stage::Copy,
            bytes: done,
            total,
        });
    }
    waiting.apply(rebuild)?;
    pieces.cover(source, rebuild, (Offset::MAX, AttemptSeq::MAX))?;
    let ends = source.state.as_ref().map(BackupPoint::end);
    let BackupPoint {
        events, attempts, ..
    } = ends.unwrap_or_default();
    rebuild.lose_up_to(events.max(rebuild.seen_end), attempts)?;
    repaired.notes.extend(waiting_again(rebuild.waiting_again));
    Ok(repaired)
}

/// Said of events that may wait for their time, or have had it: sent twice rather than never.
fn waiting_again(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "of {count} events for a later time it cannot be told whether they were released: those \
             whose time is to come wait for it, and the others are released at the next start, but for \
             deliveries that a saved attempt says to have arrived; what was to be skipped is not"
        )
    })
}

/// Where the frames that are applied one by one begin.
fn first_ends(source: &Source, frames: &[Sequence]) -> Option<(Offset, AttemptSeq)> {
    let commits = frames
        .iter()
        .filter_map(|sequence| source.journal.load(*sequence));
    let mut first: Option<(Offset, AttemptSeq)> = None;
    for commit in commits {
        let (offset, attempt) = starts_of(&commit);
        let (_, known) = *first.get_or_insert((offset, attempt));
        if known < AttemptSeq::MAX {
            break;
        }
        first = first.map(|(offset, _)| (offset, attempt));
    }
    first
}

/// The first offset of a commit, and its first attempt.
fn starts_of(commit: &Committed) -> (Offset, AttemptSeq) {
    let attempt = commit.entries.iter().find_map(Entry::attempt);
    let number = attempt.map_or(AttemptSeq::MAX, |stored| stored.id.seq());
    (commit.base, number)
}

/// Frames that follow each other, gathered so that full batches come of them.
#[derive(Default)]
struct Waiting {
    commits: Vec<Arc<Committed>>,
    bytes: usize,
    events: Offset,
    attempts: AttemptSeq,
}

impl Waiting {
    /// Whether a commit goes on where those that wait end.
    fn joins(&mut self, rebuild: &Rebuild, commit: &Committed) -> bool {
        if self.commits.is_empty() {
            (self.events, self.attempts) = rebuild.ends();
        }
        let (offset, attempt) = starts_of(commit);
        offset <= self.events && (attempt == AttemptSeq::MAX || attempt <= self.attempts)
    }

    /// Adds a commit, without what is there already.
    fn add(&mut self, rebuild: &mut Rebuild, mut commit: Committed) -> Result<(), PlanError> {
        if self.commits.is_empty() {
            (self.events, self.attempts) = rebuild.ends();
        }
        let records = commit.records.iter();
        commit.records = records
            .filter(|record| record.offset >= self.events)
            .cloned()
            .collect();
        commit.entries.retain(|entry| {
            let attempt = entry.attempt();
            attempt.is_none_or(|stored| stored.id.seq() >= self.attempts)
        });
        if let Some(last) = commit.records.last() {
            self.events = last.offset.next();
        }
        for entry in &commit.entries {
            if let Entry::Attempt(stored) = entry {
                self.attempts = stored.id.seq().next();
            }
        }
        self.bytes += commit.bytes;
        self.commits.push(Arc::new(commit));
        if self.bytes >= APPLY_BYTES {
            self.apply(rebuild)?;
        }
        Ok(())
    }

    fn apply(&mut self, rebuild: &mut Rebuild) -> Result<(), PlanError> {
        if !self.commits.is_empty() {
            rebuild.applier.apply(&self.commits)?;
        }
        self.commits.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Copies the replaced rows that decode.
fn copy_rows(
    engine: &Engine,
    rebuild: &mut Rebuild,
    repaired: &mut Repaired,
) -> Result<(), OpenErrorKind> {
    for family in families(false) {
        let mut rows = Rows::new([family], Window::of(&State::default()));
        loop {
            match rows.next(engine) {
                Ok(None) => break,
                Ok(Some(page)) => {
                    let (good, bad): (Vec<_>, Vec<_>) = page
                        .into_iter()
                        .partition(|row| is_sound(row.family, &row.key, &row.value));
                    repaired.rows += good.len() as u64;
                    repaired.rows_lost += bad.len() as u64;
                    rebuild.put_rows(good)?;
                }
                Err(error) => {
                    let notes = &mut repaired.notes;
                    notes.push(format!("rows of {family:?} are lost: {error}"));
                    break;
                }
            }
        }
    }
    if repaired.rows_lost > 0 {
        let notes = &mut repaired.notes;
        notes.push("look over applications, endpoints and their cursors".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
