//! The last attempts of one subscription, at one event after another.
//!
//! Two indexes name attempts by their numbers, that of an event and that of a subscription. What both
//! name is looked for here, so no attempt of another subscription is read: an event may have thousands.
//!
//! **Invariant:** tells what was recorded before it was made, and counts what it costs.
//! **Next:** `../standing/many.rs`, which asks.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{in_memory, pick};
use crate::frame::{FrameError, Kind};
use crate::id::SubscriptionId;
use crate::index::{Named, in_order, next_row};
use crate::keys::Family;
use crate::offset::{AttemptSeq, Offset};
use crate::page::{AttemptsOf, Order};
use crate::read::{ReadError, corrupt};
use crate::shared::Shared;
use crate::standing::Last;

/// What looking for rows of an index costs, in microseconds, about; and reading a batch of attempts.
const ROW_STEPS: u64 = 16;
const BATCH_STEPS: u64 = 64;

/// Finds the last attempts of a subscription.
pub(crate) struct LastAttempts<'a> {
    shared: &'a Shared,
    subscription: SubscriptionId,
    /// What memory held, by event.
    memory: BTreeMap<Offset, Last>,
    /// Everything below is in sled.
    below: AttemptSeq,
    /// Of these numbers it is known which are the subscription's: those that are named.
    known: Range<u64>,
    named: Vec<Named>,
    steps: u64,
}

impl<'a> LastAttempts<'a> {
    pub(crate) fn new(shared: &'a Shared, subscription: SubscriptionId) -> Result<Self, ReadError> {
        let hot = shared.ring.all();
        let mut all = in_memory(&hot).peekable();
        let below = all.peek().map_or(AttemptSeq::MAX, |first| first.id.seq());
        let own = all.filter(|stored| stored.attempt.subscription == subscription);
        // The later one of an event counts.
        let memory = own.map(|stored| (stored.attempt.event.offset(), stored.into()));
        let mut new = Self {
            shared,
            subscription,
            memory: memory.collect(),
            below,
            known: 0..0,
            named: Vec::new(),
            steps: 0,
        };
        // Of one that never had any, this tells all there is to know.
        if let Some(highest) = below.get().checked_sub(1) {
            new.is_own(highest)?;
        }
        Ok(new)
    }

    /// What it cost so far, in steps of about a microsecond.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// The last attempt at the event with this offset.
    pub(crate) fn find(&mut self, event: Offset) -> Result<Option<Last>, ReadError> {
        self.steps += 1;
        if let Some(last) = self.memory.get(&event) {
            return Ok(Some(*last));
        }
        // It never had any below.
        if self.named.is_empty() && self.known.start == 0 && self.known.end >= self.below.get() {
            return Ok(None);
        }
        loop {
            let low = self.shared.ring.low().attempts;
            match self.find_in_sled(event, low) {
                // It may have failed because the low end rose meanwhile; that happens once a second.
                Err(_) if self.shared.ring.low().attempts > low => {}
                result => return result,
            }
        }
    }

    fn find_in_sled(&mut self, event: Offset, low: AttemptSeq) -> Result<Option<Last>, ReadError> {
        let of = AttemptsOf::Event(event);
        let (family, owner) = (of.family(), of.owner());
        let (shared, mut range) = (self.shared, low.get()..self.below.get());
        loop {
            self.steps += ROW_STEPS;
            let row = next_row(&shared.engine, family, &owner, &range, Order::Descending)?;
            let Some(row) = row else {
                return Ok(None);
            };
            range.end = row.span.start;
            let mut named = row.named;
            named.retain(|named| of.is_named(named));
            for number in in_order(named, Order::Descending) {
                self.steps += 1;
                if self.is_own(number)?
                    && let Some(last) = self.read(number)?
                {
                    return Ok(Some(last));
                }
            }
        }
    }

    /// Whether the attempt with this number is one of the subscription's.
    fn is_own(&mut self, number: u64) -> Result<bool, ReadError> {
        if !self.known.contains(&number) {
            self.steps += ROW_STEPS;
            let of = AttemptsOf::Subscription(self.subscription);
            let (engine, below) = (&self.shared.engine, 0..number.saturating_add(1));
            let row = next_row(engine, of.family(), &of.owner(), &below, Order::Descending)?;
            // Rows do not overlap: what lies between the row and the number is no one's.
            self.known = row.as_ref().map_or(0, |row| row.span.start)..below.end;
            self.named = row.map_or_else(Vec::new, |row| row.named);
        }
        let before = |named: &Named| named.positions.end <= number;
        let found = self.named.get(self.named.partition_point(before));
        Ok(found.is_some_and(|named| named.positions.contains(&number)))
    }

    /// The attempt with this number, unless it was lost.
    fn read(&mut self, number: u64) -> Result<Option<Last>, ReadError> {
        self.steps += BATCH_STEPS;
        let missing = || corrupt(Family::Attempt, number)(&FrameError::Short);
        let batch = self
            .shared
            .batch(Family::Attempt, Kind::Attempts, number)?
            .ok_or_else(missing)?;
        let position = number.checked_sub(batch.header.base);
        let position = position.filter(|at| *at < u64::from(batch.header.count));
        let position = usize::try_from(position.ok_or_else(missing)?).map_err(|_| missing())?;
        Ok(pick(&batch, &[position])?.first().map(Last::from))
    }
}
