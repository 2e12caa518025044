//! How the delivery of one event to one subscription stands.
//!
//! **Invariant:** it is told from what is on record: the last attempt, the parked deliveries and
//! the cursor; nothing is kept for it.
//! **Next:** `task.rs`, which decides by it what is sent again.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::attempt::{Cursor, CursorState, Outcome};
use crate::codec;
use crate::commit::{APPLIER_PATIENCE, stuck};
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::page::{AttemptsOf, Limit, Order};
use crate::read::{ReadError, corrupt};
use crate::ring::Room;
use crate::shared::Shared;
use crate::state::State;

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivered {
    /// The endpoint took it.
    Yes,
    /// It was given up.
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
}

/// Where one subscription stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The first offset that it has not settled.
    pub position: Offset,
    /// Its first parked deliveries, at most [`Standing::PARKED_MAX`], by offset.
    pub parked: Vec<Offset>,
}

impl Standing {
    /// Most parked deliveries that are looked at: twice what the dispatcher holds of one lane.
    pub const PARKED_MAX: usize = 512;
}

/// Attempts of one event that are read at a time: of an event with one subscription, all of them.
const ATTEMPTS_PAGE: usize = 32;

impl Shared {
    /// Where a subscription stands, with all that was recorded so far.
    pub(crate) fn standing(
        &self,
        id: SubscriptionId,
        start: Offset,
    ) -> Result<Standing, ReadError> {
        let poisoned = || self.poison.reason().is_some();
        if self.ring.wait_applied(APPLIER_PATIENCE, poisoned) == Room::None {
            self.poison.set(&stuck(APPLIER_PATIENCE));
        }
        let cursor = self.engine.get(Family::Cursor, &keys::cursor(id))?;
        let cursor: Option<Cursor> = cursor.map(|row| decode(&row)).transpose()?;
        let state = self.engine.get(Family::State, keys::STATE)?;
        let mark = match state {
            Some(row) => decode::<State>(&row)?.mark,
            None => Offset::ZERO,
        };
        let position = match &cursor {
            Some(cursor) if cursor.state == CursorState::Behind => cursor.floor,
            Some(cursor) => cursor.floor.max(mark),
            None => start.max(mark),
        };
        let mut parked = Vec::new();
        let (mut low, high) = (keys::retry(id, Offset::ZERO), keys::retry(id, Offset::MAX));
        while parked.len() < Standing::PARKED_MAX {
            let bounds = (
                Bound::Included(low.as_slice()),
                Bound::Included(high.as_slice()),
            );
            let Some((key, _)) =
                self.engine
                    .edge(Family::Retry, bounds, crate::engine::Edge::First)?
            else {
                break;
            };
            let Some(offset) = keys::last_number(&key).map(Offset::new) else {
                break;
            };
            parked.push(offset);
            low = keys::retry(id, offset.next());
        }
        Ok(Standing { position, parked })
    }

    /// How the delivery of the event at `offset` to a subscription that stands like this is.
    pub(crate) fn delivered(
        &self,
        offset: Offset,
        subscription: SubscriptionId,
        standing: &Standing,
    ) -> Result<DeliveryStatus, ReadError> {
        let is_parked = standing.parked.binary_search(&offset).is_ok();
        let mut range = AttemptSeq::ZERO..AttemptSeq::MAX;
        while range.start < range.end {
            let limit = Limit {
                items: ATTEMPTS_PAGE,
                bytes: usize::MAX,
            };
            let of = AttemptsOf::Event(offset);
            let page = self.attempts(of, range, Order::Descending, limit)?;
            let own = |one: &&crate::attempt::Attempt| one.attempt.subscription == subscription;
            if let Some(last) = page.attempts.iter().find(own) {
                let delivered = match last.attempt.outcome {
                    Outcome::Retry { .. } => Delivered::Pending,
                    // Somebody asked for it again.
                    _ if is_parked => Delivered::Pending,
                    Outcome::Delivered => Delivered::Yes,
                    Outcome::Exhausted => Delivered::Failed,
                };
                return Ok(DeliveryStatus {
                    delivered,
                    status_code: last.attempt.status_code,
                });
            }
            range = page.rest;
        }
        Ok(DeliveryStatus {
            delivered: if is_parked || offset >= standing.position {
                Delivered::Pending
            } else {
                Delivered::Never
            },
            status_code: None,
        })
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    codec::decode(bytes).map_err(|error| corrupt(Family::Cursor, 0)(&error))
}
