//! Retention: finds what has expired and has it written down, as one entry of the journal like
//! every other change. Readers see the new low end at once; the applier removes the batches behind
//! the acks, a bounded number at a time, so appends never wait for it.
//!
//! Ages are measured against a clock that is not believed at once when it jumps ahead.
//!
//! **Invariant:** the low end only rises. It passes an event only when a limit says so, and, where
//! undelivered events are kept, only when every subscription and every consumer has settled it or the cap is reached.
//! **Next:** `retention/clock.rs`; `commit.rs`, which journals it; `plan/expire.rs`, which removes.

mod clock;

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::attempt::{Cursor, CursorState, Expired, Low};
use crate::codec;
use crate::config::Keep;
use crate::engine::Edge;
use crate::entry::Entry;
use crate::frame;
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::read::{ReadError, corrupt};
use crate::request::{Queued, Request};
use crate::retention::clock::AgeClock;
use crate::shared::Shared;
use crate::state::{Chain, State};
use crate::time::Timestamp;

/// Batches looked at in one check: their rows alone are read, some tens of milliseconds. At 64 KiB
/// each it is a gigabyte of events.
const BATCHES_PER_CHECK: usize = 16 << 10;
/// What the request counts for in the queue.
const REQUEST_BYTES: usize = 64;

/// The thread that looks for what has expired.
pub(crate) struct RetentionLoop {
    shared: Arc<Shared>,
    queue: Sender<Queued>,
    /// Disconnected when the log closes.
    stop: Receiver<()>,
    clock: AgeClock,
    /// It was said that the clock is not believed.
    told: bool,
}

impl RetentionLoop {
    /// The loop, and what ends it when it is dropped. `newest` is the time of the last event.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        queue: &Sender<Queued>,
        newest: Timestamp,
    ) -> (Sender<()>, Self) {
        let (end, stop) = crossbeam_channel::bounded(0);
        let (shared, queue) = (Arc::clone(shared), queue.clone());
        let retention = Self {
            shared,
            queue,
            stop,
            clock: AgeClock::new(newest, now(), Instant::now()),
            told: false,
        };
        (end, retention)
    }

    /// Runs until the log closes or is stopped.
    pub(crate) fn run(mut self) {
        let interval = self.shared.config.barrier_interval;
        let mut failed = false;
        loop {
            let wait = if failed { RETRY } else { interval };
            if self.stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
                || self.shared.poison.reason().is_some()
            {
                return;
            }
            failed = match self.look(now(), Instant::now()) {
                Ok(Some(low)) => {
                    self.submit(low);
                    false
                }
                Ok(None) => false,
                Err(error) => {
                    tracing::error!(%error, "retention cannot read the log; trying again");
                    true
                }
            };
        }
    }

    /// The low end that the limits ask for, if it is above the one there is.
    pub(crate) fn look(
        &mut self,
        wall: Timestamp,
        monotonic: Instant,
    ) -> Result<Option<Low>, ReadError> {
        let believed = self.clock.believed(wall, monotonic);
        let low = self.shared.expiring(believed)?;
        // What nothing depends on is no news: every open after a long pause doubts its clock.
        if believed < wall && !self.told && self.shared.expiring(wall)? != low {
            self.told = true;
            tracing::warn!(
                ahead_seconds = wall.since(believed).as_secs(),
                "the clock is far ahead of the newest event, or jumped: what expires by age because of \
                 that is kept for an hour longer; correct the clock if it is wrong"
            );
        }
        self.told &= believed < wall;
        Ok(low)
    }

    fn submit(&self, low: Low) {
        let held = &self.shared.queued_bytes;
        held.fetch_add(REQUEST_BYTES, Ordering::Relaxed);
        let request = Request::Expire(low);
        let queued = Queued {
            request,
            bytes: REQUEST_BYTES,
        };
        // A full queue has more urgent work; the next check finds the same.
        if self.queue.try_send(queued).is_err() {
            self.shared.release(REQUEST_BYTES);
        }
    }
}

/// How long retention waits after an error.
const RETRY: Duration = Duration::from_mins(1);

#[expect(
    clippy::disallowed_methods,
    reason = "ages are measured against the wall clock; what follows from it is journaled"
)]
fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A chain with the batches that it is made of.
struct Stored<'a, P> {
    shared: &'a Shared,
    family: Family,
    chain: &'a Chain<P>,
    position: fn(u64) -> P,
    number: fn(P) -> u64,
}

