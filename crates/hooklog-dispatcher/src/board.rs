//! The board: all lanes, the routing index and what is to be recorded, as one pure state machine.
//!
//! `apply` takes in what happened; `next` hands out what is to be done, one effect at a time, as
//! far as the bounds allow. It is the whole dispatcher but for the I/O, so a simulation can run it
//! from a seed, crashes and all.
//!
//! **Invariant:** one lane never waits for another: lanes that are ready take turns, an attempt at
//! a time. A subscription without anything outstanding has no lane.
//! **Next:** `board/effect.rs`, the inputs and effects; then `board/follow.rs`, what the tail brings.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    ApplicationId, DisableReason, DispatchState, Health, Offset, Ordering, Policy, SubscriptionId,
    Timestamp,
};

use crate::board::ahead::Ahead;
use crate::board::flights::Flights;
use crate::board::flush::Flush;
use crate::board::follow::Restored;
use crate::board::loads::Loads;
use crate::board::reads::Reads;
use crate::board::table::Slot;
use crate::board::throttles::Throttles;
use crate::config::Config;
use crate::lane;
use crate::route::{Budget, Routes};
use crate::rules::Defaults;

/// Records in a lane's queue: a page of the log, and more than a window can start.
const QUEUE_MAX: usize = 256;
/// Bytes in a lane's queue: two of the largest events that the API takes.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Bytes in all queues together, above which lanes keep short queues. Payloads are shared
/// between lanes, so it is reached late.
const QUEUES_BYTES_MAX: usize = 256 << 20;

/// A clock that goes back by less makes nothing wait for longer than that.
const SET_BACK_MIN: Duration = Duration::from_secs(1);

/// All lanes.
pub(crate) struct Board {
    limits: lane::Limits,
    /// The limits while all queues together are too long.
    tight: lane::Limits,
    defaults: Defaults,
    routes: Routes,
    /// What applications say of how their events are pushed.
    policies: BTreeMap<ApplicationId, Policy>,
    /// Endpoints that are not known to be well, as last recorded or about to be.
    health: BTreeMap<SubscriptionId, Health>,
    slots: BTreeMap<SubscriptionId, Slot>,
    /// One past the last offset that was routed.
    routed: Offset,
    /// Below it, all changes that came with the records were seen too: as far as the mark may go.
    markable: Offset,
    flights: Flights,
    throttles: Throttles,
    /// Payload of one item of the tail that conditions may look at here.
    budget: Budget,
    /// Subscriptions to disable; each lane has one here at most.
    disables: VecDeque<(SubscriptionId, Arc<str>, DisableReason)>,
    queue_bytes: usize,
    /// Lanes that are ready, in the order of their turns.
    ready: VecDeque<SubscriptionId>,
    timers: BTreeSet<(Timestamp, SubscriptionId)>,
    reads: Reads,
    loads: Loads,
    ahead: Ahead,
    /// Subscriptions that were enabled and get a lane as soon as their state is loaded.
    waiting: BTreeMap<SubscriptionId, Waiting>,
    /// What the log held at the start, until the first registry claims it.
    restored: Option<Restored>,
    flush: Flush,
    /// The latest time that the clock has said, since it was set back last.
    latest: Timestamp,
    stopping: bool,
}

/// A subscription whose state is being loaded.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Where the tail stood when it was enabled.
    since: Offset,
    /// What is loaded may be too old, so load again.
    again: bool,
    /// It was disabled meanwhile.
    cancelled: bool,
}

impl Board {
    /// A board that goes on from what the log holds, as it was read at `now`.
    pub(crate) fn new(config: &Config, state: DispatchState, now: Timestamp) -> Self {
        let limits = lane::Limits {
            concurrency: config.lane_concurrency,
            window: config.lane_window,
            retries_max: config.lane_retries_max,
            queue_max: QUEUE_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            ordering: Ordering::None,
            rate: None,
        };
        let routed = state.mark;
        Self {
            limits,
            tight: lane::Limits {
                queue_max: config.lane_concurrency.min(QUEUE_MAX),
                ..limits
            },
            defaults: Defaults::new(config),
            routes: Routes::default(),
            policies: BTreeMap::new(),
            health: state.health.iter().copied().collect(),
            slots: BTreeMap::new(),
            routed,
            markable: routed,
            flights: Flights::new(config.attempts_in_flight_max, config.host_attempts_max),
            throttles: Throttles::default(),
            budget: Budget::default(),
            disables: VecDeque::new(),
            queue_bytes: 0,
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            reads: Reads::default(),
            loads: Loads::default(),
            ahead: Ahead::default(),
            waiting: BTreeMap::new(),
            restored: Some(Restored::new(state)),
            flush: Flush::new(config.flush_interval, routed, now),
            latest: now,
            stopping: false,
        }
    }

    /// Takes in what happened.
    pub(crate) fn apply(&mut self, input: Input, now: Timestamp) {
        self.read_clock(now);
        match input {
            Input::Tail(item) => self.follow(item, now),
            Input::Finished(finished) => self.finished(finished, now),
            Input::Page {
                subscription,
                reading,
                from,
                page,
            } => self.page(subscription, reading, from, page, now),
            Input::Loaded {
                subscription,
                state,
            } => self.loaded(subscription, state, now),
            Input::Scanned(scans) => self.scanned(scans, now),
            Input::Resynced { ids, next } => self.resynced(&ids, next, now),
            Input::Recorded => self.recorded(now),
            Input::Disabled => {}
        }
    }

    /// The next thing to do, if there is any now.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Effect> {
        self.read_clock(now);
        self.wake(now);
        self.next_attempt(now)
            .or_else(|| self.next_read(now))
            .or_else(|| self.next_load())
            .or_else(|| self.next_disable())
            .or_else(|| self.next_record(now).map(Effect::Record))
    }

    /// A clock that was set back must not make anything wait for longer than it would have.
    fn read_clock(&mut self, now: Timestamp) {
        let by = self.latest.since(now);
        if by < SET_BACK_MIN {
            self.latest = self.latest.max(now);
            return;
        }
        tracing::warn!(seconds = by.as_secs(), "the clock was set back");
        self.latest = now;
        self.throttles.set_back(by);
        let ids: Vec<_> = self.slots.keys().copied().collect();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.lane.set_back(by);
            }
            self.refresh(id, now);
        }
    }

    /// When `next` is to be asked again, if nothing happens before.
    pub(crate) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let timers = [timer, self.throttles.deadline()].into_iter().flatten();
        let timers = timers.filter(|_| !self.stopping);
        timers.chain(self.flush_at(now)).min()
    }

    /// Starts nothing more; what is in flight may end, and is recorded.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Attempts in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }
}

mod ahead;
mod command;
mod effect;
mod flights;
mod flush;
mod follow;
mod loads;
mod reads;
mod settle;
mod table;
#[cfg(test)]
mod tests;
mod throttles;

pub(crate) use effect::{Effect, Finished, Input, Page};
pub(crate) use reads::Reading;
