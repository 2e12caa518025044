//! What people ask of single deliveries, and what policies and endpoints change to.
//!
//! **Invariant:** commands are on record before they come here, so one for a subscription that is not
//! at work is found again when it is.
//! **Next:** `board/settle.rs`, where attempts start and end.

use std::collections::BTreeSet;
use std::sync::Arc;

use hooklog_storage::{
    Application, ApplicationId, Health, Offset, Policy, SubscriptionId, Timestamp,
};

use super::Board;
use super::table::Slot;
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

    /// A commit of this time has parked a delivery.
    pub(super) fn parked_by(
        &mut self,
        id: SubscriptionId,
        at: Timestamp,
        command: Input,
        offset: Offset,
        now: Timestamp,
    ) {
        let holds = |slot: &Slot| slot.lane.holds(offset);
        let is_held = self.slots.get(&id).is_some_and(holds);
        // What was loaded since then may have had it, and it may be delivered by now.
        let command = if !is_held && self.ahead.covers(id, at) {
            Input::Missed { offset }
        } else {
            command
        };
        self.command(id, command, now);
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
            let is_reordered = slot.rules.ordering != rules.ordering;
            (slot.rules, slot.host) = (rules, host);
            // A lane looks at its queue under the new order, and may need other rows of the log.
            self.tell(id, Input::Changed { is_forgiven: false }, now);
            if is_reordered {
                self.tell(id, Input::Unheard, now);
            }
        }
    }
}
