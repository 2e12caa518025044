//! A bounded, expiring index from keys to events on disk: 50 million keys and no memory for them.
//!
//! ```text
//! insert ─► memtable ──seal──► run (level 0) ──merge, eight at a time──► run (level 1) ─► …
//!              ▲                 ▲ immutable files, sorted by hash          ▲
//! get ─────────┴─────────────────┴──────── newest first ───────────────────┘
//! ```
//! Hashes are random, so a tree would dirty a page for each key. Here keys are written in order, a
//! few times each, and a lookup asks a Bloom filter on disk for each of some twenty runs and reads
//! one block of the run that has the key. Everything in the index comes from events of the log:
//! [`covered`](KeyIndex::covered) says from where the log must be read again after a restart, and a
//! damaged index is reset and read again from the start.
//!
//! Keys expire by time or by offset ([`Floor`]), exactly; runs are deleted as a whole when all they
//! have is expired. Above the largest number of keys the oldest run is dropped.
//!
//! **Invariant:** an answer is right or an error. A run is listed only when it is durable, and a
//! file is deleted only when it is durably not listed. Locks are held to swap, never to read or write
//! a file, but for the one that keeps changes of the list apart.
//! **Next:** `key_index/limits.rs`, `entry.rs` (what is stored), `layout.rs` (bytes), `run_writer.rs`,
//! `run.rs`, `run_reader.rs`, `merge.rs`, `manifest.rs` (the list of runs), `inspect.rs` (for
//! `hooklog check`), `memtable.rs`.

mod entry;
mod error;
mod files;
mod inspect;
mod layout;
mod limits;
mod manifest;
mod memtable;
mod merge;
mod run;
mod run_reader;
mod run_writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::directory::{IoError, io_error, sync_directory};
pub(crate) use crate::key_index::entry::{Floor, KeyEntry, KeyHash};
pub(crate) use crate::key_index::error::{KeyIndexError, damaged};
use crate::key_index::files::{create, remove, remove_files};
pub(crate) use crate::key_index::inspect::{Inspected, inspect};
use crate::key_index::limits::RUNS_MAX;
pub(crate) use crate::key_index::limits::{KeyIndexStats, Limits};
use crate::key_index::manifest::{ListedRun, Manifest};
use crate::key_index::memtable::{Frozen, Memtable};
use crate::key_index::merge::{Merged, Output};
use crate::key_index::run::Run;
use crate::key_index::run_writer::RunWriter;
use crate::offset::Offset;

/// What [`KeyIndex::merge_step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MergeStep {
    /// There is nothing to merge.
    Idle,
    /// Some runs became one.
    Merged,
    /// It was told to stop.
    Stopped,
}

/// The index. One thread inserts, one at a time seals or merges, any number looks up.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    directory: PathBuf,
    limits: Limits,
    state: RwLock<State>,
    /// Number of the next run. Never given twice, whether the run was completed or not: a list that
    /// was written but not acknowledged may name it.
    next: AtomicU64,
    /// Held while the list of runs changes.
    listing: Mutex<()>,
    sealing: Mutex<()>,
    merging: Mutex<()>,
}

#[derive(Debug)]
struct State {
    memtable: Memtable,
    /// The oldest first.
    runs: Arc<[Arc<Run>]>,
    floor: Floor,
    covered: Offset,
    dropped: u64,
}

impl KeyIndex {
    /// Opens or creates the index. `end` is where the log ends: keys of events at or above it, which
    /// a power cut took, are forgotten for good, since other events will get these offsets.
    pub(crate) fn open(
        directory: &Path,
        limits: Limits,
        end: Offset,
    ) -> Result<Self, KeyIndexError> {
        limits.check()?;
        create(directory)?;
        let listed = Manifest::read(directory)?;
        let mut runs = Vec::with_capacity(listed.runs.len());
        let mut cut = end < listed.covered;
        for ListedRun {
            number,
            end: before,
        } in listed.runs
        {
            let mut run = Run::open(directory, number, before)?;
            cut |= run.cut(end);
            runs.push(Arc::new(run));
        }
        let index = Self {
            directory: directory.to_path_buf(),
            limits,
            state: RwLock::new(State {
                memtable: Memtable::default(),
                runs: runs.into(),
                floor: Floor::default(),
                covered: listed.covered.min(end),
                dropped: 0,
            }),
            next: AtomicU64::new(listed.next),
            listing: Mutex::new(()),
            sealing: Mutex::new(()),
            merging: Mutex::new(()),
        };
        if cut {
            index.relist(None, None, |_, _| ())?;
        }
        index.remove_unlisted()?;
        Ok(index)
    }

