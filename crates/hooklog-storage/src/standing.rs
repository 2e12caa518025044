//! How the delivery of one event to one subscription stands.
//!
//! **Invariant:** this is the one place that tells it, from what is on record: the rows of parked and
//! of delayed deliveries first, then the last attempt, then the cursor; nothing is kept for it.
//! **Next:** `standing/one.rs`, `standing/many.rs`; `task.rs`, which decides by it what is sent again.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Cursor, CursorState, Outcome, Retry};
use crate::codec;
use crate::delayed::Waits;
use crate::engine::Edge;
use crate::entry::StoredAttempt;
use crate::event::Record;
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::read::{ReadError, corrupt};
use crate::shared::Shared;
use crate::state::State;
use crate::subscription::Subscription;
use crate::time::Timestamp;

pub use self::many::Deliveries;

mod many;
mod one;

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivered {
    /// The endpoint took it.
    Yes,
    /// It was given up, or skipped after an attempt.
    Failed,
    /// It waits for its first or its next attempt.
    Pending,
    /// It was passed over without an attempt, or is older than the attempts that are kept.
    Never,
}

/// How the delivery of one event to one subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// Whether it arrived.
    pub delivered: Delivered,
    /// Status of the last answer, if there was one.
    pub status_code: Option<u16>,
    /// How it is parked, if it waits for that.
    pub parked: Option<Retry>,
    /// The time that its publisher gave, if it waits for that.
    pub delayed_until: Option<Timestamp>,
    /// Somebody wanted it settled without another attempt.
    pub is_skipped: bool,
}

impl DeliveryStatus {
    /// None of the subscription's.
    pub(crate) const NEVER: Self = Self {
        delivered: Delivered::Never,
        status_code: None,
        parked: None,
        delayed_until: None,
        is_skipped: false,
    };

    fn new(delivered: Delivered, last: Option<&Last>) -> Self {
        Self {
            delivered,
            status_code: last.and_then(|last| last.status_code),
            ..Self::NEVER
        }
    }

    /// When the next attempt is due, as far as that is known.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.parked.map(|retry| retry.due).or(self.delayed_until)
    }
}

/// Where one subscription stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The first offset that it has not settled.
    pub position: Offset,
    /// Its first parked deliveries, at most [`Standing::PARKED_MAX`], by offset.
    pub parked: Vec<(Offset, Retry)>,
}

impl Standing {
    /// Most parked deliveries that are looked at: twice what the dispatcher holds of one lane.
    pub const PARKED_MAX: usize = 512;
}

/// The last attempt of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    seq: AttemptSeq,
    outcome: Outcome,
    status_code: Option<u16>,
}

impl From<&Attempt> for Last {
    fn from(attempt: &Attempt) -> Self {
        Self {
            seq: attempt.id.seq(),
            outcome: attempt.attempt.outcome,
            status_code: attempt.attempt.status_code,
        }
    }
}

impl From<&StoredAttempt> for Last {
    fn from(stored: &StoredAttempt) -> Self {
        Self {
            seq: stored.id.seq(),
            outcome: stored.attempt.outcome,
            status_code: stored.attempt.status_code,
        }
    }
}

