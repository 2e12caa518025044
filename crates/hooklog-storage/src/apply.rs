//! Behind the acks: takes committed frames, packs them into batches and rows, makes barriers, and frees
//! journal segments.
//!
//! **Invariant:** the only writer to sled. `durable` moves only after a barrier that covers it.
//! Memory gives an event up only after sled shows it.
//! **Next:** `apply/forget.rs`; `ring.rs`, which serves what is not applied yet; on open, `recovery.rs`.

mod forget;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::attempt::Low;
use crate::config::Compression;
use crate::engine::{COMMIT_BYTES_MAX, Engine, EngineError, Op};
use crate::entry::Committed;
use crate::offset::Sequence;
use crate::plan::expire::Removal;
use crate::plan::{Plan, PlanError, Waiting};
use crate::poison::Poison;
use crate::ring::{Ring, Work};
use crate::state::State;
use crate::transfer::pins::Pins;

/// Frames are applied together up to this many bytes: 64 full batches, so that the `fdatasync` of
/// their extent and sled's transaction cost little beside the journal's syncs.
const APPLY_BYTES: usize = 4 << 20;

/// Commits that are this large on average are bulk. While an extent is written a commit waits, and past the
/// page cache longer: with 35 KB a commit appends are 13 % slower, with 571 KB they are twice as fast
/// (`benches/README.md`).
const BULK_COMMIT_BYTES: usize = 128 << 10;

/// Stored bytes removed at a time: as many as one apply adds at most.
const REMOVE_BYTES: usize = APPLY_BYTES;

/// The last sequence that sled holds behind a barrier, shared with the committer.
#[derive(Debug, Default)]
pub(crate) struct Durable(AtomicU64);

impl Durable {
    pub(crate) fn get(&self) -> Option<Sequence> {
        self.0
            .load(Ordering::Acquire)
            .checked_sub(1)
            .map(Sequence::new)
    }

    pub(crate) fn set(&self, sequence: Option<Sequence>) {
        self.0.store(
            sequence.map_or(0, |sequence| sequence.next().get()),
            Ordering::Release,
        );
    }
}

/// Writes commits into sled; used by the applier's thread and by recovery.
///
/// sled may overwrite a segment as soon as `sync_file_range` said that what replaces it is written,
/// which a power cut can undo. It frees a segment only two segments behind its stable end, so at
/// most [`COMMIT_BYTES_MAX`] go into it between two barriers: with sled's fourfold write
/// amplification that is half a segment. (With 16 MiB between barriers, 10 of 15 simulated power
/// cuts left a database that did not open; with 1 MiB 24 of 24 opened.)
#[derive(Debug)]
pub(crate) struct Applier {
    pub(crate) engine: Arc<Engine>,
    pub(crate) state: State,
    compression: Compression,
    /// Bytes that went into sled since the last barrier.
    unbarriered: usize,
    /// The last sequence that sled held at that barrier.
    durable: Option<Sequence>,
    /// Everything that can go below this low end is gone.
    removed: Low,
    /// More could go but for a backup that reads it.
    is_pinned: bool,
    /// Where the rows of events that wait come from.
    pub(crate) waiting: Waiting,
}

impl Applier {
    pub(crate) fn new(engine: Arc<Engine>, state: State, compression: Compression) -> Self {
        // What was there at the open may not be durable yet: recovery makes a barrier of its own.
        Self {
            engine,
            state,
            compression,
            unbarriered: 0,
            durable: None,
            removed: Low::default(),
            is_pinned: false,
            waiting: Waiting::New,
        }
    }

    /// The last sequence that sled holds behind a barrier.
    pub(crate) fn durable(&self) -> Option<Sequence> {
        self.durable
    }

    /// Makes everything applied so far durable.
    pub(crate) fn barrier(&mut self) -> Result<(), EngineError> {
        self.engine.barrier()?;
        self.durable = self.state.applied;
        self.unbarriered = 0;
        Ok(())
    }

