//! A lane: the deliveries of one subscription, as a pure state machine.
//!
//! Inputs say what happened (a record was routed, an attempt ended, …); [`Lane::start`],
//! [`Lane::read`] and [`Lane::load`] say what it wants done now. No I/O, no clock, no lock.
//!
//! ```text
//!            queue full, or retry table full: forget the queue, remember the offset
//!          ┌───────────────────────────────────────────────────────────────┐
//!          │                                                               ▼
//!   ┌─────────────┐    a page read from the log reaches the tail     ┌───────────┐
//!   │    Live     │◄─────────────────────────────────────────────────│  Behind   │◄─┐
//!   │ fed by tail │                                                  │ fed by    │──┘ next page
//!   └─────────────┘                                                  │ pages     │
//!          │                   ┌──────────┐        resumed           └───────────┘
//!          └──────────────────►│  paused  │─────────────────────────────►  ▲ │
//!                 paused       │ (Behind) │◄───────────────────────────────┼─┘ paused
//!                              └──────────┘
//!
//!   one event:   queue ──► in flight ──► delivered or exhausted: settled
//!                              │  ▲
//!                       failed ▼  │ due
//!                            parked: settled for the cursor, kept as a retry
//!
//!   what stops it:   paused (disabled) · asked to wait (Retry-After) · breaker open (a probe at a
//!                    time) · throttle · pace and concurrency · order (the head of its key first)
//! ```
//!
//! **Invariant:** the queue, the retry table, the attempts in flight and the outcomes that are not
//! on record are each bounded by [`Limits`]. An event that matches leaves the lane only settled or
//! parked, or by stepping behind, so none is lost.
//! **Next:** `lane/wants.rs`, what it wants; `lane/order.rs`, `lane/judge.rs`; then `board.rs`, which
//! holds all lanes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use hooklog_storage::{
    Cursor, CursorState, Offset, Ordering, Outcome, Record, Retry, Timestamp, Trigger,
};

use crate::ack::Ack;
use crate::breaker::Breaker;
use crate::pace::Pace;
use crate::retries::{AT_ONCE, Retries};
use crate::throttle::Throttle;

/// The bounds of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Attempts in flight.
    pub(crate) concurrency: usize,
    /// Attempts in flight and outcomes not on record; also what is settled above the floor.
    pub(crate) window: usize,
    /// Parked deliveries at which no first attempt starts; those asked for by hand may double it.
    pub(crate) retries_max: usize,
    /// Records in the queue.
    pub(crate) queue_max: usize,
    /// Bytes in the queue (one record more may be in it).
    pub(crate) queue_bytes_max: usize,
    /// In which order events are first sent.
    pub(crate) ordering: Ordering,
    /// Attempts a second.
    pub(crate) rate: Option<NonZeroU32>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The tail has a matching record.
    Routed(Arc<Record>),
    /// The tail has a record that may match; whether it does is to be found where it is read.
    Unread(Offset),
    /// A page was read: matching records from `from` up to `next`.
    Page {
        from: Offset,
        records: Vec<Arc<Record>>,
        next: Offset,
    },
    /// A page could not be read.
    PageFailed { again: Timestamp },
    /// Somebody wants this event delivered (again).
    Redeliver { offset: Offset, asked: Timestamp },
    /// The time of this event has come.
    Released { offset: Offset, retry: Retry },
    /// The log may have this event parked, and the lane was not told.
    Missed { offset: Offset },
    /// Somebody wants this delivery settled without another attempt.
    Skip { offset: Offset },
    /// Somebody wants the next attempt of this parked delivery made now.
    RetryNow { offset: Offset, asked: Timestamp },
    /// The attempt of this offset ended.
    Finished { offset: Offset, outcome: Outcome },
    /// This many outcomes are on record.
    Recorded { outcomes: usize },
    /// The log has deliveries parked that the lane was not told of, or differently.
    Unheard,
    /// Parked deliveries on record, in answer to [`Lane::load`].
    Loaded(Found),
    /// The subscription was disabled.
    Paused,
    /// The subscription was enabled.
    Resumed,
    /// The subscription was changed; what failed before says nothing about it any more if it goes
    /// elsewhere or was enabled again.
    Changed { is_forgiven: bool },
}