impl Shared {
    /// Where subscriptions stand, with all that was recorded so far.
    pub(crate) fn standings<'s>(
        &self,
        subscriptions: impl Iterator<Item = &'s Subscription>,
    ) -> Result<Vec<Standing>, ReadError> {
        self.all_applied();
        let mark = self.mark()?;
        let standing = |subscription: &Subscription| {
            Ok(Standing {
                position: self.position(subscription, mark)?,
                parked: self.first_of_parked(subscription.id)?,
            })
        };
        subscriptions.map(standing).collect()
    }

    /// The first offsets that subscriptions have not settled, with all that was recorded so far.
    pub(crate) fn positions<'s>(
        &self,
        subscriptions: impl Iterator<Item = &'s Subscription>,
    ) -> Result<Vec<Offset>, ReadError> {
        self.all_applied();
        let mark = self.mark()?;
        subscriptions
            .map(|subscription| self.position(subscription, mark))
            .collect()
    }

    fn mark(&self) -> Result<Offset, ReadError> {
        let state = self.engine.get(Family::State, keys::STATE)?;
        Ok(match state {
            Some(row) => decode::<State>(&row)?.mark,
            None => Offset::ZERO,
        })
    }

    fn position(&self, subscription: &Subscription, mark: Offset) -> Result<Offset, ReadError> {
        let row = self
            .engine
            .get(Family::Cursor, &keys::cursor(subscription.id))?;
        let cursor: Option<Cursor> = row.map(|row| decode(&row)).transpose()?;
        Ok(match cursor {
            Some(cursor) if cursor.state == CursorState::Behind => cursor.floor,
            Some(cursor) => cursor.floor.max(mark),
            None => subscription.start.max(mark),
        })
    }

    fn first_of_parked(&self, id: SubscriptionId) -> Result<Vec<(Offset, Retry)>, ReadError> {
        let mut parked = Vec::new();
        let (mut low, high) = (keys::retry(id, Offset::ZERO), keys::retry(id, Offset::MAX));
        while parked.len() < Standing::PARKED_MAX {
            let bounds = (
                Bound::Included(low.as_slice()),
                Bound::Included(high.as_slice()),
            );
            let Some((key, row)) = self.engine.edge(Family::Retry, bounds, Edge::First)? else {
                break;
            };
            let Some(offset) = keys::last_number(&key).map(Offset::new) else {
                break;
            };
            parked.push((offset, decode(&row)?));
            low = keys::retry(id, offset.next());
        }
        Ok(parked)
    }

    /// The parked delivery of an event to a subscription, if there is one.
    fn parked(&self, id: SubscriptionId, offset: Offset) -> Result<Option<Retry>, ReadError> {
        let row = self.engine.get(Family::Retry, &keys::retry(id, offset))?;
        row.map(|row| decode(&row)).transpose()
    }

    /// How the deliveries of an event to these subscriptions, which stand at these positions, are.
    pub(crate) fn statuses<'s>(
        &self,
        record: &Record,
        subscriptions: impl Iterator<Item = (&'s Subscription, Offset)> + Clone,
    ) -> Result<Vec<DeliveryStatus>, ReadError> {
        let wanted: Vec<_> = subscriptions.clone().map(|(value, _)| value.id).collect();
        let last = self.last_attempts(record.offset, &wanted)?;
        let status = |(value, position): (&Subscription, Offset)| {
            self.status(record, value, position, last.get(&value.id).copied())
        };
        subscriptions.map(status).collect()
    }

    /// The same of one subscription, by its last attempt at the event.
    fn status(
        &self,
        record: &Record,
        value: &Subscription,
        position: Offset,
        last: Option<Last>,
    ) -> Result<DeliveryStatus, ReadError> {
        let (offset, due) = (record.offset, record.event.deliver_at);
        let takes = || offset >= value.start && value.filter.takes(&record.event);
        let waits = match due {
            Some(_) if takes() => self.waits(offset, value)?,
            Some(_) | None => None,
        };
        let told = self.told_by_rows(offset, value, last, waits)?;
        // A delayed event is not found in passing by who was there before its time.
        let is_passed = offset < position || due.is_some_and(|due| value.awaits(offset, due));
        Ok(told.unwrap_or_else(|| {
            let delivered = if !is_passed && takes() {
                Delivered::Pending
            } else {
                Delivered::Never
            };
            DeliveryStatus::new(delivered, None)
        }))
    }

    /// How the delivery stands that this attempt belongs to, whichever attempts came after it.
    pub(crate) fn status_after(
        &self,
        attempt: &Attempt,
        subscription: &Subscription,
    ) -> Result<DeliveryStatus, ReadError> {
        let (offset, id) = (attempt.attempt.event.offset(), subscription.id);
        let last = self.last_attempts(offset, &[id])?.remove(&id);
        self.after(offset, subscription, last.unwrap_or_else(|| attempt.into()))
    }

    /// The same for the last attempt of a delivery.
    pub(crate) fn status_after_last(
        &self,
        attempt: &Attempt,
        subscription: &Subscription,
    ) -> Result<DeliveryStatus, ReadError> {
        let offset = attempt.attempt.event.offset();
        self.after(offset, subscription, attempt.into())
    }

    fn after(
        &self,
        offset: Offset,
        subscription: &Subscription,
        last: Last,
    ) -> Result<DeliveryStatus, ReadError> {
        let waits = self.waits(offset, subscription)?;
        let told = self.told_by_rows(offset, subscription, Some(last), waits)?;
        Ok(told.unwrap_or_else(|| DeliveryStatus::new(Delivered::Never, Some(&last))))
    }

    /// What rows and the last attempt tell; `None` if there is neither.
    fn told_by_rows(
        &self,
        offset: Offset,
        subscription: &Subscription,
        last: Option<Last>,
        waits: Option<Waits>,
    ) -> Result<Option<DeliveryStatus>, ReadError> {
        let id = subscription.id;
        let (mut last, mut parked) = (last, self.parked(id, offset)?);
        if parked.is_none()
            && let Some(Outcome::Retry(_)) = last.map(|last| last.outcome)
        {
            // An attempt is read before its row is applied; without its row it was skipped.
            self.all_applied();
            parked = self.parked(id, offset)?;
            let newer = self.last_attempts(offset, &[id])?.remove(&id);
            let is_newer = newer.map(|newer| newer.seq) > last.map(|last| last.seq);
            if parked.is_none() && is_newer {
                parked = match newer.map(|newer| newer.outcome) {
                    Some(Outcome::Retry(retry)) => Some(retry),
                    Some(Outcome::Delivered | Outcome::Exhausted) | None => None,
                };
                last = newer;
            }
        }
        let waiting = DeliveryStatus::new(Delivered::Pending, last.as_ref());
        if let Some(retry) = parked.filter(|retry| !retry.is_skipped) {
            let parked = Some(retry);
            return Ok(Some(DeliveryStatus { parked, ..waiting }));
        }
        let outcome = last.map(|last| last.outcome);
        if outcome == Some(Outcome::Delivered) {
            return Ok(Some(DeliveryStatus::new(Delivered::Yes, last.as_ref())));
        }
        if let Some(Waits::For(due)) = waits.filter(|_| parked.is_none()) {
            let delayed_until = Some(due);
            return Ok(Some(DeliveryStatus {
                delayed_until,
                ..waiting
            }));
        }
        let is_skipped = parked.is_some()
            || waits == Some(Waits::Skipped)
            || matches!(outcome, Some(Outcome::Retry(_)));
        let delivered = match outcome {
            Some(_) => Delivered::Failed,
            None => Delivered::Never,
        };
        let told = DeliveryStatus {
            is_skipped,
            ..DeliveryStatus::new(delivered, last.as_ref())
        };
        Ok((outcome.is_some() || is_skipped).then_some(told))
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    codec::decode(bytes).map_err(|error| corrupt(Family::Cursor, 0)(&error))
}
