//! What lanes have read in the log before the tail told of it.
//!
//! A lane that loads its parked deliveries may find one that was asked for, or released, a moment ago,
//! and have it delivered before the tail tells of it. Then there is nothing left to do.
//!
//! **Invariant:** times are the log's, which never go back, so a clock that is set says nothing here. A
//! subscription is remembered until the tail has passed what was read.
//! **Next:** `../lane/load.rs`, which reads it again to be sure.

use std::collections::{BTreeMap, BTreeSet};

use hooklog_storage::{Offset, Retry, SubscriptionId, Timestamp};

use crate::retries::is_asked;

/// How far lanes have read ahead of the tail.
#[derive(Default)]
pub(super) struct Ahead {
    /// The time of the last commit that the tail has brought something of.
    heard: Timestamp,
    read: BTreeMap<SubscriptionId, Timestamp>,
    by_time: BTreeSet<(Timestamp, SubscriptionId)>,
}

impl Ahead {
    /// The tail has brought something of a commit of this time.
    pub(super) fn hear(&mut self, at: Timestamp) {
        self.heard = self.heard.max(at);
        while let Some((until, id)) = self.by_time.first().copied()
            && until < self.heard
        {
            self.by_time.pop_first();
            self.read.remove(&id);
        }
    }

    /// A lane has read these rows. What was asked for, or released, and not tried yet has the time of
    /// that commit, or a later one.
    pub(super) fn read(&mut self, id: SubscriptionId, rows: &[(Offset, Retry)]) {
        let asked = rows.iter().filter(|(_, retry)| is_asked(retry));
        let until = asked.map(|(_, retry)| retry.due).max();
        let Some(until) = until.filter(|until| *until >= self.heard) else {
            return;
        };
        let old = self.read.get(&id).copied();
        if old.is_none_or(|old| old < until) {
            self.forget(id);
            self.read.insert(id, until);
            self.by_time.insert((until, id));
        }
    }

    /// Whether what a commit of this time parked may have been read by this subscription's lane.
    pub(super) fn covers(&self, id: SubscriptionId, at: Timestamp) -> bool {
        self.read.get(&id).is_some_and(|until| at <= *until)
    }

    /// The subscription is gone.
    pub(super) fn forget(&mut self, id: SubscriptionId) {
        if let Some(until) = self.read.remove(&id) {
            self.by_time.remove(&(until, id));
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.read.len()
    }
}
