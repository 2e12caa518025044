//! Attempts and cursors: what the dispatcher tells the log about deliveries.
//!
//! **Invariant:** an attempt and the retry it asks for are one entry, so a crash never leaves a
//! failed delivery without its retry. A cursor passes an event only after the event was settled or
//! parked by such an entry.
//! **Next:** `entry.rs`, which puts them into a journal frame.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::Health;
use crate::id::{AttemptId, EventId, SubscriptionId};
use crate::offset::{AttemptSeq, Offset, OffsetRange};
use crate::time::Timestamp;

/// What caused an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The schedule.
    Scheduled,
    /// A person or program asked for it (resend).
    Manual,
    /// The time came that its publisher gave; only a first attempt is caused by that.
    Delayed,
}

/// What an attempt led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// 2xx: settled.
    Delivered,
    /// Failed: parked like this, then tried again.
    Retry(Retry),
    /// Failed and given up: settled without success.
    Exhausted,
}

/// One attempt, before the log gave it an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAttempt {
    /// The event that was sent.
    pub event: EventId,
    /// The subscription it was sent for.
    pub subscription: SubscriptionId,
    /// The URL it was sent to.
    pub url: Arc<str>,
    /// How many attempts of this delivery went before it.
    pub number: u16,
    /// When it started.
    pub started: Timestamp,
    /// How long it took until the answer (or failure) was known.
    pub duration: Duration,
    /// Status of the answer, `None` when there was none.
    pub status_code: Option<u16>,
    /// The answer's body, truncated, or why there was no answer.
    pub response: String,
    /// What it led to.
    pub outcome: Outcome,
    /// What caused it.
    pub trigger: Trigger,
}

/// One attempt in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Public id (carries its number).
    pub id: AttemptId,
    /// What happened.
    pub attempt: NewAttempt,
}

/// Where a subscription stands. Everything matching below `floor` is settled or parked, and so is
/// each offset in `settled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The next offset to settle.
    pub floor: Offset,
    /// Settled or parked offsets above the floor, ascending, at most one lane window.
    pub settled: Vec<Offset>,
    /// Whether the lane was level with the dispatcher.
    pub state: CursorState,
}

/// Whether a cursor's floor is to be taken literally after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CursorState {
    /// Nothing was outstanding: the subscription stands at the dispatcher's mark or at its floor,
    /// whichever is higher. Keeps 100,000 idle subscriptions from writing cursors.
    CaughtUp,
    /// Something above the floor is outstanding.
    Behind,
}

/// Why a delivery is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A person or program asked for it, or its publisher for this time.
    Asked,
    /// The endpoint failed; the delivery is due as soon as the endpoint is back.
    Endpoint,
    /// The endpoint refused this event.
    Event,
}

/// A parked delivery: its next attempt is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many attempts were made.
    pub number: u16,
    /// How many of them the schedule counts: those made while the endpoint was known to be down
    /// burn nothing.
    pub counted: u16,
    /// When the next is due.
    pub due: Timestamp,
    /// What will have caused it.
    pub trigger: Trigger,
    /// Why it is parked.
    pub cause: Cause,
    /// The event was not settled before, so what is ordered behind it waits for it.
    pub is_awaited: bool,
    /// Hash of the event's ordering key, so that a restart need not read the event.
    pub key: Option<u64>,
    /// Somebody wants it settled without another attempt.
    pub is_skipped: bool,
}

impl Retry {
    /// A delivery that somebody asked for.
    pub fn asked(asked: Timestamp) -> Self {
        Self {
            number: 0,
            counted: 0,
            due: asked,
            trigger: Trigger::Manual,
            cause: Cause::Asked,
            is_awaited: false,
            key: None,
            is_skipped: false,
        }
    }

    /// A delivery whose event was published for a later time, which has come by `now`.
    pub fn released(now: Timestamp, key: Option<u64>) -> Self {
        Self {
            trigger: Trigger::Delayed,
            is_awaited: true,
            key,
            ..Self::asked(now)
        }
    }

    /// The same, due at `time` at the latest. The log's time may be ahead of the clock, so what is to
    /// come sooner is never put off to it.
    pub(crate) fn due_by(self, time: Timestamp) -> Self {
        Self {
            due: self.due.min(time),
            ..self
        }
    }

    /// A delivery that failed for the `number`th time because of its event, by the schedule.
    pub fn failed(number: u16, due: Timestamp) -> Self {
        Self {
            number,
            counted: number,
            due,
            trigger: Trigger::Scheduled,
            cause: Cause::Event,
            is_awaited: true,
            key: None,
            is_skipped: false,
        }
    }
}

/// Where the log begins: what lies below has expired and is not shown any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Low {
    /// The first event that is kept.
    pub events: Offset,
    /// The first attempt that is kept.
    pub attempts: AttemptSeq,
}

impl Low {
    /// Whichever is lower, for each.
    #[must_use]
    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            events: self.events.min(other.events),
            attempts: self.attempts.min(other.attempts),
        }
    }

    /// Whichever is higher, for each.
    #[must_use]
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            events: self.events.max(other.events),
            attempts: self.attempts.max(other.attempts),
        }
    }
}

/// What a subscription never got to see: its cursor was below the log's low end and was moved there.
/// The range holds the offsets of all applications, so it tells at most how many events were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// From the first lost offset up to where the cursor went on; all times taken together.
    pub range: OffsetRange,
    /// When it happened last.
    pub at: Timestamp,
}

impl Expired {
    /// Both losses as one.
    #[must_use]
    pub(crate) fn join(self, other: &Self) -> Self {
        Self {
            range: self.range.start.min(other.range.start)..self.range.end.max(other.range.end),
            at: self.at.max(other.at),
        }
    }
}

/// What the dispatcher records; several ride in one commit, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An attempt was made; parks or unparks its delivery.
    Attempt(NewAttempt),
    /// A subscription's cursor moved.
    Cursor(SubscriptionId, Cursor),
    /// Every subscription whose cursor is `CaughtUp` (or absent) stands at this offset.
    Mark(Offset),
    /// A subscription lost events to retention.
    Expired(SubscriptionId, Expired),
    /// What the endpoint of a subscription is known to be like now.
    Health(SubscriptionId, Health),
    /// A delivery was skipped: it is parked no longer.
    Skipped(SubscriptionId, Offset),
}

/// Where every subscription stands; what the dispatcher starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryState {
    /// The dispatcher's mark.
    pub mark: Offset,
    /// Cursors by subscription, ascending.
    pub cursors: Vec<(SubscriptionId, Cursor)>,
    /// Parked deliveries by subscription and offset, ascending.
    pub retries: Vec<(SubscriptionId, Offset, Retry)>,
    /// Endpoints that are not known to be well, by subscription, ascending.
    pub health: Vec<(SubscriptionId, Health)>,
}
