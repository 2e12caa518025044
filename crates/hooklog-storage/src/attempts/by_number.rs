//! Reading all attempts by their numbers, whoever's they are.
//!
//! **Invariant:** as `../attempts.rs`: memory first, then sled, and nothing is missed in between. One
//! read looks at one batch or at what memory holds.
//! **Next:** `../recovery.rs`.

use std::ops::Range;

use super::{decode, in_memory, pick};
use crate::attempt::Attempt;
use crate::entry::StoredAttempt;
use crate::frame::{Batch, FrameError, Kind};
use crate::keys::{self, Family};
use crate::offset::AttemptSeq;
use crate::page::AttemptPage;
use crate::read::{ReadError, corrupt};
use crate::shared::Shared;
use crate::state::State;
use crate::time::Timestamp;

impl Shared {
    /// Attempts with numbers in `range`, ascending, at most `items_max`; fewer, even none, where a batch
    /// ends or is lost. What has expired is passed over.
    pub(crate) fn attempts_by_number(
        &self,
        range: Range<AttemptSeq>,
        items_max: usize,
    ) -> Result<AttemptPage, ReadError> {
        loop {
            let low = self.ring.low().attempts;
            let start = low.clamp(range.start, range.end.max(range.start));
            match self.attempts_from(start..range.end, items_max) {
                // It may have failed because the low end rose meanwhile.
                Err(_) if self.ring.low().attempts > start => {}
                result => return result,
            }
        }
    }

    fn attempts_from(
        &self,
        range: Range<AttemptSeq>,
        items_max: usize,
    ) -> Result<AttemptPage, ReadError> {
        let hot = self.ring.all();
        let in_range = |stored: &&StoredAttempt| range.contains(&stored.id.seq());
        let memory_starts = in_memory(&hot).next().map(|stored| stored.id.seq());
        if range.is_empty() || memory_starts.is_some_and(|first| first <= range.start) {
            let found = in_memory(&hot).filter(in_range).take(items_max);
            let attempts: Vec<Attempt> = found.cloned().map(Attempt::from).collect();
            let last = attempts.last().filter(|_| attempts.len() == items_max);
            let next = last.map_or(range.end, |last| last.id.seq().next());
            return Ok(AttemptPage {
                attempts,
                rest: next..range.end,
            });
        }
        let number = range.start.get();
        let span = |batch: &Batch| {
            let base = batch.header.base;
            base..base.saturating_add(u64::from(batch.header.count))
        };
        let batch = self.batch(Family::Attempt, Kind::Attempts, number)?;
        let Some(batch) = batch.filter(|batch| span(batch).contains(&number)) else {
            // Above the last one there are none.
            if self.attempts_end()? > range.start {
                return Err(corrupt(Family::Attempt, number)(&FrameError::Short));
            }
            return Ok(AttemptPage {
                attempts: Vec::new(),
                rest: range.end..range.end,
            });
        };
        let Range { start: base, end } = span(&batch);
        let wanted = number..end.min(range.end.get());
        let positions = wanted.take(items_max);
        let positions: Vec<usize> = positions
            .filter_map(|number| usize::try_from(number - base).ok())
            .collect();
        let next = range.start.plus(positions.len() as u64);
        let attempts = pick(&batch, &positions)?;
        Ok(AttemptPage {
            attempts: attempts.into_iter().map(Attempt::from).collect(),
            rest: next..range.end,
        })
    }

    /// One past the last attempt on record.
    fn attempts_end(&self) -> Result<AttemptSeq, ReadError> {
        let hot = self.ring.all();
        if let Some(last) = in_memory(&hot).last() {
            return Ok(last.id.seq().next());
        }
        let state = self.engine.get(Family::State, keys::STATE)?;
        let state = state.map(|row| decode::<State>(&row)).transpose()?;
        Ok(state.map_or(AttemptSeq::ZERO, |state| state.attempts.end))
    }

    /// The numbers of the attempts that were recorded at these times (the end if all are older).
    pub(crate) fn attempts_between(
        &self,
        times: Range<Timestamp>,
    ) -> Result<Range<AttemptSeq>, ReadError> {
        let all = self.ring.low().attempts..self.attempts_end()?;
        let start = self.first_attempt_at(all.clone(), times.start)?;
        let end = self.first_attempt_at(start..all.end.max(start), times.end)?;
        Ok(start..end)
    }

    /// The first of a range that was not recorded before `time`: times of commits never go back.
    fn first_attempt_at(
        &self,
        mut range: Range<AttemptSeq>,
        time: Timestamp,
    ) -> Result<AttemptSeq, ReadError> {
        while range.start < range.end {
            let middle = range.start.plus(range.end.since(range.start) / 2);
            match self.first_attempt_in(middle..range.end)? {
                Some(found) if found.id.timestamp() < time => range.start = found.id.seq().next(),
                Some(_) | None => range.end = middle,
            }
        }
        Ok(range.start)
    }

    fn first_attempt_in(&self, mut range: Range<AttemptSeq>) -> Result<Option<Attempt>, ReadError> {
        while !range.is_empty() {
            let page = self.attempts_by_number(range, 1)?;
            if let Some(first) = page.attempts.into_iter().next() {
                return Ok(Some(first));
            }
            range = page.rest;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
