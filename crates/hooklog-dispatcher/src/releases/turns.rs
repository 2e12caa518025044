//! Whose events are released next: of those that are due the earliest first, but an application with a
//! million of them leaves a quarter of each step to the others.
//!
//! Rows of events that wait lie in the order of their times. One place goes through them in that order;
//! another one looks ahead of it for applications that it will not come to for a while.
//!
//! **Invariant:** within a round no event is picked twice, whatever of the steps before is applied; what
//! one step reads and what is remembered is bounded.
//! **Next:** `../releases.rs`, which takes the steps.

use std::collections::{BTreeMap, BTreeSet};

use hooklog_storage::{ApplicationId, Delayed, DelayedPage, Offset, Timestamp};

/// Events that one commit releases, at most.
pub(super) const EVENTS_MAX: usize = 64;
/// Those of them that are picked out of their order, if there are more than a step takes.
const AHEAD_MAX: usize = EVENTS_MAX / 4;
/// Of one application.
const AHEAD_OF_ONE_MAX: usize = 4;
/// Rows that a step looks ahead, at most: a few milliseconds, beside the commit of the step before.
const LOOK_AHEAD: usize = 2048;
/// Events that were picked out of their order and not passed since, at most: 2 MiB.
const PICKED_MAX: usize = 65_536;

/// How far a round has come.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// All that lies before it was looked at.
    behind: Option<Delayed>,
    /// Where it looks ahead from, if not from there.
    ahead: Option<Delayed>,
    /// What was picked ahead.
    picked: BTreeSet<(Timestamp, Offset)>,
}

/// What one step is about.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) events: Vec<Delayed>,
    /// There are no others that are due; when the next one is.
    pub(super) is_all: bool,
    pub(super) next: Option<Timestamp>,
}

fn key(delayed: &Delayed) -> (Timestamp, Offset) {
    (delayed.due, delayed.offset)
}

impl Turns {
    /// Picks the events of a step; `read` returns so many of those that are due behind one of them.
    pub(super) fn pick<E>(
        &mut self,
        mut read: impl FnMut(Option<&Delayed>, usize) -> Result<DelayedPage, E>,
    ) -> Result<Picked, E> {
        let page = read(self.behind.as_ref(), EVENTS_MAX)?;
        let is_all = page.due.len() < EVENTS_MAX;
        let mut events = page.due;
        if !is_all {
            events.truncate(EVENTS_MAX - AHEAD_MAX);
        }
        self.behind = events.last().cloned();
        let last = self.behind.as_ref().map(key);
        events.retain(|event| !self.picked.contains(&key(event)));
        if let Some(last) = last.filter(|_| !is_all) {
            self.picked = self.picked.split_off(&last);
            self.look_ahead(&mut events, last, read)?;
        }
        Ok(Picked {
            events,
            is_all,
            next: page.next,
        })
    }

    /// Adds events of applications that have none in this step.
    fn look_ahead<E>(
        &mut self,
        events: &mut Vec<Delayed>,
        last: (Timestamp, Offset),
        mut read: impl FnMut(Option<&Delayed>, usize) -> Result<DelayedPage, E>,
    ) -> Result<(), E> {
        let others: BTreeSet<ApplicationId> =
            events.iter().map(|event| event.application).collect();
        let from = self.ahead.take().filter(|ahead| key(ahead) > last);
        let page = read(from.as_ref().or(self.behind.as_ref()), LOOK_AHEAD)?;
        let is_end = page.due.len() < LOOK_AHEAD;
        let mut counts: BTreeMap<ApplicationId, usize> = BTreeMap::new();
        let mut count = 0;
        for event in page.due {
            if count == AHEAD_MAX || self.picked.len() >= PICKED_MAX {
                return Ok(());
            }
            let of_one = counts.entry(event.application).or_default();
            let is_new = !self.picked.contains(&key(&event));
            if is_new && !others.contains(&event.application) && *of_one < AHEAD_OF_ONE_MAX {
                *of_one += 1;
                count += 1;
                self.picked.insert(key(&event));
                events.push(event.clone());
            }
            self.ahead = Some(event);
        }
        if is_end {
            self.ahead = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
