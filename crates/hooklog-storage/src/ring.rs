//! Recent commits in memory: what readers see before sled shows it.
//!
//! Committed batches are pushed here before their publishers get their ack, so a read after an ack
//! sees the event whether sled has it or not.
//!
//! **Invariant:** what sled does not show yet is here. Commits stand in order without a gap; only
//! applied ones are given up, oldest first, when they are more than the tail's bytes.
//! **Next:** `tail.rs`, which follows it; for readers, `read.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use crate::attempt::Low;
use crate::delivery::Policy;
use crate::entry::{Committed, Entry};
use crate::offset::{Offset, Sequence};
use crate::registry::Registry;
use crate::subscription::Application;
use crate::tail::Listing;

/// Recent commits.
#[derive(Debug)]
pub(crate) struct Ring {
    inner: Mutex<Inner>,
    /// Signals that commits were applied, or that the log is poisoned.
    moved: Condvar,
    /// The next sequence; wakes tails.
    next: watch::Sender<Sequence>,
    /// Counts what shows that the database is not stuck.
    signs: AtomicU64,
    bytes_max: usize,
}

#[derive(Debug)]
struct Inner {
    commits: VecDeque<Arc<Committed>>,
    bytes: usize,
    unapplied_bytes: usize,
    /// The next sequence to be pushed.
    next: Sequence,
    /// The next sequence to be applied.
    next_applied: Sequence,
    end: Offset,
    /// What lies below has expired.
    low: Low,
    /// Someone waits for everything to be applied.
    apply_asked: bool,
}

/// What follows a sequence.
pub(crate) enum Following {
    Commit(Arc<Committed>),
    /// Nothing yet.
    Nothing,
    /// It was given up already.
    Lost,
}

impl Ring {
    pub(crate) fn new(next: Sequence, end: Offset, low: Low, bytes_max: usize) -> Self {
        let inner = Inner {
            commits: VecDeque::new(),
            bytes: 0,
            unapplied_bytes: 0,
            next,
            next_applied: next,
            end,
            low,
            apply_asked: false,
        };
        let (sender, _) = watch::channel(next);
        Self {
            inner: Mutex::new(inner),
            moved: Condvar::new(),
            next: sender,
            signs: AtomicU64::new(0),
            bytes_max,
        }
    }

    /// Shows a durable commit to readers, and applies its changes to the registry in the same
    /// step, so that a snapshot of both is consistent.
    pub(crate) fn push(&self, commit: Arc<Committed>, registry: &RwLock<Registry>) {
        let mut inner = self.inner.lock();
        let mut changes = commit.entries.iter().filter_map(Entry::change).peekable();
        if changes.peek().is_some() {
            let mut registry = registry.write();
            changes.for_each(|change| registry.apply(change));
        }
        for entry in &commit.entries {
            if let Entry::Low(low) = entry {
                inner.low = inner.low.max(*low);
                registry.write().expunged.expire(inner.low);
            }
        }
        inner.bytes += commit.bytes;
        inner.unapplied_bytes += commit.bytes;
        inner.next = commit.sequence.next();
        inner.end = commit.end();
        inner.commits.push_back(commit);
        let next = inner.next;
        drop(inner);
        self.next.send_replace(next);
    }

    /// Notes that sled shows everything up to `sequence`, and gives up what is no longer needed.
    pub(crate) fn applied(&self, sequence: Option<Sequence>) {
        self.sign_of_life();
        let mut inner = self.inner.lock();
        let next_applied = sequence.map_or(Sequence::ZERO, Sequence::next);
        let from = inner.next_applied;
        let done: usize = inner
            .commits
            .iter()
            .filter(|commit| commit.sequence >= from && commit.sequence < next_applied)
            .map(|commit| commit.bytes)
            .sum();
        inner.unapplied_bytes = inner.unapplied_bytes.saturating_sub(done);
        inner.next_applied = next_applied;
        inner.apply_asked &= next_applied < inner.next;
        while inner.bytes > self.bytes_max
            && inner
                .commits
                .front()
                .is_some_and(|commit| commit.sequence < next_applied)
        {
            if let Some(commit) = inner.commits.pop_front() {
                inner.bytes -= commit.bytes;
            }
        }
        self.moved.notify_all();
    }

    /// Wakes everyone who waits for the applier or for the next commit: neither may come.
    pub(crate) fn wake(&self) {
        self.moved.notify_all();
        self.next.send_modify(|_| {});
    }

