//! Recent commits in memory: what readers see before sled shows it.
//!
//! Committed batches are pushed here before their publishers get their ack, so a read after an ack
//! sees the event whether sled has it or not.
//!
//! **Invariant:** what sled does not show yet is here. Commits stand in order without a gap; only
//! applied ones are given up, oldest first, when they are more than the tail's bytes.
//! **Next:** `ring/applier.rs`, which says what the applier has to do; `tail.rs`, which follows the
//! commits; for readers, `read.rs`.

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
    /// Signals that the applier has something to do.
    work: Condvar,
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
    /// Someone waits until everything below is applied.
    asked: Sequence,
    /// Something that is not applied has more than an empty frame.
    has_work: bool,
    /// Unapplied bytes at which the applier wants to be woken.
    enough: usize,
    /// There will be no more commits.
    is_last: bool,
}

impl Inner {
    /// Where a commit is, or would be.
    fn index_of(&self, sequence: Sequence) -> usize {
        let below = |commit: &Arc<Committed>| commit.sequence < sequence;
        self.commits.partition_point(below)
    }

    fn unapplied_count(&self) -> u64 {
        self.next.get().saturating_sub(self.next_applied.get())
    }
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
            asked: next,
            has_work: false,
            enough: usize::MAX,
            is_last: false,
        };
        let (sender, _) = watch::channel(next);
        Self {
            inner: Mutex::new(inner),
            moved: Condvar::new(),
            work: Condvar::new(),
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
        let had = (inner.has_work, inner.unapplied_bytes >= inner.enough);
        inner.bytes += commit.bytes;
        inner.unapplied_bytes += commit.bytes;
        inner.has_work |= commit.bytes > EMPTY_BODY_BYTES;
        let has = (inner.has_work, inner.unapplied_bytes >= inner.enough);
        inner.next = commit.sequence.next();
        inner.end = commit.end();
        inner.commits.push_back(commit);
        let next = inner.next;
        drop(inner);
        if has != had {
            self.work.notify_one();
        }
        self.next.send_replace(next);
    }

    /// Wakes everyone who waits for the applier or for the next commit: neither may come.
    pub(crate) fn wake(&self) {
        self.moved.notify_all();
        self.work.notify_all();
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
        match inner.commits.get(inner.index_of(wanted)) {
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
/// Body bytes of a frame without anything in it: the length of its records.
const EMPTY_BODY_BYTES: usize = 4;

mod applier;

pub(crate) use applier::Work;

#[cfg(test)]
mod tests;
