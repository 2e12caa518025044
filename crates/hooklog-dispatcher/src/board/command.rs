//! What people ask of single deliveries, and what policies and endpoints change to.
//!
//! **Invariant:** commands are on record before they come here, so one for a subscription that is not
//! at work is found again when it is.
//! **Next:** `board/settle.rs`, where attempts start and end.

use std::collections::BTreeSet;
use std::sync::Arc;

use hooklog_storage::{
    Application, ApplicationId, DeliveryState, Health, Policy, SubscriptionId, Timestamp, Trigger,
};

use super::Board;
use crate::lane::{Input, Lane};

impl Board {
    /// Tells a lane what is asked of one of its deliveries; it may be there for that alone.
    pub(super) fn command(&mut self, id: SubscriptionId, command: Input, now: Timestamp) {
        let Some(entry) = self.routes.get(id) else {
            return;
        };
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.again = true;
            return;
        }
        if !self.slots.contains_key(&id) {
            if !entry.is_enabled() {
                // The log has parked it; it is loaded when the subscription is enabled.
                return;
            }
            let from = entry.from.max(self.routed);
            self.add_lane(id, Lane::live(from));
        }
        self.tell(id, command, now);
    }

    /// Takes in what was asked for while nobody listened.
    pub(super) fn resynced(&mut self, state: &DeliveryState, now: Timestamp) {
        self.loads = self.loads.saturating_sub(1);
        // If it is wanted again, what is here may lack what is looked for then.
        let Some(since) = self.resyncing.take().filter(|_| self.resync.is_none()) else {
            return;
        };
        for (id, offset, retry) in &state.retries {
            let (offset, asked) = (*offset, retry.due);
            if retry.is_skipped {
                self.command(*id, Input::Skip { offset }, now);
            } else if retry.number == 0 && retry.trigger == Trigger::Manual && asked >= since {
                let slot = self.slots.get(id);
                // It may have been made since this was read, so a lane that has nothing of it reads
                // for itself.
                let input = if slot.is_some_and(|slot| slot.lane.holds(offset)) {
                    Input::Redeliver { offset, asked }
                } else {
                    Input::Missed { offset }
                };
                self.command(*id, input, now);
            } else if retry.trigger == Trigger::Delayed && asked >= since {
                // The same.
                self.command(*id, Input::Missed { offset }, now);
            } else if let Some(slot) = self.slots.get(id)
                // What was asked for is due since then; any other row that is due earlier than the
                // lane's is of an attempt that was made twice.
                && asked <= now
                && slot.lane.is_later(offset, retry)
            {
                self.command(*id, Input::RetryNow { offset, asked }, now);
            }
        }
    }

    /// The policies of all applications that have one.
    pub(super) fn put_policies(&mut self, applications: &[Arc<Application>], now: Timestamp) {
        let mut gone: BTreeSet<_> = self.policies.keys().copied().collect();
        for value in applications {
            gone.remove(&value.id);
        }
        for id in gone {
            self.put_policy(id, &Policy::default(), now);
        }
        for value in applications {
            self.put_policy(value.id, &value.policy, now);
        }
    }

    /// An application says how its events are pushed.
    pub(super) fn put_policy(&mut self, id: ApplicationId, policy: &Policy, now: Timestamp) {
        let old = if *policy == Policy::default() {
            self.policies.remove(&id)
        } else {
            self.policies.insert(id, policy.clone())
        };
        let old = old.unwrap_or_default();
        if old.throttle_rate != policy.throttle_rate {
            // Whoever waited is asked again, under the new rate.
            let waiting = self.throttles.set(id, policy.throttle_rate);
            self.ready.extend(waiting);
        }
        if old != *policy {
            for id in self.routes.members(id) {
                self.new_rules(id, now);
            }
        }
    }

    /// A subscription has changed.
    pub(super) fn rules_changed(&mut self, id: SubscriptionId, is_forgiven: bool, now: Timestamp) {
        if is_forgiven {
            self.set_health(id, Health::default());
        }
        self.tell(id, Input::Changed { is_forgiven }, now);
        self.new_rules(id, now);
    }

    fn new_rules(&mut self, id: SubscriptionId, now: Timestamp) {
        // At the start there are many subscriptions, and few of them have a lane.
        if !self.slots.contains_key(&id) {
            return;
        }
        let Some((rules, host)) = self.rules_of(id) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(&id) {
            (slot.rules, slot.host) = (rules, host);
            // A lane looks at its queue under the new order.
            self.tell(id, Input::Changed { is_forgiven: false }, now);
        }
    }
}