    /// Removes an index from disk. Opened again it is empty and covers nothing.
    pub(crate) fn reset(directory: &Path) -> Result<(), IoError> {
        create(directory)?;
        // The list first: runs without one are removed at open, a list without its runs is damage.
        for path in [Manifest::path(directory)]
            .into_iter()
            .filter(|path| path.exists())
        {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        sync_directory(directory)?;
        remove_files(directory, |_| false)
    }

    /// Where reading the log must start to insert the keys that no run has.
    pub(crate) fn covered(&self) -> Offset {
        self.state.read().covered
    }

    /// Inserts a key, in the order of the log. It is as durable as its event: after a restart it is
    /// inserted again.
    pub(crate) fn insert(&self, entry: &KeyEntry) -> Result<(), KeyIndexError> {
        let mut state = self.state.write();
        if state.memtable.len() >= self.limits.memtable_max {
            let limit = self.limits.memtable_max;
            return Err(KeyIndexError::Full { limit });
        }
        state.memtable.insert(entry);
        Ok(())
    }

    /// How many more keys it takes before it must be sealed.
    pub(crate) fn room(&self) -> usize {
        let limit = self.limits.memtable_max;
        limit.saturating_sub(self.state.read().memtable.len())
    }

    /// Whether enough keys wait in memory for a run that is worth its syncs.
    pub(crate) fn seal_is_due(&self) -> bool {
        self.state.read().memtable.len() >= self.limits.seal_entries()
    }

    /// The newest key with this hash that is not below the floor.
    pub(crate) fn get(&self, hash: &KeyHash) -> Result<Option<KeyEntry>, KeyIndexError> {
        let (runs, floor) = {
            let state = self.state.read();
            let found = state.memtable.get(hash);
            if let Some(entry) = found.filter(|entry| state.floor.keeps(&entry.id)) {
                return Ok(Some(entry));
            }
            (Arc::clone(&state.runs), state.floor)
        };
        for run in runs.iter().rev().filter(|run| !run.is_dead(floor)) {
            let found = run.get(hash)?;
            if let Some(entry) = found.filter(|entry| run.counts(entry, floor)) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Writes the keys of events below `up_to` to a run. The caller knows that these events are
    /// durable and that all their keys were inserted.
    pub(crate) fn seal(&self, up_to: Offset) -> Result<(), KeyIndexError> {
        let _sealing = self.sealing.lock();
        loop {
            if self.state.read().runs.len() >= RUNS_MAX {
                return Err(KeyIndexError::Behind { limit: RUNS_MAX });
            }
            let frozen = self.state.write().memtable.freeze(up_to);
            if frozen.is_empty() && frozen.up_to <= self.covered() {
                self.state.write().memtable.thaw();
                return Ok(());
            }
            let run = self.write_run(&frozen)?;
            self.relist(run, Some(frozen.up_to), Vec::extend)?;
            // What an earlier seal could not write came first.
            if frozen.up_to >= up_to {
                return Ok(());
            }
        }
    }

    /// Forgets what is below the floor at once, and deletes runs that have nothing else. Costs no
    /// I/O unless there is such a run.
    pub(crate) fn expire(&self, floor: Floor) -> Result<(), KeyIndexError> {
        let dead = {
            let mut state = self.state.write();
            state.floor.raise(floor);
            state.runs.iter().any(|run| run.is_dead(state.floor))
        };
        if dead {
            self.relist(None, None, |_, _| ())?;
        }
        Ok(())
    }

    /// Merges some runs into one, of at most an eighth of all keys. `stop` ends it early.
    pub(crate) fn merge_step(&self, stop: &AtomicBool) -> Result<MergeStep, KeyIndexError> {
        let _merging = self.merging.lock();
        let (runs, floor) = {
            let state = self.state.read();
            (Arc::clone(&state.runs), state.floor)
        };
        let sizes: Vec<_> = runs.iter().map(|run| run.size()).collect();
        let window = merge::plan(&sizes, self.limits.run_entries_max());
        let Some(inputs) = window.and_then(|window| runs.get(window)) else {
            return Ok(MergeStep::Idle);
        };
        let level = inputs.iter().map(|run| run.header().level).max();
        let output = Output {
            directory: &self.directory,
            number: self.number(),
            level: level.unwrap_or(0).saturating_add(1),
        };
        let run = match merge::merge(output, inputs, floor, stop)? {
            Merged::Stopped => return Ok(MergeStep::Stopped),
            Merged::Run(None) => None,
            Merged::Run(Some(_)) => Some(self.open_run(output.number)?),
        };
        let is_input = |run: &Arc<Run>| inputs.iter().any(|input| Arc::ptr_eq(input, run));
        self.relist(run, None, |runs, run| {
            // Meanwhile runs were added behind the inputs, and some of the inputs may be deleted.
            let place = runs.iter().position(is_input);
            runs.retain(|run| !is_input(run));
            if let (Some(place), Some(run)) = (place, run) {
                runs.insert(place, run);
            }
        })?;
        Ok(MergeStep::Merged)
    }

    /// Reads everything and compares all checksums; says how many keys the runs have.
    #[cfg(test)]
    pub(crate) fn verify(&self) -> Result<u64, KeyIndexError> {
        let runs = Arc::clone(&self.state.read().runs);
        runs.iter().map(|run| run_reader::verify(run)).sum()
    }

    pub(crate) fn stats(&self) -> KeyIndexStats {
        let state = self.state.read();
        let headers = || state.runs.iter().map(|run| run.header());
        KeyIndexStats {
            entries: headers().map(|header| header.entries).sum(),
            runs: state.runs.len(),
            bytes: headers().map(layout::RunHeader::file_bytes).sum(),
            memtable: state.memtable.len(),
            dropped: state.dropped,
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn open_run(&self, number: u64) -> Result<Arc<Run>, KeyIndexError> {
        Run::open(&self.directory, number, Offset::MAX).map(Arc::new)
    }

    fn write_run(&self, frozen: &Frozen) -> Result<Option<Arc<Run>>, KeyIndexError> {
        let floor = self.state.read().floor;
        let mut entries = frozen.sorted();
        entries.retain(|entry| floor.keeps(&entry.id));
        if entries.is_empty() {
            return Ok(None);
        }
        let (number, count) = (self.number(), entries.len() as u64);
        let mut writer = RunWriter::create(&self.directory, number, 0, count)?;
        for entry in &entries {
            writer.push(entry)?;
        }
        writer.finish()?;
        self.open_run(number).map(Some)
    }

    /// Changes the list of runs: on disk, then in memory, then the files that are not listed any
    /// more are deleted. `sealed` drops what was frozen, which `new` has.
    fn relist(
        &self,
        new: Option<Arc<Run>>,
        sealed: Option<Offset>,
        edit: impl FnOnce(&mut Vec<Arc<Run>>, Option<Arc<Run>>),
    ) -> Result<(), KeyIndexError> {
        let _listing = self.listing.lock();
        let (before, covered, floor) = {
            let state = self.state.read();
            let covered = sealed.map_or(state.covered, |up_to| state.covered.max(up_to));
            (Arc::clone(&state.runs), covered, state.floor)
        };
        let candidates: Vec<_> = before.iter().chain(&new).cloned().collect();
        let mut runs = before.to_vec();
        edit(&mut runs, new);
        runs.retain(|run| !run.is_dead(floor));
        let dropped = self.drop_oldest(&mut runs);
        let manifest = Manifest {
            covered,
            next: self.next.load(Ordering::Relaxed),
            runs: runs.iter().map(|run| run.listed()).collect(),
        };
        manifest.write(&self.directory)?;
        let kept: Arc<[Arc<Run>]> = runs.into();
        let thawed = {
            let mut state = self.state.write();
            state.runs = Arc::clone(&kept);
            state.covered = covered;
            state.dropped += dropped;
            sealed.and_then(|_| state.memtable.thaw())
        };
        // Freeing a large table takes a while; no lock is held for it.
        drop(thawed);
        for run in candidates {
            if !kept.iter().any(|kept| Arc::ptr_eq(kept, &run)) {
                remove(run.path());
            }
        }
        Ok(())
    }

    /// Drops the oldest runs until the bound is kept; says how many keys it cost.
    fn drop_oldest(&self, runs: &mut Vec<Arc<Run>>) -> u64 {
        let mut entries: u64 = runs.iter().map(|run| run.header().entries).sum();
        let mut dropped = 0;
        runs.retain(|run| {
            let surplus = entries > self.limits.entries_max;
            if surplus {
                entries -= run.header().entries;
                dropped += run.header().entries;
            }
            !surplus
        });
        dropped
    }

    /// Removes what an interrupted seal or merge left.
    fn remove_unlisted(&self) -> Result<(), IoError> {
        let runs = Arc::clone(&self.state.read().runs);
        remove_files(&self.directory, |path| {
            runs.iter().any(|run| run.path() == path)
        })
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod measure_tests;