/// An attempt to make. Without a record it is to be read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) offset: Offset,
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) number: u16,
    pub(crate) trigger: Trigger,
}

/// A page to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) from: Offset,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything below the tail's position (or this offset, if it is higher) was seen.
    Live { from: Offset },
    /// Matching events from `next` on are in the log only.
    Behind { next: Offset },
}

/// A delivery in flight: how it would be parked if nothing had changed, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(crate) struct Flight {
    pub(crate) number: u16,
    pub(crate) trigger: Trigger,
    counted: u16,
    /// When the schedule would have had it made; earlier it burns nothing.
    due: Timestamp,
    first: bool,
    is_awaited: bool,
    is_probe: bool,
    is_skipped: bool,
    key: Option<u64>,
}

/// A record in the queue, with the hash of its ordering key.
#[derive(Clone, Debug)]
struct Queued {
    record: Arc<Record>,
    key: Option<u64>,
}

/// The deliveries of one subscription.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(crate) struct Lane {
    mode: Mode,
    paused: bool,
    ack: Ack,
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    parked: Retries,
    in_flight: BTreeMap<Offset, Flight>,
    unrecorded: usize,
    /// A page is being read.
    reading: bool,
    /// No page is read before.
    read_after: Timestamp,
    /// The log holds more parked deliveries than this lane does.
    surplus: bool,
    /// What the lane holds of them may have been changed in the log.
    unsure: bool,
    /// The parked deliveries are being loaded.
    loading: bool,
    /// One was left to the log since that began, so what is being loaded may lack it.
    load_again: bool,
    /// Where the next look for them begins.
    resume: Offset,
    /// The cursor as it was last handed out to be recorded.
    row: Option<(CursorState, Offset)>,
    /// Where the tail stood when the lane was last told.
    seen: Offset,
    breaker: Breaker,
    pace: Pace,
    throttle: Throttle,
    /// The endpoint asked to be left alone until then.
    paused_until: Timestamp,
    /// Its rate has held up something since then.
    throttled_since: Option<Timestamp>,
    /// Every attempt since then has failed.
    failing_since: Option<Timestamp>,
    /// It is to be disabled, so nothing starts until the registry says what became of that.
    stopped: bool,
    /// The endpoint is back, and what waited because of it is on its way; since when it was down.
    releasing: Option<Timestamp>,
    /// What waited because of the endpoint is due at once, also what is not loaded yet.
    forgiven: bool,
    /// Parked deliveries to be tried whatever they wait for.
    forced: BTreeSet<Offset>,
    /// Parked deliveries to be settled when their turn comes.
    skips: BTreeSet<Offset>,
    /// The last probe: the next one tries another event.
    probed: Offset,
    /// Deliveries that were skipped and are to be recorded as such.
    skipped: Vec<Offset>,
}

impl Lane {
    /// A lane with nothing outstanding below `from`.
    pub(crate) fn live(from: Offset) -> Self {
        Self::new(Mode::Live { from }, Ack::default(), None)
    }

    /// A lane that is to read the log from `next` on, with no cursor on record that says so.
    pub(crate) fn behind(next: Offset) -> Self {
        Self::new(Mode::Behind { next }, Ack::default(), None)
    }

    /// A lane that goes on where the cursor on record stands.
    pub(crate) fn restored(cursor: &Cursor) -> Self {
        let ack = Ack::resume(cursor.settled.iter().copied());
        let row = Some((CursorState::Behind, cursor.floor));
        Self::new(Mode::Behind { next: cursor.floor }, ack, row)
    }

