//! The ack window of a lane: outcomes come out of order, the cursor moves in order.
//!
//! **Invariant:** the floor never passes an offset that was started and not settled, and what is
//! kept above it is bounded by the window that the lane starts within.
//! **Next:** `retries.rs`, the parked deliveries of a lane.

use std::collections::BTreeSet;

use hooklog_storage::Offset;

/// Which offsets of a lane were started and which of them are settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    started: BTreeSet<Offset>,
    /// Settled (or parked) and not yet below the floor.
    settled: BTreeSet<Offset>,
}

impl Ack {
    /// The window of a stored cursor: nothing is started, and these above its floor are settled.
    pub(crate) fn resume(settled: impl IntoIterator<Item = Offset>) -> Self {
        Self {
            started: BTreeSet::new(),
            settled: settled.into_iter().collect(),
        }
    }

    /// The first attempt of this offset starts.
    pub(crate) fn start(&mut self, offset: Offset) {
        self.started.insert(offset);
    }

    /// This offset needs nothing more below the cursor: it is delivered, given up, parked or
    /// skipped. It need not have been started.
    pub(crate) fn settle(&mut self, offset: Offset) {
        self.started.remove(&offset);
        self.settled.insert(offset);
    }

    /// Whether this offset is settled above the floor.
    pub(crate) fn is_settled(&self, offset: Offset) -> bool {
        // What is asked for is above all of it, as a rule, and the highest is found at once.
        self.settled.last().is_some_and(|last| offset <= *last) && self.settled.contains(&offset)
    }

    /// Whether one more may start within `window`. The head may always start: a stored cursor of a
    /// larger window must not block the lane for good.
    pub(crate) fn may_start(&self, window: usize) -> bool {
        self.started.is_empty() || self.started.len() + self.settled.len() < window
    }

    /// Whether one more may start within `window` that is not the head.
    pub(crate) fn has_room(&self, window: usize) -> bool {
        self.started.len() + self.settled.len() < window
    }

    /// Whether nothing is started and nothing is remembered above the floor.
    pub(crate) fn is_clear(&self) -> bool {
        self.started.is_empty() && self.settled.is_empty()
    }

    /// The next offset to settle, when `next` is the lowest that is not started yet.
    pub(crate) fn floor(&self, next: Offset) -> Offset {
        self.started
            .first()
            .copied()
            .map_or(next, |first| first.min(next))
    }

    /// Forgets what is settled below the floor.
    pub(crate) fn advance(&mut self, next: Offset) {
        let floor = self.floor(next);
        while self.settled.first().is_some_and(|first| *first < floor) {
            self.settled.pop_first();
        }
    }

    /// What is settled at or above the floor, ascending.
    pub(crate) fn settled_above(&self, floor: Offset) -> Vec<Offset> {
        self.settled.range(floor..).copied().collect()
    }
}

#[cfg(test)]
mod tests;
