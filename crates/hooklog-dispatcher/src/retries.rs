//! The parked deliveries of a lane, by offset and by due time.
//!
//! **Invariant:** both orders hold the same rows, but for the due time of those that were released.
//! Records are not kept here: a parked delivery costs a few words and is read from the log when it is
//! due.
//! **Next:** `lane.rs`, which decides when they go.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use hooklog_storage::{Cause, Offset, Retry, Timestamp};

/// Due before everything else.
pub(crate) const AT_ONCE: Timestamp = Timestamp::from_millis(0);

/// Parked deliveries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retries {
    rows: BTreeMap<Offset, Retry>,
    /// Those that are due at once, whatever their row says.
    released: BTreeSet<Offset>,
    by_due: BTreeSet<(Timestamp, Offset)>,
    /// Those of them that were asked for, or released, and not tried yet. The log's time says when that
    /// was, which is ahead of a clock that was set back; they are due whatever that says.
    asked: BTreeSet<(Timestamp, Offset)>,
}

impl Retries {
    /// Parks a delivery, or parks it anew.
    pub(crate) fn insert(&mut self, offset: Offset, retry: Retry) {
        self.remove(offset);
        self.rows.insert(offset, retry);
        self.by_due.insert((retry.due, offset));
        if is_asked(&retry) {
            self.asked.insert((retry.due, offset));
        }
    }

    /// Takes out the delivery of this offset.
    pub(crate) fn remove(&mut self, offset: Offset) -> Option<Retry> {
        let retry = self.rows.remove(&offset)?;
        let due = if self.released.remove(&offset) {
            AT_ONCE
        } else {
            retry.due
        };
        self.by_due.remove(&(due, offset));
        self.asked.remove(&(retry.due, offset));
        Some(retry)
    }

    /// The delivery of this offset.
    pub(crate) fn get(&self, offset: Offset) -> Option<&Retry> {
        self.rows.get(&offset)
    }

    /// All, by offset, from one on.
    pub(crate) fn from(&self, offset: Offset) -> impl Iterator<Item = (Offset, &Retry)> {
        self.rows
            .range(offset..)
            .map(|(offset, row)| (*offset, row))
    }

    /// Those that are due, the longest first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = Offset> {
        let due = self.by_due.iter().take_while(move |(due, _)| *due <= now);
        let ahead = self.asked.range(after(now));
        due.chain(ahead).map(|(_, offset)| *offset)
    }

    /// When the first that is not due at `now` will be.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let mut later = self.by_due.range(after(now));
        let next = later.find(|row| !self.asked.contains(row));
        next.map(|(due, _)| *due)
    }

    /// The clock was set back: what waits for its time by the schedule waits no longer than before.
    pub(crate) fn set_back(&mut self, by: Duration) {
        self.by_due.clear();
        for (offset, row) in &mut self.rows {
            if !is_asked(row) {
                row.due = earlier(row.due, by);
            }
            let is_released = self.released.contains(offset);
            let due = if is_released { AT_ONCE } else { row.due };
            self.by_due.insert((due, *offset));
        }
    }

    /// Those that wait because of their endpoint are due at once, in log order.
    pub(crate) fn release(&mut self) {
        let waiting: Vec<_> = self
            .from(Offset::ZERO)
            .filter(|(_, row)| row.cause == Cause::Endpoint)
            .map(|(offset, _)| offset)
            .collect();
        for offset in waiting {
            self.release_one(offset);
        }
    }

    /// This one is due at once; its row keeps the time of the schedule.
    pub(crate) fn release_one(&mut self, offset: Offset) {
        if let Some(row) = self.rows.get(&offset)
            && self.released.insert(offset)
        {
            self.by_due.remove(&(row.due, offset));
            self.by_due.insert((AT_ONCE, offset));
        }
    }

    /// Whether the delivery of this offset, which is parked, is due.
    pub(crate) fn is_due(&self, offset: Offset, now: Timestamp) -> bool {
        let row = self.rows.get(&offset);
        let is_due = |row: &Retry| row.due <= now || is_asked(row);
        self.released.contains(&offset) || row.is_some_and(is_due)
    }

    /// Whether any is due.
    pub(crate) fn is_due_any(&self, now: Timestamp) -> bool {
        self.first_due().is_some_and(|due| due <= now) || !self.asked.is_empty()
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

/// Whether a delivery waits for no time.
pub(crate) fn is_asked(retry: &Retry) -> bool {
    retry.number == 0
}

/// Everything behind a time.
fn after(now: Timestamp) -> impl RangeBounds<(Timestamp, Offset)> {
    (Bound::Excluded((now, Offset::MAX)), Bound::Unbounded)
}

/// A time of before, by a clock that was set back by so much. One that stands for none stays so.
pub(crate) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    if at == Timestamp::default() {
        return at;
    }
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(by).max(0))
}
