//! Recent commits in memory, and the tail that follows them.
//!
//! Committed batches are pushed here before their publishers get their ack, so a read after an ack
//! sees the event whether sled has it or not.
//!
//! **Invariant:** what sled does not show yet is here. Commits stand in order without a gap; only
//! applied ones are given up, oldest first, when they are more than the tail's bytes.
//! **Next:** the dispatcher's `route.rs`; for readers, `read.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use crate::change::Change;
use crate::entry::{Committed, Entry};
use crate::event::Record;
use crate::handle::Shared;
use crate::log::Limit;
use crate::offset::{Offset, Sequence};
use crate::read::ReadError;
use crate::registry::Registry;
use crate::subscription::Subscription;

/// What a tail reads from the disk at a time while it catches up.
const CATCH_UP: Limit = Limit {
    items: 1024,
    bytes: 1 << 20,
};

/// Recent commits.
#[derive(Debug)]
pub(crate) struct Ring {
    inner: Mutex<Inner>,
    /// Signals that commits were applied, or that the log is poisoned.
    moved: Condvar,
    /// The next sequence; wakes tails.
    next: watch::Sender<Sequence>,
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
    /// Someone waits for everything to be applied.
    apply_asked: bool,
}

/// What follows a sequence.
enum Following {
    Commit(Arc<Committed>),
    /// Nothing yet.
    Nothing,
    /// It was given up already.
    Lost,
}

impl Ring {
    pub(crate) fn new(next: Sequence, end: Offset, bytes_max: usize) -> Self {
        let inner = Inner {
            commits: VecDeque::new(),
            bytes: 0,
            unapplied_bytes: 0,
            next,
            next_applied: next,
            end,
            apply_asked: false,
        };
        let (sender, _) = watch::channel(next);
        Self {
            inner: Mutex::new(inner),
            moved: Condvar::new(),
            next: sender,
            bytes_max,
        }
    }

    /// Shows a durable commit to readers, and applies its changes to the registry in the same
    /// step, so that a snapshot of both is consistent.
    pub(crate) fn push(&self, commit: Arc<Committed>, registry: &RwLock<Registry>) {
        let mut inner = self.inner.lock();
        let mut changes = commit.entries.iter().filter_map(as_change).peekable();
        if changes.peek().is_some() {
            let mut registry = registry.write();
            changes.for_each(|change| registry.apply(change));
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

    /// Wakes everyone who waits for the applier.
    pub(crate) fn wake(&self) {
        self.moved.notify_all();
    }

    /// Waits until less than `bytes` are unapplied; false if that took longer than `patience`.
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
            self.moved.wait_for(&mut inner, WAIT_STEP);
            waited += WAIT_STEP;
        }
        Room::Some
    }

    /// Waits until everything pushed so far is applied, or `stop` says so; `None` if nothing was
    /// applied for longer than `patience`.
    pub(crate) fn wait_applied(&self, patience: Duration, stop: impl Fn() -> bool) -> Room {
        let mut inner = self.inner.lock();
        let target = inner.next;
        let (mut seen, mut waited) = (inner.next_applied, Duration::ZERO);
        while inner.next_applied < target && !stop() {
            inner.apply_asked = true;
            if waited >= patience {
                return Room::None;
            }
            self.moved.wait_for(&mut inner, WAIT_STEP);
            waited += WAIT_STEP;
            if inner.next_applied > seen {
                (seen, waited) = (inner.next_applied, Duration::ZERO);
            }
        }
        Room::Some
    }

    /// Whether someone waits for the applier.
    pub(crate) fn apply_asked(&self) -> bool {
        self.inner.lock().apply_asked
    }