    /// Applies commits that follow the state, in groups of a transaction each. Without commits it
    /// writes the state alone.
    pub(crate) fn apply(&mut self, commits: &[Arc<Committed>]) -> Result<(), PlanError> {
        let mut rest = commits;
        loop {
            let (group, after) = rest.split_at(group_len(rest));
            for commit in group {
                self.forget_parked(commit)?;
            }
            self.apply_group(group)?;
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn apply_group(&mut self, group: &[Arc<Committed>]) -> Result<(), PlanError> {
        let commits = group.iter().map(AsRef::as_ref);
        let state = self.state.clone();
        let plan = Plan::of(&self.engine, state, self.compression, self.waiting, commits)?;
        let (mut ops, last, state) = plan.finish()?;
        let total = self.sled_bytes(&ops) + self.sled_bytes(&last);
        if total > COMMIT_BYTES_MAX && group.len() > 1 {
            let (first, second) = group.split_at(group.len() / 2);
            self.apply_group(first)?;
            return self.apply_group(second);
        }
        // Only a commit that stands alone is split; recovery removes what there is of it and replays it.
        while self.sled_bytes(&ops) + self.sled_bytes(&last) > COMMIT_BYTES_MAX && ops.len() > 1 {
            let mut piece = 0;
            let within = |op: &&Op| {
                piece += self.engine.sled_bytes(op);
                piece <= COMMIT_BYTES_MAX
            };
            let count = ops.iter().take_while(within).count().max(1);
            let head: Vec<Op> = ops.drain(..count).collect();
            self.commit(&head)?;
        }
        ops.extend(last);
        let bytes: usize = group.iter().map(|commit| commit.bytes).sum();
        self.commit_as(&ops, bytes >= group.len() * BULK_COMMIT_BYTES)?;
        self.state = state;
        Ok(())
    }

    /// Whether expired batches wait for their removal.
    pub(crate) fn has_expired(&self) -> bool {
        self.state.low() != self.removed
    }

    /// Looks again at what a backup held; `pinned` says whether one still does.
    pub(crate) fn unpin(&mut self, pinned: Option<Low>) {
        if self.is_pinned && pinned.is_none() {
            (self.is_pinned, self.removed) = (false, Low::default());
        }
    }

    /// Removes some of what has expired and lies below `pinned`: about as many bytes as one apply
    /// adds, so that a log in its steady state keeps pace and appends never wait long.
    pub(crate) fn remove_expired(&mut self, pinned: Option<Low>) -> Result<(), PlanError> {
        let low = self.state.low();
        let below = pinned.map_or(low, |pinned| low.min(pinned));
        let removal = match Removal::plan(&self.engine, &self.state, below, REMOVE_BYTES) {
            Ok(removal) => removal,
            Err(error) => {
                // Damage in what nobody may see any more is no reason to stop the log.
                tracing::error!(%error, "retention stops: expired events cannot be removed");
                self.removed = low;
                return Ok(());
            }
        };
        if removal.ops.is_empty() {
            self.removed = low;
            self.is_pinned = below != low;
            return Ok(());
        }
        let Removal { mut ops, state } = removal;
        ops.push(state.op()?);
        self.commit(&ops)?;
        self.state = state;
        Ok(())
    }

    fn sled_bytes(&self, ops: &[Op]) -> usize {
        ops.iter().map(|op| self.engine.sled_bytes(op)).sum()
    }

    /// Writes one transaction, after a barrier if it would be too much for one otherwise.
    fn commit(&mut self, ops: &[Op]) -> Result<(), EngineError> {
        self.commit_as(ops, false)
    }

    fn commit_as(&mut self, ops: &[Op], is_bulk: bool) -> Result<(), EngineError> {
        let bytes = self.sled_bytes(ops);
        if self.unbarriered > 0 && self.unbarriered + bytes > COMMIT_BYTES_MAX {
            self.barrier()?;
        }
        self.engine.commit_as(ops, is_bulk)?;
        self.unbarriered += bytes;
        Ok(())
    }
}

/// How many commits go into the next transaction: at least one.
fn group_len(commits: &[Arc<Committed>]) -> usize {
    let mut bytes = 0;
    let within = |commit: &&Arc<Committed>| {
        bytes += commit.bytes;
        bytes <= APPLY_BYTES
    };
    commits
        .iter()
        .take_while(within)
        .count()
        .max(1)
        .min(commits.len())
}

/// The applier's thread.
pub(crate) struct ApplyLoop {
    pub(crate) applier: Applier,
    pub(crate) ring: Arc<Ring>,
    pub(crate) durable: Arc<Durable>,
    pub(crate) poison: Poison,
    pub(crate) barrier_interval: Duration,
    /// A barrier at the latest after this many bytes of the journal.
    pub(crate) barrier_bytes: usize,
    pub(crate) pins: Arc<Pins>,
}

impl ApplyLoop {
    /// Runs until the committer is gone and all is applied, or until an error. Its clock only paces
    /// barriers and decides nothing that is stored.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.work() {
            self.poison.set(&error.to_string());
            // Whoever waits for room or for an applied state must look at the poison.
            self.ring.wake();
        }
    }

    fn work(&mut self) -> Result<(), PlanError> {
        let mut unbarriered = 0;
        let mut deadline: Option<Instant> = None;
        loop {
            self.applier.unpin(self.pins.lowest());
            let work = self.wait(deadline);
            if work.is_worth {
                deadline.get_or_insert_with(|| Instant::now() + self.barrier_interval);
            }
            let due = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let applies = work.bytes >= APPLY_BYTES || due || work.is_last || work.is_asked;
            let commits = if applies {
                self.ring.unapplied(APPLY_BYTES)
            } else {
                Vec::new()
            };
            if !commits.is_empty() {
                self.applier.apply(&commits)?;
                unbarriered += commits.iter().map(|commit| commit.bytes).sum::<usize>();
                self.ring.applied(self.applier.state.applied);
            }
            if self.applier.has_expired() {
                let pins = Arc::clone(&self.pins);
                pins.removing(|pinned| self.applier.remove_expired(pinned))?;
                deadline.get_or_insert_with(|| Instant::now() + self.barrier_interval);
            }
            let is_done = work.is_last && commits.is_empty();
            if due || is_done || unbarriered >= self.barrier_bytes {
                self.applier.barrier()?;
                deadline = None;
                unbarriered = 0;
            }
            self.durable.set(self.applier.durable());
            if is_done {
                return Ok(());
            }
        }
    }

    /// What there is to do, once that is something, or time for something else.
    fn wait(&self, deadline: Option<Instant>) -> Work {
        // What expired is removed without a pause.
        let longest = if self.applier.has_expired() {
            Duration::ZERO
        } else {
            IDLE_POLL
        };
        self.ring.wait_work(APPLY_BYTES, deadline, longest)
    }
}

/// How long the applier sleeps at most, so that the end of a backup is seen soon.
const IDLE_POLL: Duration = Duration::from_millis(100);
