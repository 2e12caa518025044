//! The last attempts of one event at many subscriptions.
//!
//! The newest attempts of the event are read, whoever they are of: as a rule that finds all. Whoever is
//! left is looked for in the indexes, which read no attempt of another: one subscription to which the event
//! was sent again thousands of times must not make the others dear, nor hide them.
//!
//! **Invariant:** so many attempts are read as there are subscriptions, times a small number, unless looking
//! for them took longer than a request may.
//! **Next:** `many.rs`, the other way round.

use std::collections::{BTreeMap, BTreeSet};

use super::Last;
use crate::attempts::LastAttempts;
use crate::id::SubscriptionId;
use crate::offset::{AttemptSeq, Offset};
use crate::page::{AttemptsOf, Limit, Order};
use crate::read::ReadError;
use crate::shared::Shared;

/// Attempts of one event that are read at a time: of an event with one subscription, all of them.
const ATTEMPTS_PAGE: usize = 32;
/// Pages that are read before the indexes are asked: with the ten attempts of the default schedule the
/// last one of an endpoint is behind two of each other endpoint on average.
const PAGES: usize = 4;
/// What the indexes may cost, in steps of about a microsecond, as of `many.rs`.
const STEPS_MAX: u64 = 500_000;
/// Attempts of one event that are read where the indexes cost more: 500 subscriptions with all ten
/// attempts of the default schedule.
const ATTEMPTS_MAX: usize = 5_000;

/// A search for the last attempts of an event.
struct Search<'a> {
    shared: &'a Shared,
    event: Offset,
    /// Attempts that are read at a time.
    page: usize,
    found: BTreeMap<SubscriptionId, Last>,
    /// Those that were not found.
    open: BTreeSet<SubscriptionId>,
    /// The attempts that were not read.
    rest: std::ops::Range<AttemptSeq>,
    looked: usize,
    steps: u64,
}

impl Shared {
    /// The last attempts of an event at these subscriptions.
    pub(super) fn last_attempts(
        &self,
        event: Offset,
        wanted: &[SubscriptionId],
    ) -> Result<BTreeMap<SubscriptionId, Last>, ReadError> {
        let mut search = Search::new(self, event, wanted);
        search.run(STEPS_MAX)?;
        Ok(search.found)
    }
}

impl<'a> Search<'a> {
    fn new(shared: &'a Shared, event: Offset, wanted: &[SubscriptionId]) -> Self {
        Self {
            shared,
            event,
            page: ATTEMPTS_PAGE.max(wanted.len().min(ATTEMPTS_MAX / PAGES)),
            found: BTreeMap::new(),
            open: wanted.iter().copied().collect(),
            rest: AttemptSeq::ZERO..AttemptSeq::MAX,
            looked: 0,
            steps: 0,
        }
    }

    fn run(&mut self, steps_max: u64) -> Result<(), ReadError> {
        self.read(self.page * PAGES)?;
        self.ask_indexes(steps_max)?;
        self.read(ATTEMPTS_MAX)
    }

    /// Reads the newest attempts that were not read, until so many were.
    fn read(&mut self, looked_max: usize) -> Result<(), ReadError> {
        let limit = Limit {
            items: self.page,
            bytes: usize::MAX,
        };
        while !self.rest.is_empty() && self.looked < looked_max && !self.open.is_empty() {
            let of = AttemptsOf::Event(self.event);
            let rest = self.rest.clone();
            let page = self.shared.attempts(of, rest, Order::Descending, limit)?;
            self.looked += page.attempts.len();
            for attempt in &page.attempts {
                let id = attempt.attempt.subscription;
                if self.open.remove(&id) {
                    self.found.insert(id, attempt.into());
                }
            }
            self.rest = page.rest;
        }
        Ok(())
    }

    /// Looks for whoever is left, one by one.
    fn ask_indexes(&mut self, steps_max: u64) -> Result<(), ReadError> {
        while !self.rest.is_empty()
            && self.steps < steps_max
            && let Some(id) = self.open.pop_first()
        {
            let mut last = LastAttempts::new(self.shared, id)?;
            if let Some(last) = last.find(self.event)? {
                self.found.insert(id, last);
            }
            self.steps += last.steps();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
