//! ③ The tail: follows the log from an offset, from disk until it is level with memory.
//!
//! **Invariant:** records come in offset order without a gap, and changes of the registry in their
//! place between them; a reader that fell too far behind gets the whole registry again.
//! **Next:** the dispatcher's `reader.rs` and `route.rs`; for readers of the past, `read.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::change::Change;
use crate::entry::{Committed, Entry};
use crate::event::Record;
use crate::offset::{Offset, OffsetRange, Sequence};
use crate::page::Limit;
use crate::read::ReadError;
use crate::ring::Following;
use crate::shared::Shared;
use crate::subscription::{Application, Subscription};

/// What a tail reads from the disk at a time while it catches up.
const CATCH_UP: Limit = Limit {
    items: 1024,
    bytes: 1 << 20,
};

/// What a tail yields, in the order of the journal.
#[derive(Clone, Debug)]
pub enum TailItem {
    /// The registry as of now. Comes first, and again if the reader fell so far behind that
    /// changes were missed. Records that follow may be older than this state.
    Registry(Listing),
    /// Committed events, contiguous from where the tail stands.
    Records(Arc<[Record]>),
    /// These events expired before they were read; the tail goes on behind them.
    Expired(OffsetRange),
    /// A change of the registry.
    Change(Change),
}

/// What a reader of the tail must know of the registry.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Every subscription.
    pub subscriptions: Vec<Arc<Subscription>>,
    /// Every application that says how its events are pushed.
    pub applications: Vec<Arc<Application>>,
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
        let woken = shared.ring.subscribe();
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
                let (listing, last, end) = self.shared.ring.snapshot(&self.shared.registry);
                (self.seen, self.catch_up) = (Seen::UpTo(last), end);
                return Ok(Some(TailItem::Registry(listing)));
            };
            if self.next < self.catch_up {
                let mut records = match self.shared.read(self.next, CATCH_UP) {
                    Ok(records) => records,
                    Err(ReadError::Expired { low }) => {
                        let from = std::mem::replace(&mut self.next, low);
                        return Ok(Some(TailItem::Expired(from..low)));
                    }
                    Err(error) => return Err(error),
                };
                records.retain(|record| record.offset < self.catch_up);
                self.shared.without_expunged(&mut records);
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
            let records = self.shared.shared_without_expunged(records);
            self.ready.push_back(TailItem::Records(records));
        }
        let changes = commit.entries.iter().filter_map(Entry::change).cloned();
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
