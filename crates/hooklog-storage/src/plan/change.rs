//! From changes of the registry to rows.
//!
//! **Invariant:** a subscription leaves with all its rows: cursor, parked deliveries, what it lost.
//! **Next:** `plan/delay.rs`, then `plan/expire.rs`.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use super::{Plan, PlanError};
use crate::attempt::{Low, Retry};
use crate::change::Change;
use crate::codec;
use crate::engine::EngineError;
use crate::expunged::Expunged;
use crate::id::{ApplicationId, SubscriptionId, TaskId};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::subscription::Subscription;
use crate::task::Task;
use crate::time::Timestamp;

/// Marks removed in one plan: some ten kilobytes of keys.
const FORGOTTEN_AT_A_TIME: usize = 512;

impl Plan<'_> {
    pub(super) fn change(&mut self, change: &Change) -> Result<(), PlanError> {
        let (key, value) = match change {
            Change::PutOrganisation(v) => (keys::organisation(v.id), Some(codec::encode(v)?)),
            Change::PutApplication(v) => (keys::application(v.id), Some(codec::encode(v)?)),
            Change::PutEventType(v) => (
                keys::event_type(v.organisation, &v.name),
                Some(codec::encode(v)?),
            ),
            Change::PutSubscription(v) => (keys::subscription(v.id), Some(codec::encode(v)?)),
            Change::DeleteEventType(organisation, name) => {
                (keys::event_type(*organisation, name), None)
            }
            Change::DeleteApplication(id) => {
                self.forget_application(*id)?;
                (keys::application(*id), None)
            }
            Change::PutTokenCuts(v) => (keys::token_cuts(v.application), Some(codec::encode(v)?)),
            Change::RevokeToken(v) => (keys::revoked_token(v), Some(codec::encode(v)?)),
            Change::ForgetToken(v) => (keys::revoked_token(v), None),
            Change::Expunge(v) => (keys::expunged(*v), Some(codec::encode(v)?)),
            Change::ForgetExpunged(v) => (keys::expunged(*v), None),
            Change::PutSessionCuts(v) => (
                keys::session_cuts(v.application, &v.session),
                Some(codec::encode(v)?),
            ),
            Change::ForgetSession { session, owner, .. } => {
                (keys::session_cuts(*owner, session), None)
            }
            Change::PutTask(v) => (keys::task(v.id), Some(codec::encode(v)?)),
            Change::DeleteTask(id) => (keys::task(*id), None),
            Change::DeleteSubscription(id) => return self.forget(*id),
            Change::Redeliver {
                subscription,
                offset,
                asked,
            } => return self.redeliver(*subscription, *offset, *asked),
            Change::Skip {
                subscription,
                offset,
                asked,
            } => return self.skip(*subscription, *offset, *asked),
            Change::Release(release) => return self.release(release),
            Change::RetryNow {
                subscription,
                offset,
                asked,
            } => {
                return self.command(*subscription, *offset, |old| {
                    old.map(|old| old.due_by(*asked))
                });
            }
        };
        self.set(Family::Registry, key, value);
        Ok(())
    }

    fn redeliver(
        &mut self,
        id: SubscriptionId,
        offset: Offset,
        asked: Timestamp,
    ) -> Result<(), PlanError> {
        let asked = Retry::asked(asked);
        self.command(id, offset, |old| {
            Some(match old {
                // It holds up what it held up before.
                Some(old) => Retry {
                    is_awaited: old.is_awaited,
                    key: old.key,
                    ..asked
                },
                None => asked,
            })
        })
    }

    fn skip(
        &mut self,
        id: SubscriptionId,
        offset: Offset,
        asked: Timestamp,
    ) -> Result<(), PlanError> {
        if self.skip_delayed(id, offset)? {
            return Ok(());
        }
        let asked = Retry::asked(asked);
        self.command(id, offset, |old| {
            let is_skipped = true;
            // It may be parked only later: its attempt may be under way.
            Some(Retry {
                is_skipped,
                ..old.unwrap_or(asked)
            })
        })
    }

    /// Removes everything that belongs to an application.
    fn forget_application(&mut self, id: ApplicationId) -> Result<(), PlanError> {
        for subscription in self.subscriptions_of(id)? {
            self.forget(subscription)?;
        }
        let (low, high) = keys::consumers_of(id);
        for key in self.rows(Family::Consumer, &low, &high)?.into_keys() {
            self.set(Family::Consumer, key, None);
        }
        self.set(Family::Registry, keys::token_cuts(id), None);
        let (low, high) = keys::session_cuts_of(id);
        for key in self.rows(Family::Registry, &low, &high)?.into_keys() {
            self.set(Family::Registry, key, None);
        }
        for task in self.tasks_of(id)? {
            self.set(Family::Registry, keys::task(task), None);
        }
        Ok(())
    }

    /// Changes the row of a parked delivery.
    pub(super) fn command(
        &mut self,
        id: SubscriptionId,
        offset: Offset,
        edit: impl FnOnce(Option<Retry>) -> Option<Retry>,
    ) -> Result<(), PlanError> {
        if !self.exists(id)? {
            return Ok(());
        }
        let key = keys::retry(id, offset);
        match edit(self.retry(&key)?) {
            Some(retry) => self.park(key, retry),
            None => Ok(()),
        }
    }

    /// Removes a subscription with its cursor and parked deliveries.
    fn forget(&mut self, id: SubscriptionId) -> Result<(), PlanError> {
        self.set(Family::Registry, keys::subscription(id), None);
        self.set(Family::Cursor, keys::cursor(id), None);
        self.set(Family::Expired, keys::expired(id), None);
        self.set(Family::Health, keys::health(id), None);
        let (low, high) = (keys::retry(id, Offset::ZERO), keys::retry(id, Offset::MAX));
        for key in self.rows(Family::Retry, &low, &high)?.into_keys() {
            self.set(Family::Retry, key, None);
        }
        Ok(())
    }

    /// Removes the marks of expunged content that has expired: some, the next low end takes more.
    pub(super) fn forget_expunged(&mut self, low: Low) -> Result<(), PlanError> {
        let (events, attempts) = (Expunged::Event, Expunged::Attempt);
        // A mark of an application is above all that it speaks of.
        let first = ApplicationId::from_bytes([0; 20]);
        let below = |end| Expunged::Below(first, end);
        let ranges = [
            (events(Offset::ZERO), events(low.events)),
            (below(Offset::ZERO), below(low.events.next())),
            (attempts(AttemptSeq::ZERO), attempts(low.attempts)),
        ];
        for (first, end) in ranges {
            let (first, end) = (keys::expunged(first), keys::expunged(end));
            let bounds = (
                Bound::Included(first.as_slice()),
                Bound::Excluded(end.as_slice()),
            );
            let mut found = Vec::new();
            self.engine
                .scan_until::<EngineError>(Family::Registry, bounds, |key, _| {
                    if found.len() >= FORGOTTEN_AT_A_TIME {
                        return Ok(ControlFlow::Break(()));
                    }
                    found.push(key.to_vec());
                    Ok(ControlFlow::Continue(()))
                })?;
            for key in found {
                self.set(Family::Registry, key, None);
            }
        }
        Ok(())
    }

    /// Tasks of an application; there are few of all applications together.
    fn tasks_of(&self, id: ApplicationId) -> Result<Vec<TaskId>, PlanError> {
        let low = keys::task(TaskId::from_bytes([0; 20]));
        let high = keys::task(TaskId::from_bytes([0xff; 20]));
        let mut found = Vec::new();
        for value in self.rows(Family::Registry, &low, &high)?.into_values() {
            let task: Task = codec::decode(&value)?;
            found.extend((task.application() == Some(id)).then_some(task.id));
        }
        Ok(found)
    }

    /// Subscriptions of an application. Looks at all of them: deleting an application is rare.
    fn subscriptions_of(&self, id: ApplicationId) -> Result<BTreeSet<SubscriptionId>, PlanError> {
        let low = keys::subscription(SubscriptionId::from_bytes([0; 20]));
        let high = keys::subscription(SubscriptionId::from_bytes([0xff; 20]));
        let mut found = BTreeSet::new();
        for value in self.rows(Family::Registry, &low, &high)?.into_values() {
            let subscription: Subscription = codec::decode(&value)?;
            if subscription.application == id {
                found.insert(subscription.id);
            }
        }
        Ok(found)
    }
}