    /// One past the last committed offset.
    pub(crate) fn end(&self) -> Offset {
        self.inner.lock().end
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

    fn following(&self, seen: Option<Sequence>) -> Following {
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

    /// Every subscription, with the last sequence and the end that this state belongs to.
    fn snapshot(
        &self,
        registry: &RwLock<Registry>,
    ) -> (Vec<Arc<Subscription>>, Option<Sequence>, Offset) {
        let inner = self.inner.lock();
        let subscriptions = registry.read().all_subscriptions().cloned().collect();
        let last = inner.next.get().checked_sub(1).map(Sequence::new);
        (subscriptions, last, inner.end)
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

fn as_change(entry: &Entry) -> Option<&Change> {
    match entry {
        Entry::Change(change) => Some(change),
        Entry::Attempt(_) | Entry::Cursor(..) | Entry::Mark(_) => None,
    }
}

/// What a tail yields, in the order of the journal.
#[derive(Clone, Debug)]
pub enum TailItem {
    /// Every subscription as of now. Comes first, and again if the reader fell so far behind that
    /// changes were missed. Records that follow may be older than this state.
    Registry(Vec<Arc<Subscription>>),
    /// Committed events, contiguous from where the tail stands.
    Records(Arc<[Record]>),
    /// A change of the registry.
    Change(Change),
}

/// Follows the log from an offset.
#[derive(Debug)]
pub struct Tail {
    shared: Arc<Shared>,
    woken: watch::Receiver<Sequence>,
    /// The next offset to yield.
    next: Offset,
    /// Records below this come from `read`, those above from the commits after `seen`.
    catch_up: Offset,
    seen: Seen,
    ready: VecDeque<TailItem>,
}

/// Which commits a tail has seen.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// It needs a snapshot of the registry first.
    Unknown,
    UpTo(Option<Sequence>),
}

impl Tail {
    pub(crate) fn new(shared: Arc<Shared>, from: Offset) -> Self {
        let woken = shared.ring.next.subscribe();
        let (seen, ready) = (Seen::Unknown, VecDeque::new());
        Self {
            shared,
            woken,
            next: from,
            catch_up: Offset::ZERO,
            seen,
            ready,
        }
    }

    /// The next item; waits for it. While it catches up it reads the disk, about 1 MiB a call.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn next(&mut self) -> Result<TailItem, ReadError> {
        loop {
            self.woken.mark_unchanged();
            if let Some(item) = self.poll_next()? {
                return Ok(item);
            }
            // Fails only when the log is gone, and `shared` keeps it.
            if self.woken.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next item, if there is one now. May read the disk.
    pub fn poll_next(&mut self) -> Result<Option<TailItem>, ReadError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let Seen::UpTo(seen) = self.seen else {
                let (subscriptions, last, end) = self.shared.ring.snapshot(&self.shared.registry);
                (self.seen, self.catch_up) = (Seen::UpTo(last), end);
                return Ok(Some(TailItem::Registry(subscriptions)));
            };
            if self.next < self.catch_up {
                let mut records = self.shared.read(self.next, CATCH_UP)?;
                records.retain(|record| record.offset < self.catch_up);
                // `read` fails rather than to return nothing below the log's end.
                self.next = records
                    .last()
                    .map_or(self.catch_up, |record| record.offset.next());
                return Ok(Some(TailItem::Records(records.into())));
            }
            match self.shared.ring.following(seen) {
                Following::Commit(commit) => self.take(&commit),
                Following::Nothing => return Ok(None),
                Following::Lost => self.seen = Seen::Unknown,
            }
        }
    }

    fn take(&mut self, commit: &Committed) {
        self.seen = Seen::UpTo(Some(commit.sequence));
        if !commit.records.is_empty() && commit.end() > self.next {
            // Only a tail that starts in the middle of a commit needs to cut it.
            let records = if commit.base >= self.next {
                Arc::clone(&commit.records)
            } else {
                commit
                    .records
                    .iter()
                    .filter(|r| r.offset >= self.next)
                    .cloned()
                    .collect()
            };
            self.next = commit.end();
            self.ready.push_back(TailItem::Records(records));
        }
        let changes = commit.entries.iter().filter_map(as_change).cloned();
        self.ready.extend(changes.map(TailItem::Change));
    }

    /// Whether the next call of [`poll_next`](Self::poll_next) may read the disk.
    pub fn reads_disk(&self) -> bool {
        self.ready.is_empty() && self.next < self.catch_up
    }

    /// The offset of the next record that it will yield.
    pub fn position(&self) -> Offset {
        self.next
    }
}
