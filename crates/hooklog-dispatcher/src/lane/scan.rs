//! A look for the parked deliveries that a lane wants next: a page of the log at a time, of which it
//! keeps no more than the lane has room for.
//!
//! A million deliveries may be parked for one subscription. Where order counts the lowest are wanted,
//! and the look ends with them. Otherwise those that are due the longest are, but a look that has found
//! enough that are due ends there, and the next one goes on behind it: so each row has its turn once a
//! round, and a load costs a page, not the table.
//!
//! **Invariant:** what is kept is bounded by `most`; a look that ends early, or has left out any, says
//! that there is more.
//! **Next:** `load.rs`, which begins and ends it; `../errand.rs`, which reads the pages.

use std::collections::BTreeMap;

use hooklog_storage::{Offset, Ordering, Retry, Timestamp};

use crate::retries::is_asked;

/// Which goes first: what others may wait for, then the earliest, then the lowest.
type Rank = (bool, Option<Timestamp>, Offset);

/// A look at the parked deliveries of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    is_ordered: bool,
    now: Timestamp,
    most: usize,
    start: Offset,
    /// It has come to the end, and goes on with what lies below its start.
    is_wrapped: bool,
    /// `None`: it has ended.
    next: Option<Offset>,
    best: BTreeMap<Rank, Retry>,
    is_more: bool,
    resume: Offset,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The first one first.
    pub(crate) rows: Vec<(Offset, Retry)>,
    /// The log has others.
    pub(crate) is_more: bool,
    /// Where the next look begins.
    pub(crate) resume: Offset,
}

impl Scan {
    /// A look that begins at an offset (from the first on, where order counts) and keeps at most `most`.
    pub(crate) fn new(ordering: Ordering, now: Timestamp, most: usize, start: Offset) -> Self {
        let is_ordered = ordering != Ordering::None;
        let start = if is_ordered { Offset::ZERO } else { start };
        Self {
            is_ordered,
            now,
            most,
            start,
            is_wrapped: false,
            next: Some(start),
            best: BTreeMap::new(),
            is_more: false,
            resume: Offset::ZERO,
        }
    }

    /// From where on it wants a page; `None` if it has ended.
    pub(crate) fn next(&self) -> Option<Offset> {
        self.next
    }

    /// Takes in the page from there on, for which so many rows were asked.
    pub(crate) fn take(&mut self, page: &[(Offset, Retry)], asked: usize) {
        let is_round = |offset: Offset| self.is_wrapped && offset >= self.start;
        let last = page.last().map(|(offset, _)| offset.next());
        let is_end = page.len() < asked || last.is_none_or(is_round);
        let count = page.partition_point(|(offset, _)| !is_round(*offset));
        for (offset, retry) in page.iter().take(count) {
            self.keep(*offset, *retry);
        }
        self.next = if !is_end {
            last
        } else if self.is_wrapped || self.start == Offset::ZERO {
            None
        } else {
            self.is_wrapped = true;
            Some(Offset::ZERO)
        };
        if let Some(next) = self.next
            && self.is_enough()
        {
            (self.next, self.resume, self.is_more) = (None, next, true);
        }
    }

    /// What it found.
    pub(crate) fn found(self) -> Found {
        let rows = self.best.into_iter();
        Found {
            rows: rows
                .map(|((_, _, offset), retry)| (offset, retry))
                .collect(),
            is_more: self.is_more,
            resume: self.resume,
        }
    }

    fn keep(&mut self, offset: Offset, retry: Retry) {
        let rank = if self.is_ordered {
            // The lowest of those that others may wait for: whatever does not fit waits behind them.
            let due = Some(retry.due).filter(|_| !retry.is_awaited);
            (!retry.is_awaited, due, offset)
        } else {
            let due = if is_asked(&retry) {
                retry.due.min(self.now)
            } else {
                retry.due
            };
            (false, Some(due), offset)
        };
        self.best.insert(rank, retry);
        if self.best.len() > self.most {
            self.best.pop_last();
            self.is_more = true;
        }
    }

    /// Whether nothing better can come, or nothing that would have to go first.
    fn is_enough(&self) -> bool {
        let last = self.best.last_key_value().map(|(rank, _)| rank);
        let is_due = |(is_alone, due, _): &Rank| {
            if self.is_ordered {
                !is_alone
            } else {
                due.is_some_and(|due| due <= self.now)
            }
        };
        self.best.len() >= self.most && last.is_some_and(is_due)
    }
}

#[cfg(test)]
mod tests;
