//! Which events come, from memory alone: for those who wait for some of them and hold no place in the
//! log that a [`Tail`](crate::Tail) would keep.
//!
//! **Invariant:** it never reads the disk. Every commit behind its beginning is told of once, in
//! order, or [`Watched::Missed`] says that some were given up before they were looked at.
//! **Next:** `read_application.rs`, which reads what it tells of.

use std::sync::Arc;

use tokio::sync::watch;

use crate::event::Record;
use crate::offset::{Offset, Sequence};
use crate::ring::Following;
use crate::shared::Shared;

/// Tells of events as they are committed.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    woken: watch::Receiver<Sequence>,
    seen: Option<Sequence>,
    end: Offset,
}

/// What a [`Watch`] saw.
#[derive(Clone, Debug)]
pub enum Watched {
    /// The events of one commit, never none.
    Records(Arc<[Record]>),
    /// It fell so far behind that memory had given commits up: anything may have been committed
    /// below [`Watch::end`].
    Missed,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let woken = shared.ring.subscribe();
        let (seen, end) = shared.ring.position();
        Self {
            shared,
            woken,
            seen,
            end,
        }
    }

    /// What was committed next, if anything was. Cheap: it looks at memory.
    pub fn poll_next(&mut self) -> Option<Watched> {
        loop {
            match self.shared.ring.following(self.seen) {
                Following::Commit(commit) => {
                    (self.seen, self.end) = (Some(commit.sequence), commit.end());
                    if !commit.records.is_empty() {
                        let records = Arc::clone(&commit.records);
                        let records = self.shared.shared_without_expunged(records);
                        return Some(Watched::Records(records));
                    }
                }
                Following::Nothing => return None,
                Following::Lost => {
                    (self.seen, self.end) = self.shared.ring.position();
                    return Some(Watched::Missed);
                }
            }
        }
    }

    /// Waits for the next commit since the last call, or for the log to close or to stop.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn wait(&mut self) {
        // Fails only when the log is gone, and `shared` keeps it.
        if self.woken.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Everything below was looked at.
    pub fn end(&self) -> Offset {
        self.end
    }
}

#[cfg(test)]
mod tests;
