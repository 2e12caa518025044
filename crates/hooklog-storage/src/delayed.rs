//! Events that are in the log and wait for their time to be pushed.
//!
//! Each has a row until all its deliveries are released. A subscription gets such an event when it is
//! released if it was there before that time and may take events of that offset; one that is made later
//! finds the event in the log like any other, for its time has come by then.
//!
//! **Invariant:** a step of a release (what is parked, and how far it came) is one commit, made against
//! the registry of its place in the journal: after a crash it goes on behind its last step.
//! **Next:** `plan/delay.rs`, the rows; the dispatcher's `releases.rs`, which takes the steps.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::{Change, ChangeError};
use crate::codec;
use crate::engine::{Edge, EngineError};
use crate::id::{ApplicationId, SubscriptionId};
use crate::keys::{self, Family};
use crate::log::EventLog;
use crate::offset::Offset;
use crate::read::{ReadError, corrupt};
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// An event that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// That time.
    pub due: Timestamp,
    /// Its place in the log.
    pub offset: Offset,
    /// Its application.
    pub application: ApplicationId,
    /// Subscriptions up to this one were released to already.
    pub after: Option<SubscriptionId>,
}

/// Some of those whose time has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayedPage {
    /// The earliest first.
    pub due: Vec<Delayed>,
    /// When the next one after these is due.
    pub next: Option<Timestamp>,
}

/// Deliveries of an event are parked, due at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// When it was to be pushed.
    pub due: Timestamp,
    /// Which event.
    pub offset: Offset,
    /// When it happens: the time of its commit.
    pub at: Timestamp,
    /// Hash of the event's ordering key.
    pub key: Option<u64>,
    /// To whom.
    pub to: Vec<SubscriptionId>,
    /// What is to follow: subscriptions behind this one. `None`: nothing.
    pub rest: Option<SubscriptionId>,
}

/// One step of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseStep {
    /// What it goes on with.
    pub of: Delayed,
    /// Hash of the event's ordering key.
    pub key: Option<u64>,
    /// Subscriptions that were looked at, ascending.
    pub seen: Vec<SubscriptionId>,
    /// Those of them that are to have it.
    pub to: Vec<SubscriptionId>,
    /// Whether there are more behind them.
    pub is_last: bool,
}

/// The row of an event that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DelayedRow {
    pub(crate) application: ApplicationId,
    pub(crate) after: Option<SubscriptionId>,
}

/// What an event waits for, as one subscription has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For this time.
    For(Timestamp),
    /// For nothing: this delivery is skipped.
    Skipped,
}

impl Subscription {
    /// Whether it gets an event of that offset when the event is released at its time, rather than
    /// with those around it in the log.
    pub fn awaits(&self, offset: Offset, due: Timestamp) -> bool {
        self.created < due && self.start <= offset
    }
}

impl EventLog {
    /// Events whose time has come by `until`, behind one of them or from the first on. Blocks until
    /// what was committed before is applied.
    pub fn delayed(
        &self,
        behind: Option<&Delayed>,
        until: Timestamp,
        items_max: usize,
    ) -> Result<DelayedPage, ReadError> {
        self.handle.shared.all_applied();
        self.delayed_as_applied(behind, until, items_max)
    }

    /// The same as far as is applied.
    pub fn delayed_as_applied(
        &self,
        behind: Option<&Delayed>,
        until: Timestamp,
        items_max: usize,
    ) -> Result<DelayedPage, ReadError> {
        self.handle.shared.delayed(behind, until, items_max)
    }

    /// Subscriptions that are not to get an event that waits, as far as is applied.
    pub fn delayed_skips(&self, offset: Offset) -> Result<BTreeSet<SubscriptionId>, ReadError> {
        let shared = &self.handle.shared;
        let id = |byte| keys::delayed_skip(offset, SubscriptionId::from_bytes([byte; 20]));
        let (low, high) = (id(0), id(0xff));
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        let mut found = BTreeSet::new();
        let visit = |key: &[u8], _: &_| {
            let id = key.last_chunk::<20>();
            found.extend(id.map(|id| SubscriptionId::from_bytes(*id)));
            Ok::<_, EngineError>(())
        };
        shared.engine.scan(Family::Delayed, bounds, visit)?;
        Ok(found)
    }

