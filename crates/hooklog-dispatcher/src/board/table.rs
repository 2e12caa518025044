//! The lanes by subscription, and the queues that they stand in.
//!
//! **Invariant:** after every input a lane stands in exactly the queues of what it wants, and one
//! that would bring back nothing is dropped.
//! **Next:** `board/flush.rs`, which records where the lanes stand.

use hooklog_storage::{NewAttempt, Offset, SubscriptionId, Timestamp};

use super::{Board, QUEUES_BYTES_MAX};
use crate::lane::{self, Lane};

/// A lane, and in which queues of the board it stands.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is the place in one queue"
)]
pub(super) struct Slot {
    pub(super) lane: Lane,
    pub(super) outcomes: Vec<NewAttempt>,
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
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let limits = if self.queue_bytes < QUEUES_BYTES_MAX {
            &self.limits
        } else {
            &self.tight
        };
        let before = slot.lane.queue_bytes();
        slot.lane.apply(input, at, limits);
        self.queue_bytes = self.queue_bytes - before + slot.lane.queue_bytes();
        self.refresh(id, now);
    }

    /// Puts a lane where it now belongs: into the queues of those that want something, or out.
    pub(super) fn refresh(&mut self, id: SubscriptionId, now: Timestamp) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if !slot.in_ready && slot.lane.is_ready(now, &self.limits) {
            slot.in_ready = true;
            self.ready.push_back(id);
        }
        if !slot.in_readers
            && slot
                .lane
                .wants_read(now, self.routed, &self.limits)
                .is_some()
        {
            slot.in_readers = true;
            self.readers.push_back(id);
        }
        if slot.lane.load(&self.limits) {
            self.loaders.push_back(id);
        }
        let wake = slot.lane.wake(now);
        if wake != slot.wake {
            if let Some(at) = slot.wake.take() {
                self.timers.remove(&(at, id));
            }
            self.timers.extend(wake.map(|at| (at, id)));
            slot.wake = wake;
        }
        if !slot.in_dirty && (!slot.outcomes.is_empty() || slot.lane.cursor_is_wrong()) {
            slot.in_dirty = true;
            self.flush.push(id);
        }
        let busy = slot.in_ready || slot.in_readers || slot.in_dirty || slot.writing;
        if !busy && slot.outcomes.is_empty() && slot.lane.is_quiet() {
            self.drop_lane(id);
        }
    }

    /// Looks again at the lanes whose time has come.
    pub(super) fn wake(&mut self, now: Timestamp) {
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

    pub(super) fn add_lane(&mut self, id: SubscriptionId, lane: Lane) {
        let slot = Slot {
            lane,
            outcomes: Vec::new(),
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
    }
}