impl<P: Copy + Ord> Stored<'_, P> {
    /// The lowest position that these limits keep; never below today's low end.
    fn low(&self, keep: &Keep, now: Timestamp) -> Result<P, ReadError> {
        let end = (self.number)(self.chain.end);
        let counted = keep.count.map_or(0, |count| end.saturating_sub(count));
        let low = self.chain.low.max((self.position)(counted));
        if keep.age.is_none() && keep.bytes.is_none() {
            return Ok(low);
        }
        let mut at = (self.number)(self.chain.first.position);
        let mut bytes = self.chain.bytes;
        for _ in 0..BATCHES_PER_CHECK {
            if at >= end {
                break;
            }
            let damaged = corrupt(self.family, at);
            let key = keys::batch(at, 0);
            let found = self
                .shared
                .engine
                .mark(self.family, &key, |mark| frame::header(mark.head))?;
            // None: the applier has removed it since the state was read, and all below.
            let Some(found) = found else { break };
            let (header, stored) = found.map_err(|error| damaged(&error))?;
            let is_old = keep.age.is_some_and(|age| now.since(header.last) > age);
            let is_over = keep.bytes.is_some_and(|most| bytes > most);
            if !is_old && !is_over {
                break;
            }
            bytes = bytes.saturating_sub(stored as u64);
            at = header.base + u64::from(header.count);
        }
        Ok(low.max((self.position)(at)))
    }
}

impl Shared {
    /// The low end that the limits ask for at `now`, if it is above the one there is.
    pub(crate) fn expiring(&self, now: Timestamp) -> Result<Option<Low>, ReadError> {
        let Some(row) = self.engine.get(Family::State, keys::STATE)? else {
            return Ok(None);
        };
        let state: State =
            codec::decode(&row).map_err(|error| corrupt(Family::State, 0)(&error))?;
        let events = Stored {
            shared: self,
            family: Family::Log,
            chain: &state.events,
            position: Offset::new,
            number: Offset::get,
        };
        let attempts = Stored {
            shared: self,
            family: Family::Attempt,
            chain: &state.attempts,
            position: AttemptSeq::new,
            number: AttemptSeq::get,
        };
        let retention = &self.config.retention;
        let mut low = Low {
            events: events.low(&retention.events, now)?,
            attempts: attempts.low(&retention.attempts, now)?,
        };
        let today = self.ring.low();
        if let Some(cap) = retention.undelivered_bytes_max
            && low.events > today.events
        {
            let capped = Keep {
                bytes: Some(cap),
                ..Keep::default()
            };
            let wanted = low.events.min(self.undelivered(&state)?);
            low.events = wanted.max(events.low(&capped, now)?);
        }
        let low = low.max(today);
        Ok((low != today).then_some(low))
    }

    /// The lowest offset that some subscription or consumer has not settled.
    fn undelivered(&self, state: &State) -> Result<Offset, ReadError> {
        let subscriptions: Vec<_> = self
            .registry
            .read()
            .all_subscriptions()
            .map(|value| (value.id, value.start, value.state))
            .collect();
        let mut lowest = state.events.end;
        // In memory, and so never behind what a restart would find.
        for (_, row) in self.consumers.lock().list(None) {
            lowest = lowest.min(row.cursor);
        }
        if let Some(delayed) = self.first_delayed()? {
            lowest = lowest.min(delayed);
        }
        for (id, start, subscription) in subscriptions {
            let cursor: Option<Cursor> = self.row(Family::Cursor, &keys::cursor(id))?;
            let floor = cursor.as_ref().map_or(start, |cursor| cursor.floor);
            let is_behind = cursor.is_some_and(|cursor| cursor.state == CursorState::Behind);
            let stands = if is_behind || !subscription.is_enabled() {
                floor
            } else {
                floor.max(state.mark)
            };
            lowest = lowest.min(stands);
            if let Some(parked) = self.first_parked(id)? {
                lowest = lowest.min(parked);
            }
        }
        Ok(lowest)
    }

    /// The lowest offset that a subscription has parked.
    fn first_parked(&self, id: SubscriptionId) -> Result<Option<Offset>, ReadError> {
        let (low, high) = (keys::retry(id, Offset::ZERO), keys::retry(id, Offset::MAX));
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        let row = self.engine.edge(Family::Retry, bounds, Edge::First)?;
        Ok(row.and_then(|(key, _)| keys::last_number(&key).map(Offset::new)))
    }

    /// What retention took from a subscription.
    pub(crate) fn expired(&self, id: SubscriptionId) -> Result<Option<Expired>, ReadError> {
        let hot = self.ring.all();
        let stored: Option<Expired> = self.row(Family::Expired, &keys::expired(id))?;
        // What is in memory may be in sled already; taking it in twice changes nothing.
        let entries = hot.iter().flat_map(|commit| &commit.entries);
        let more = entries.filter_map(|entry| match entry {
            Entry::Expired(of, expired) if *of == id => Some(expired.clone()),
            _ => None,
        });
        Ok(stored
            .into_iter()
            .chain(more)
            .reduce(|all, more| all.join(&more)))
    }

    pub(crate) fn row<T: serde::de::DeserializeOwned>(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<T>, ReadError> {
        let row = self.engine.get(family, key)?;
        row.map(|row| codec::decode(&row))
            .transpose()
            .map_err(|error| corrupt(family, 0)(&error))
    }
}
