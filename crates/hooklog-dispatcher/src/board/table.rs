//! The lanes by subscription, and the queues that they stand in.
//!
//! **Invariant:** after every input a lane stands in exactly the queues of what it wants, and one
//! that would bring back nothing is dropped.
//! **Next:** `board/flush.rs`, which records where the lanes stand.

use std::sync::Arc;

use hooklog_storage::{ApplicationId, Health, NewAttempt, Offset, SubscriptionId, Timestamp};

use super::flights::host_of;
use super::{Board, QUEUES_BYTES_MAX, Reading};
use crate::lane::{self, Lane, Scan};
use crate::rules::Rules;

/// A lane, and in which queues of the board it stands.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is the place in one queue"
)]
pub(super) struct Slot {
    pub(super) lane: Lane,
    pub(super) rules: Rules,
    pub(super) host: Arc<str>,
    pub(super) application: ApplicationId,
    pub(super) outcomes: Vec<NewAttempt>,
    /// A look at what it has parked that is not under way.
    pub(super) scan: Option<Scan>,
    pub(super) in_ready: bool,
    pub(super) in_readers: bool,
    pub(super) in_dirty: bool,
    /// Its cursor is being recorded.
    pub(super) writing: bool,
    pub(super) wake: Option<Timestamp>,
}

impl Board {
    /// Tells a lane, if there is one, what happened.
    pub(super) fn tell(&mut self, id: SubscriptionId, input: lane::Input, now: Timestamp) {
        self.tell_at(id, input, self.routed, now);
    }

    pub(super) fn tell_at(
        &mut self,
        id: SubscriptionId,
        input: lane::Input,
        at: Offset,
        now: Timestamp,
    ) {
        self.pass(id, input, at);
        self.refresh(id, now);
    }

    /// Tells a lane what happened; it is to be refreshed then.
    pub(super) fn pass(&mut self, id: SubscriptionId, input: lane::Input, at: Offset) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let limits = if self.queue_bytes < QUEUES_BYTES_MAX {
            &self.limits
        } else {
            &self.tight
        };
        let before = slot.lane.queue_bytes();
        slot.lane.apply(input, at, &slot.rules.limits(limits));
        self.queue_bytes = self.queue_bytes - before + slot.lane.queue_bytes();
    }

    /// Puts a lane where it now belongs: into the queues of those that want something, or out.
    pub(super) fn refresh(&mut self, id: SubscriptionId, now: Timestamp) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let limits = slot.rules.limits(&self.limits);
        if !slot.in_ready && slot.lane.is_ready(now, &limits) {
            slot.in_ready = true;
            self.ready.push_back(id);
        }
        if !slot.in_readers && slot.lane.wants_read(now, self.routed, &limits).is_some() {
            slot.in_readers = true;
            let entry = self.routes.get(id);
            let reading = entry.map_or(Reading::Plain, |entry| Reading::of(&entry.subscription));
            self.reads.push(id, reading);
        }
        if slot.lane.load(&limits) {
            slot.scan = Some(slot.lane.scan(now, &limits));
            self.loads.push_scan(id);
        }
        let wake = slot.lane.wake(now, &limits);
        if wake != slot.wake {
            if let Some(at) = slot.wake.take() {
                self.timers.remove(&(at, id));
            }
            self.timers.extend(wake.map(|at| (at, id)));
            slot.wake = wake;
        }
        let has_news = !slot.outcomes.is_empty() || slot.lane.has_skipped();
        if !slot.in_dirty && (has_news || slot.lane.cursor_is_wrong()) {
            slot.in_dirty = true;
            self.flush.push(id);
        }
        slot.lane.note_throttle(now, &limits);
        let health = slot.lane.health(now);
        let busy = slot.in_ready || slot.in_readers || slot.in_dirty || slot.writing;
        let is_quiet = !busy && slot.outcomes.is_empty() && slot.lane.is_quiet(now, &limits);
        self.set_health(id, health);
        if is_quiet {
            self.drop_lane(id);
        }
    }

    /// Takes down what is known of an endpoint, if that is news.
    pub(super) fn set_health(&mut self, id: SubscriptionId, health: Health) {
        let old = if health == Health::default() {
            self.health.remove(&id)
        } else {
            self.health.insert(id, health)
        };
        if old.unwrap_or_default() != health {
            self.flush.health.insert(id, health);
        }
    }

    /// How the events of a subscription are pushed, and to which host.
    pub(super) fn rules_of(&self, id: SubscriptionId) -> Option<(Rules, Arc<str>)> {
        let subscription = &self.routes.get(id)?.subscription;
        let policy = self.policies.get(&subscription.application);
        let rules = Rules::of(subscription, policy, &self.defaults);
        Some((rules, host_of(&subscription.endpoint.url)))
    }

    /// Looks again at the lanes whose time has come.
    pub(super) fn wake(&mut self, now: Timestamp) {
        while !self.stopping
            && let Some(application) = self.throttles.due(now)
        {
            self.pass_turn_on(application, now);
        }
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
            && !self.stopping
        {
            self.timers.pop_first();
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.wake = None;
            }
            self.refresh(id, now);
        }
    }

    /// Gives a subscription a lane; one that is not routed to gets none.
    pub(super) fn add_lane(&mut self, id: SubscriptionId, mut lane: Lane) {
        let (Some((rules, host)), Some(entry)) = (self.rules_of(id), self.routes.get(id)) else {
            return;
        };
        if let Some(health) = self.health.get(&id) {
            lane.adopt(&lane::believed(health, self.latest));
        }
        let slot = Slot {
            lane,
            rules,
            host,
            application: entry.subscription.application,
            outcomes: Vec::new(),
            scan: None,
            in_ready: false,
            in_readers: false,
            in_dirty: false,
            writing: false,
            wake: None,
        };
        self.drop_lane(id);
        self.slots.insert(id, slot);
    }

    pub(super) fn drop_lane(&mut self, id: SubscriptionId) {
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        self.queue_bytes -= slot.lane.queue_bytes();
        self.flush.forget(&slot.outcomes);
        if let Some(at) = slot.wake {
            self.timers.remove(&(at, id));
        }
        if slot.in_ready {
            // It may have been its turn at its host, or in its application.
            self.pass_on(&slot.host);
            self.throttles.nudge(slot.application);
        }
    }
}
