//! From changes of the registry to rows.
//!
//! **Invariant:** a subscription leaves with all its rows: cursor, parked deliveries, what it lost.
//! **Next:** `plan/expire.rs`.

use std::collections::BTreeSet;

use super::{Plan, PlanError};
use crate::attempt::{Retry, Trigger};
use crate::change::Change;
use crate::codec;
use crate::id::{ApplicationId, SubscriptionId, TaskId};
use crate::keys::{self, Family};
use crate::offset::Offset;
use crate::subscription::Subscription;
use crate::task::Task;

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
                for subscription in self.subscriptions_of(*id)? {
                    self.forget(subscription)?;
                }
                let (low, high) = keys::consumers_of(*id);
                for key in self.rows(Family::Consumer, &low, &high)?.into_keys() {
                    self.set(Family::Consumer, key, None);
                }
                for task in self.tasks_of(*id)? {
                    self.set(Family::Registry, keys::task(task), None);
                }
                (keys::application(*id), None)
            }
            Change::PutTask(v) => (keys::task(v.id), Some(codec::encode(v)?)),
            Change::DeleteTask(id) => (keys::task(*id), None),
            Change::DeleteSubscription(id) => return self.forget(*id),
            Change::Redeliver {
                subscription,
                offset,
                asked,
            } => {
                if self.exists(*subscription)? {
                    let retry = Retry {
                        number: 0,
                        due: *asked,
                        trigger: Trigger::Manual,
                    };
                    self.park(keys::retry(*subscription, *offset), retry)?;
                }
                return Ok(());
            }
        };
        self.set(Family::Registry, key, value);
        Ok(())
    }

    /// Removes a subscription with its cursor and parked deliveries.
    fn forget(&mut self, id: SubscriptionId) -> Result<(), PlanError> {
        self.set(Family::Registry, keys::subscription(id), None);
        self.set(Family::Cursor, keys::cursor(id), None);
        self.set(Family::Expired, keys::expired(id), None);
        let (low, high) = (keys::retry(id, Offset::ZERO), keys::retry(id, Offset::MAX));
        for key in self.rows(Family::Retry, &low, &high)?.into_keys() {
            self.set(Family::Retry, key, None);
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
            found.extend((task.application == id).then_some(task.id));
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