    /// Takes steps of releases, in one commit. A step is left out if its time has not come by the wall
    /// clock, or if a subscription that it did not look at is to have the event: look again.
    /// Returns how many were left out.
    pub async fn release(&self, steps: Vec<ReleaseStep>) -> Result<usize, ChangeError> {
        self.change(move |registry, turn| {
            let count = steps.len();
            let is_current = |step: &ReleaseStep| {
                let Delayed { due, offset, .. } = step.of;
                let low = step.of.after.map_or(Bound::Unbounded, Bound::Excluded);
                let high = step.seen.last().filter(|_| !step.is_last);
                let high = high.map_or(Bound::Unbounded, |id| Bound::Included(*id));
                let mut all = registry.subscriptions(step.of.application, (low, high));
                turn.wall >= due
                    && all.all(|value| {
                        !value.awaits(offset, due) || step.seen.binary_search(&value.id).is_ok()
                    })
            };
            let steps = steps.into_iter().filter(is_current);
            let changes = steps.map(|step| {
                Change::Release(Arc::new(Release {
                    due: step.of.due,
                    offset: step.of.offset,
                    at: turn.now,
                    key: step.key,
                    to: step.to,
                    rest: step.seen.last().copied().filter(|_| !step.is_last),
                }))
            });
            let changes: Vec<_> = changes.collect();
            let left_out = count - changes.len();
            Ok((changes, left_out))
        })
        .await
    }
}

impl Shared {
    fn delayed(
        &self,
        behind: Option<&Delayed>,
        until: Timestamp,
        items_max: usize,
    ) -> Result<DelayedPage, ReadError> {
        let last = keys::delayed(Timestamp::from_millis(i64::MAX), Offset::MAX);
        let first = match behind {
            Some(behind) => keys::delayed(behind.due, behind.offset.next()),
            None => keys::delayed(Timestamp::default(), Offset::ZERO),
        };
        let bounds = (
            Bound::Included(first.as_slice()),
            Bound::Included(last.as_slice()),
        );
        let mut page = DelayedPage::default();
        let visit = |key: &[u8], value: &[u8]| {
            let Some((due, offset)) = keys::delayed_parts(key) else {
                return Ok(ControlFlow::Continue(()));
            };
            if due > until || page.due.len() >= items_max {
                page.next = Some(due);
                return Ok(ControlFlow::Break(()));
            }
            let damaged = |error: codec::CodecError| corrupt(Family::Delayed, offset.get())(&error);
            let row: DelayedRow = codec::decode(value).map_err(damaged)?;
            page.due.push(Delayed {
                due,
                offset,
                application: row.application,
                after: row.after,
            });
            Ok(ControlFlow::Continue(()))
        };
        self.engine
            .scan_until::<ReadError>(Family::Delayed, bounds, visit)?;
        Ok(page)
    }

    /// The lowest offset of those that wait.
    pub(crate) fn first_delayed(&self) -> Result<Option<Offset>, ReadError> {
        let (low, high) = (
            keys::delayed_at(Offset::ZERO),
            keys::delayed_at(Offset::MAX),
        );
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        let row = self.engine.edge(Family::Delayed, bounds, Edge::First)?;
        Ok(row.and_then(|(key, _)| keys::delayed_offset(&key)))
    }

    /// What the delivery of an event to a subscription waits for, if that is its time.
    pub(crate) fn waits(
        &self,
        offset: Offset,
        subscription: &Subscription,
    ) -> Result<Option<Waits>, ReadError> {
        let id = subscription.id;
        let due: Option<Timestamp> = self.row(Family::Delayed, &keys::delayed_at(offset))?;
        let Some(due) = due.filter(|due| subscription.awaits(offset, *due)) else {
            return Ok(None);
        };
        let row: Option<DelayedRow> = self.row(Family::Delayed, &keys::delayed(due, offset))?;
        let is_left = row.is_some_and(|row| row.after.is_none_or(|after| id > after));
        if !is_left {
            return Ok(None);
        }
        let skip = keys::delayed_skip(offset, id);
        let is_skipped = self.engine.get(Family::Delayed, &skip)?.is_some();
        Ok(Some(if is_skipped {
            Waits::Skipped
        } else {
            Waits::For(due)
        }))
    }
}

#[cfg(test)]
mod tests;