    fn new(mode: Mode, ack: Ack, row: Option<(CursorState, Offset)>) -> Self {
        Self {
            mode,
            paused: false,
            ack,
            queue: VecDeque::new(),
            queue_bytes: 0,
            parked: Retries::default(),
            in_flight: BTreeMap::new(),
            unrecorded: 0,
            reading: false,
            read_after: Timestamp::default(),
            surplus: false,
            unsure: false,
            loading: false,
            load_again: false,
            resume: Offset::ZERO,
            row,
            seen: Offset::ZERO,
            breaker: Breaker::default(),
            pace: Pace::default(),
            throttle: Throttle::default(),
            paused_until: Timestamp::default(),
            throttled_since: None,
            failing_since: None,
            stopped: false,
            releasing: None,
            forgiven: false,
            forced: BTreeSet::new(),
            skips: BTreeSet::new(),
            probed: Offset::MAX,
            skipped: Vec::new(),
        }
    }

    /// Takes in what happened, when the tail stands at `routed`.
    pub(crate) fn apply(&mut self, input: Input, routed: Offset, limits: &Limits) {
        self.level(routed);
        let mut routed = routed;
        match input {
            Input::Routed(record) => {
                routed = routed.max(record.offset.next());
                self.routed(record, limits);
            }
            Input::Unread(offset) => {
                routed = routed.max(offset.next());
                self.unread(offset);
            }
            Input::Page {
                from,
                records,
                next,
            } => self.page(from, records, next),
            Input::PageFailed { again } => {
                self.reading = false;
                self.read_after = again;
            }
            Input::Redeliver { offset, asked } => self.redeliver(offset, asked, limits),
            Input::Released { offset, retry } => self.released(offset, retry, limits),
            Input::Missed { offset } => self.missed(offset),
            Input::Skip { offset } => self.skip(offset, limits),
            Input::RetryNow { offset, asked } => self.retry_now(offset, asked),
            Input::Finished { offset, outcome } => self.finished(offset, outcome, limits),
            Input::Recorded { outcomes } => {
                self.unrecorded = self.unrecorded.saturating_sub(outcomes);
            }
            Input::Unheard => self.unheard(),
            Input::Loaded(found) => self.loaded(found, limits),
            Input::Paused => {
                self.paused = true;
                self.step_behind(self.next(routed));
            }
            Input::Resumed => self.paused = false,
            Input::Changed { is_forgiven } => self.changed(is_forgiven),
        }
        self.skip_front(limits);
        self.observe(routed);
        self.forgiven &= self.surplus;
        if !self.surplus && self.parked.first_due() != Some(AT_ONCE) {
            self.releasing = None;
        }
    }

    /// Takes in that the tail stands at `routed`, with nothing for this lane below it.
    pub(crate) fn observe(&mut self, routed: Offset) {
        self.level(routed);
        self.ack.advance(self.next(routed));
    }

    fn finished(&mut self, offset: Offset, outcome: Outcome, limits: &Limits) {
        let Some(flight) = self.in_flight.remove(&offset) else {
            return;
        };
        self.unrecorded += 1;
        if flight.first {
            self.ack.settle(offset);
        }
        if let Outcome::Retry(retry) = outcome {
            self.parked.insert(offset, retry);
        }
        if flight.is_skipped {
            self.skipped.push(offset);
        }
        // A dead endpoint costs no memory per waiting event.
        let is_dead = self.breaker.open().is_some() || self.held() >= limits.retries_max;
        if is_dead && let Some(front) = self.queue.front() {
            self.step_behind(front.record.offset);
        }
    }
}

mod clock;
mod command;
mod cursor;
mod feed;
mod judge;
mod load;
mod order;
mod scan;
#[cfg(test)]
mod tests;
mod wants;

pub(crate) use clock::{believed, bound};
pub(crate) use judge::{Ended, Judged};
pub(crate) use order::key_of;
pub(crate) use scan::{Found, Scan};
