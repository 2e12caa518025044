//! The parked deliveries of a lane, by offset and by due time.
//!
//! **Invariant:** both orders hold the same rows. Records are not kept here: a parked delivery
//! costs a few words and is read from the log when it is due.
//! **Next:** `lane.rs`, which decides when they go.

use std::collections::{BTreeMap, BTreeSet};

use hooklog_storage::{Offset, Retry, Timestamp};

/// Parked deliveries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retries {
    rows: BTreeMap<Offset, Retry>,
    by_due: BTreeSet<(Timestamp, Offset)>,
}

impl Retries {
    /// Parks a delivery, or parks it anew.
    pub(crate) fn insert(&mut self, offset: Offset, retry: Retry) {
        if let Some(old) = self.rows.insert(offset, retry) {
            self.by_due.remove(&(old.due, offset));
        }
        self.by_due.insert((retry.due, offset));
    }

    /// Takes out the delivery that is due first, if it is due.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<(Offset, Retry)> {
        if self.first_due()? > now {
            return None;
        }
        let (_, offset) = self.by_due.pop_first()?;
        Some((offset, self.rows.remove(&offset)?))
    }

    /// When the first is due.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Whether the delivery of this offset is parked.
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.rows.contains_key(&offset)
    }

    /// How many are parked.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}