    /// The applier got on, or is held up by somebody who gets on: whoever waits for it has no reason
    /// to take it for stuck.
    pub(crate) fn sign_of_life(&self) {
        self.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// How many signs of life there were.
    pub(crate) fn signs_of_life(&self) -> u64 {
        self.signs.load(Ordering::Relaxed)
    }

    /// The first offset that memory holds.
    pub(crate) fn memory_starts(&self) -> Offset {
        let inner = self.inner.lock();
        inner
            .commits
            .front()
            .map_or(inner.end, |commit| commit.base)
    }

    /// Waits until at most `bytes` are unapplied; `None` if nothing was heard for `patience`.
    pub(crate) fn wait_room(
        &self,
        bytes: usize,
        patience: Duration,
        stop: impl Fn() -> bool,
    ) -> Room {
        let mut inner = self.inner.lock();
        let mut waited = Duration::ZERO;
        while inner.unapplied_bytes > bytes && !stop() {
            inner.apply_asked = true;
            if waited >= patience {
                return Room::None;
            }
            let step = WAIT_STEP.min(patience.saturating_sub(waited));
            // A wake is a sign of life: what is applied in small pieces is not stuck.
            if self.moved.wait_for(&mut inner, step).timed_out() {
                waited += step;
            }
        }
        Room::Some
    }

    /// Waits until everything pushed so far is applied, or `stop` says so; `None` if there
    /// was no sign of life for `patience`.
    pub(crate) fn wait_applied(&self, patience: Duration, stop: impl Fn() -> bool) -> Room {
        let mut inner = self.inner.lock();
        let target = inner.next;
        let (mut seen, mut waited) = (self.signs_of_life(), Duration::ZERO);
        while inner.next_applied < target && !stop() {
            inner.apply_asked = true;
            if waited >= patience {
                return Room::None;
            }
            self.moved.wait_for(&mut inner, WAIT_STEP);
            waited += WAIT_STEP;
            let signs = self.signs_of_life();
            if signs != seen {
                (seen, waited) = (signs, Duration::ZERO);
            }
        }
        Room::Some
    }

    /// Whether someone waits for the applier.
    pub(crate) fn apply_asked(&self) -> bool {
        self.inner.lock().apply_asked
    }

    /// Bytes of the journal that are not in the database yet.
    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.inner.lock().unapplied_bytes
    }

    /// One past the last committed offset.
    pub(crate) fn end(&self) -> Offset {
        self.inner.lock().end
    }

    /// Where the log begins. The applier removes nothing before this says so.
    pub(crate) fn low(&self) -> Low {
        self.inner.lock().low
    }

    /// The last sequence, and one past the last offset that it committed.
    pub(crate) fn position(&self) -> (Option<Sequence>, Offset) {
        let inner = self.inner.lock();
        let last = inner.next.get().checked_sub(1).map(Sequence::new);
        (last, inner.end)
    }

    /// The commits in memory that end above `from`, and the first offset that memory holds.
    pub(crate) fn hot(&self, from: Offset) -> (Offset, Vec<Arc<Committed>>) {
        let inner = self.inner.lock();
        let first = inner
            .commits
            .front()
            .map_or(inner.end, |commit| commit.base);
        let start = inner.commits.partition_point(|commit| commit.end() <= from);
        (first, inner.commits.range(start..).cloned().collect())
    }

    /// Where the event at an offset is to be found.
    pub(crate) fn at(&self, offset: Offset) -> At {
        let inner = self.inner.lock();
        if offset >= inner.end {
            return At::BeyondEnd;
        }
        let index = inner
            .commits
            .partition_point(|commit| commit.end() <= offset);
        match inner
            .commits
            .get(index)
            .filter(|commit| commit.base <= offset)
        {
            Some(commit) => At::Memory(Arc::clone(commit)),
            None => At::Sled,
        }
    }

    /// All commits in memory.
    pub(crate) fn all(&self) -> Vec<Arc<Committed>> {
        self.inner.lock().commits.iter().cloned().collect()
    }

    /// Wakes at each commit.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Sequence> {
        self.next.subscribe()
    }

    pub(crate) fn following(&self, seen: Option<Sequence>) -> Following {
        let wanted = seen.map_or(Sequence::ZERO, Sequence::next);
        let inner = self.inner.lock();
        if wanted >= inner.next {
            return Following::Nothing;
        }
        let at = inner
            .commits
            .partition_point(|commit| commit.sequence < wanted);
        match inner.commits.get(at) {
            Some(commit) if commit.sequence == wanted => Following::Commit(Arc::clone(commit)),
            _ => Following::Lost,
        }
    }

    /// Every subscription and every application with a policy, with the last sequence and the end that this state belongs to.
    pub(crate) fn snapshot(
        &self,
        registry: &RwLock<Registry>,
    ) -> (Listing, Option<Sequence>, Offset) {
        let inner = self.inner.lock();
        let registry = registry.read();
        let has_policy = |value: &&Arc<Application>| value.policy != Policy::default();
        let listing = Listing {
            subscriptions: registry.all_subscriptions().cloned().collect(),
            applications: registry
                .all_applications()
                .filter(has_policy)
                .cloned()
                .collect(),
        };
        let last = inner.next.get().checked_sub(1).map(Sequence::new);
        (listing, last, inner.end)
    }
}

/// Where an event is.
#[derive(Debug)]
pub(crate) enum At {
    /// In this commit, which is in memory.
    Memory(Arc<Committed>),
    /// Memory has given it up, so sled shows it.
    Sled,
    /// Nowhere: it does not exist yet.
    BeyondEnd,
}

/// Whether the applier made room in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Some,
    None,
}

/// How long a wait sleeps before it looks at the poison again.
const WAIT_STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
