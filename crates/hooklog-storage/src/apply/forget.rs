//! A subscription that leaves with very many parked deliveries (by hand a million can be asked for)
//! loses most of them before the commit that deletes it is applied, some at a time: a plan holds its
//! rows in memory and writes them in one transaction.
//!
//! **Invariant:** the subscription's own row goes with the first of them, so none is without what was
//! parked for it, whatever a crash leaves; applying the deletion again removes the rest.
//! **Next:** `../plan/change.rs`, which removes what is left.

use std::ops::{Bound, ControlFlow};

use super::Applier;
use crate::change::Change;
use crate::engine::{EngineError, Op};
use crate::entry::{Committed, Entry};
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::offset::Offset;
use crate::plan::PlanError;

/// So many rows may be left to the plan: what a lane of the dispatcher parks of itself, at most.
const LEFT_MAX: usize = 256;
/// Rows of a transaction: about 400 KB of keys and what sled keeps of them until it commits.
const AT_A_TIME: usize = 4096;

/// Rows of one family with their values.
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

impl Applier {
    /// Makes the deletions of a commit small.
    pub(super) fn forget_parked(&mut self, commit: &Committed) -> Result<(), PlanError> {
        for entry in &commit.entries {
            if let Entry::Change(Change::DeleteSubscription(id)) = entry {
                self.forget(*id)?;
            }
        }
        Ok(())
    }

    fn forget(&mut self, id: SubscriptionId) -> Result<(), PlanError> {
        if self.parked(id, LEFT_MAX + 1)?.len() <= LEFT_MAX {
            return Ok(());
        }
        self.forget_pieces(id, |_| ())
    }

    /// Removes all rows of a subscription; `done` is told after each transaction.
    fn forget_pieces(
        &mut self,
        id: SubscriptionId,
        mut done: impl FnMut(&Self),
    ) -> Result<(), PlanError> {
        let mut own = Vec::new();
        for (family, key) in [
            (Family::Registry, keys::subscription(id)),
            (Family::Cursor, keys::cursor(id)),
            (Family::Expired, keys::expired(id)),
            (Family::Health, keys::health(id)),
        ] {
            if let Some(row) = self.engine.get(family, &key)? {
                own.push((family, key, row.to_vec()));
            }
        }
        loop {
            let parked = self.parked(id, AT_A_TIME)?;
            let parked = parked
                .into_iter()
                .map(|(key, row)| (Family::Retry, key, row));
            own.extend(parked);
            if own.is_empty() {
                return Ok(());
            }
            let mut state = self.state.clone();
            let mut ops = Vec::new();
            for (family, key, row) in own.drain(..) {
                state.sum.remove(family, &key, &row);
                ops.push(Op {
                    family,
                    key,
                    value: None,
                });
            }
            ops.push(state.op()?);
            self.commit(&ops)?;
            self.state = state;
            done(self);
        }
    }

    /// The first rows that are parked for a subscription.
    fn parked(&self, id: SubscriptionId, most: usize) -> Result<Rows, EngineError> {
        let (low, high) = (keys::retry(id, Offset::ZERO), keys::retry(id, Offset::MAX));
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        let mut rows = Vec::new();
        self.engine
            .scan_until::<EngineError>(Family::Retry, bounds, |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                Ok(if rows.len() < most {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            })?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests;
