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
//! ```
//!
//! **Invariant:** the queue, the retry table, the attempts in flight and the outcomes that are not
//! on record are each bounded by [`Limits`]. An event that matches leaves the lane only settled or
//! parked, or by stepping behind, so none is lost.
//! **Next:** `board.rs`, which holds all lanes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hooklog_storage::{Cursor, CursorState, Offset, Outcome, Record, Retry, Timestamp, Trigger};

use crate::ack::Ack;
use crate::retries::Retries;

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
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The tail has a matching record.
    Routed(Arc<Record>),
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
    /// The attempt of this offset ended.
    Finished { offset: Offset, outcome: Outcome },
    /// This many outcomes are on record.
    Recorded { outcomes: usize },
    /// The parked deliveries on record, in answer to [`Lane::load`] or at the start.
    Loaded(Vec<(Offset, Retry)>),
    /// The subscription was disabled.
    Paused,
    /// The subscription was enabled.
    Resumed,
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

/// How many attempts went before one in flight, and what caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) number: u16,
    pub(crate) trigger: Trigger,
    first: bool,
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
    queue: VecDeque<Arc<Record>>,
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
    /// The parked deliveries are being loaded.
    loading: bool,
    /// One was left to the log since that began, so what is being loaded may lack it.
    load_again: bool,
    /// The cursor as it was last handed out to be recorded.
    row: Option<(CursorState, Offset)>,
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
            loading: false,
            load_again: false,
            row,
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
            Input::Finished { offset, outcome } => self.finished(offset, outcome, limits),
            Input::Recorded { outcomes } => {
                self.unrecorded = self.unrecorded.saturating_sub(outcomes);
            }
            Input::Loaded(rows) => self.loaded(rows, limits),
            Input::Paused => {
                self.paused = true;
                self.step_behind(self.next(routed));
            }
            Input::Resumed => self.paused = false,
        }
        self.skip_front();
        self.observe(routed);
    }

    /// Takes in that the tail stands at `routed`, with nothing for this lane below it.
    pub(crate) fn observe(&mut self, routed: Offset) {
        self.level(routed);
        self.ack.advance(self.next(routed));
    }

    fn routed(&mut self, record: Arc<Record>, limits: &Limits) {
        let Mode::Live { from } = self.mode else {
            return;
        };
        if record.offset < from {
            return;
        }
        let full = self.queue.len() >= limits.queue_max
            || self.queue_bytes >= limits.queue_bytes_max
            || self.parked.len() >= limits.retries_max;
        if full {
            self.mode = Mode::Behind {
                next: record.offset,
            };
        } else {
            self.push(record);
        }
    }

    fn page(&mut self, from: Offset, records: Vec<Arc<Record>>, next: Offset) {
        self.reading = false;
        // The lane may have stepped back (paused, or retry table full) since the page was asked for.
        if self.paused || self.mode != (Mode::Behind { next: from }) {
            return;
        }
        for record in records {
            self.push(record);
        }
        self.mode = Mode::Behind { next };
    }

    fn redeliver(&mut self, offset: Offset, asked: Timestamp, limits: &Limits) {
        if let Some(flight) = self.in_flight.get_mut(&offset) {
            // The one under way is the one asked for; told as such, it takes the log's row away.
            flight.trigger = Trigger::Manual;
            return;
        }
        // The log has parked it already, in the same way, so nothing is lost if it must wait there.
        if self.parked.len() >= limits.retries_max * 2 && !self.parked.contains(offset) {
            self.surplus = true;
            self.load_again = self.loading;
            return;
        }
        self.parked.insert(
            offset,
            Retry {
                number: 0,
                due: asked,
                trigger: Trigger::Manual,
            },
        );
    }

    fn finished(&mut self, offset: Offset, outcome: Outcome, limits: &Limits) {
        let Some(flight) = self.in_flight.remove(&offset) else {
            return;
        };
        self.unrecorded += 1;
        if flight.first {
            self.ack.settle(offset);
        }
        if let Outcome::Retry { due } = outcome {
            let number = flight.number.saturating_add(1);
            self.parked.insert(
                offset,
                Retry {
                    number,
                    due,
                    trigger: Trigger::Scheduled,
                },
            );
        }
        // A dead endpoint costs no memory per waiting event.
        if self.parked.len() >= limits.retries_max
            && let Some(front) = self.queue.front()
        {
            self.step_behind(front.offset);
        }
    }

    fn loaded(&mut self, mut rows: Vec<(Offset, Retry)>, limits: &Limits) {
        self.loading = false;
        self.surplus = std::mem::take(&mut self.load_again);
        rows.sort_by_key(|(offset, retry)| (retry.due, *offset));
        for (offset, retry) in rows {
            if self.in_flight.contains_key(&offset) || self.parked.contains(offset) {
                continue;
            }
            if self.parked.len() >= limits.retries_max * 2 {
                self.surplus = true;
                break;
            }
            self.parked.insert(offset, retry);
        }
    }

    fn push(&mut self, record: Arc<Record>) {
        self.queue_bytes += bytes(&record);
        self.queue.push_back(record);
    }

    fn pop(&mut self) -> Option<Arc<Record>> {
        let record = self.queue.pop_front()?;
        self.queue_bytes -= bytes(&record);
        Some(record)
    }

    fn step_behind(&mut self, next: Offset) {
        self.mode = Mode::Behind { next };
        self.queue = VecDeque::new();
        self.queue_bytes = 0;
    }

    /// Behind and level with the tail is live.
    fn level(&mut self, routed: Offset) {
        if let Mode::Behind { next } = self.mode
            && next >= routed
            && !self.paused
        {
            self.mode = Mode::Live { from: next };
        }
    }

    /// Passes what needs no first attempt: settled before a restart, parked, or under way by hand.
    fn skip_front(&mut self) {
        while let Some(front) = self.queue.front() {
            let offset = front.offset;
            let parked = self.parked.contains(offset) || self.in_flight.contains_key(&offset);
            if !parked && !self.ack.is_settled(offset) {
                return;
            }
            self.pop();
            self.ack.settle(offset);
        }
    }

    /// The lowest offset whose first attempt has not started.
    fn next(&self, routed: Offset) -> Offset {
        match (self.queue.front(), self.mode) {
            (Some(front), _) => front.offset,
            (None, Mode::Behind { next }) => next,
            (None, Mode::Live { from }) => from.max(routed),
        }
    }
}

/// What a record in the queue costs: its payload, and about this much for the rest.
fn bytes(record: &Record) -> usize {
    const REST: usize = 256;
    record.event.payload.len() + REST
}

mod cursor;
#[cfg(test)]
mod tests;
mod wants;
