//! Where subscriptions stand, for the dispatcher: what is parked for them is read a page at a time.
//!
//! A million deliveries may be parked for one subscription (their events were published for one time),
//! so nothing here reads all of them.
//!
//! **Invariant:** what one call returns is bounded by what it is asked for, and by the number of
//! subscriptions, never by the number of parked deliveries.
//! **Next:** `standing.rs`, how one delivery stands.

use std::ops::{Bound, ControlFlow};

use crate::attempt::{Cursor, Retry};
use crate::codec;
use crate::engine::Edge;
use crate::health::Health;
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::log::EventLog;
use crate::offset::Offset;
use crate::read::{ReadError, corrupt};
use crate::shared::Shared;
use crate::state::State;

/// Where subscriptions stand, without what is parked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DispatchState {
    /// The dispatcher's mark.
    pub mark: Offset,
    /// Cursors by subscription, ascending.
    pub cursors: Vec<(SubscriptionId, Cursor)>,
    /// Subscriptions for which something is parked, ascending.
    pub parked: Vec<SubscriptionId>,
    /// Endpoints that are not known to be well, by subscription, ascending.
    pub health: Vec<(SubscriptionId, Health)>,
}

impl EventLog {
    /// Where every subscription stands, with all that was recorded so far. Blocks until it is
    /// applied; meant for the dispatcher's start.
    pub fn dispatch_state(&self) -> Result<DispatchState, ReadError> {
        self.handle.shared.dispatch_state(None)
    }

    /// The same of one subscription.
    pub fn dispatch_state_of(&self, of: SubscriptionId) -> Result<DispatchState, ReadError> {
        self.handle.shared.dispatch_state(Some(of))
    }

    /// Subscriptions behind one of them (`None`: from the first on) for which something is parked, as
    /// far as is applied.
    pub fn parked_subscriptions(
        &self,
        behind: Option<SubscriptionId>,
        most: usize,
    ) -> Result<Vec<SubscriptionId>, ReadError> {
        self.handle.shared.parked_subscriptions(behind, most)
    }

    /// Deliveries that are parked for a subscription, by offset from `from` on, as far as is applied.
    /// Fewer than `most` are all there are.
    pub fn parked(
        &self,
        of: SubscriptionId,
        from: Offset,
        most: usize,
    ) -> Result<Vec<(Offset, Retry)>, ReadError> {
        self.handle.shared.parked_page(of, from, most)
    }
}

impl Shared {
    /// Where all subscriptions, or one, stand.
    pub(crate) fn dispatch_state(
        &self,
        of: Option<SubscriptionId>,
    ) -> Result<DispatchState, ReadError> {
        self.all_applied();
        let mut result = DispatchState::default();
        if let Some(state) = self.engine.get(Family::State, keys::STATE)? {
            result.mark = decode::<State>(&state)?.mark;
        }
        // Cursors and what is known of endpoints have the same keys.
        let of_one = of.map(keys::cursor);
        let bounds = match &of_one {
            Some(key) => (
                Bound::Included(key.as_slice()),
                Bound::Included(key.as_slice()),
            ),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        self.engine
            .scan::<ReadError>(Family::Cursor, bounds, |key, value| {
                if let Some(id) = keys::subscription_of(key) {
                    result.cursors.push((id, decode(value)?));
                }
                Ok(())
            })?;
        self.engine
            .scan::<ReadError>(Family::Health, bounds, |key, value| {
                if let Some(id) = keys::subscription_of(key) {
                    result.health.push((id, decode(value)?));
                }
                Ok(())
            })?;
        result.parked = match of {
            Some(id) if self.parked_page(id, Offset::ZERO, 1)?.is_empty() => Vec::new(),
            Some(id) => vec![id],
            None => self.parked_subscriptions(None, usize::MAX)?,
        };
        Ok(result)
    }

    /// A look for each subscription that is found, however much is parked for it.
    fn parked_subscriptions(
        &self,
        behind: Option<SubscriptionId>,
        most: usize,
    ) -> Result<Vec<SubscriptionId>, ReadError> {
        let mut found = Vec::new();
        let mut behind = behind;
        while found.len() < most {
            let last = behind.map(|id| keys::retry(id, Offset::MAX));
            let low = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let first = (self.engine).edge(Family::Retry, (low, Bound::Unbounded), Edge::First)?;
            let Some(id) = first.and_then(|(key, _)| keys::subscription_of(&key)) else {
                break;
            };
            found.push(id);
            behind = Some(id);
        }
        Ok(found)
    }

    fn parked_page(
        &self,
        of: SubscriptionId,
        from: Offset,
        most: usize,
    ) -> Result<Vec<(Offset, Retry)>, ReadError> {
        let (low, high) = (keys::retry(of, from), keys::retry(of, Offset::MAX));
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        let mut rows = Vec::new();
        let visit = |key: &[u8], value: &[u8]| {
            if rows.len() >= most {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(offset) = keys::last_number(key) {
                let retry = decode(value)?;
                rows.push((Offset::new(offset), retry));
            }
            Ok(ControlFlow::Continue(()))
        };
        self.engine
            .scan_until::<ReadError>(Family::Retry, bounds, visit)?;
        Ok(rows)
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    codec::decode(bytes).map_err(|error| corrupt(Family::Cursor, 0)(&error))
}

#[cfg(test)]
mod tests;
