//! How the deliveries of many events to one subscription stand, one event after another.
//!
//! **Invariant:** tells what `../standing.rs` tells, as of the time it was made or later, and says when
//! it has cost too much: a list of an endpoint's messages looks at thousands that are none of its.
//! **Next:** `../task.rs`.

use super::DeliveryStatus;
use crate::attempts::LastAttempts;
use crate::event::Record;
use crate::offset::Offset;
use crate::read::ReadError;
use crate::shared::Shared;
use crate::subscription::Subscription;

/// What all events may cost together, in steps of about a microsecond: half a second, which is what
/// 5,000 events with an attempt each take.
const STEPS_MAX: u64 = 500_000;
/// What one costs that was skipped after an attempt: all attempts at the event are read for it.
const SKIPPED_STEPS: u64 = 2_000;

/// How deliveries to one subscription stand.
pub struct Deliveries<'a> {
    shared: &'a Shared,
    subscription: &'a Subscription,
    position: Offset,
    last: LastAttempts<'a>,
    /// Steps beside those of `last`.
    steps: u64,
    steps_max: u64,
}

impl<'a> Deliveries<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        subscription: &'a Subscription,
        position: Offset,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            shared,
            subscription,
            position,
            last: LastAttempts::new(shared, subscription.id)?,
            steps: 0,
            steps_max: STEPS_MAX,
        })
    }

    /// How the delivery of one more event stands; `None` if those before it have cost too much. The
    /// first is always told.
    pub fn status(&mut self, record: &Record) -> Result<Option<DeliveryStatus>, ReadError> {
        if self.steps() >= self.steps_max {
            return Ok(None);
        }
        let last = self.last.find(record.offset)?;
        let (subscription, position) = (self.subscription, self.position);
        let status = self.shared.status(record, subscription, position, last)?;
        if status.is_skipped {
            self.steps += SKIPPED_STEPS;
        }
        Ok(Some(status))
    }

    fn steps(&self) -> u64 {
        self.steps + self.last.steps()
    }
}

impl std::fmt::Debug for Deliveries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = self.subscription.id;
        write!(f, "Deliveries(to {of}, {} steps)", self.steps())
    }
}

#[cfg(test)]
pub(super) mod tests;
