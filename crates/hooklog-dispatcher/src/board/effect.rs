//! What goes into the board and what comes out of it.
//!
//! **Invariant:** plain values; each effect is answered by exactly one input.
//! **Next:** `board/follow.rs`, what the tail brings.

use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    DisableReason, DispatchState, EventId, Offset, OffsetRange, Progress, Record, Subscription,
    SubscriptionId, TailItem, Timestamp,
};

use super::Reading;
use crate::deliver::Answer;
use crate::lane::{self, Scan, Start};

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// The tail yielded an item.
    Tail(TailItem),
    /// Attempts ended.
    Finished(Vec<Finished>),
    /// A page was read, or could not be.
    Page {
        subscription: SubscriptionId,
        reading: Reading,
        from: Offset,
        page: Option<Page>,
    },
    /// Where one subscription stands was loaded.
    Loaded {
        subscription: SubscriptionId,
        state: DispatchState,
    },
    /// Some pages of what is parked were looked at.
    Scanned(Vec<(SubscriptionId, Scan)>),
    /// Subscriptions that have something parked; the next ones are behind `next`.
    Resynced {
        ids: Vec<SubscriptionId>,
        next: Option<SubscriptionId>,
    },
    /// What was handed out to be recorded is on record.
    Recorded,
    /// The subscription is disabled, or was changed or deleted meanwhile; the tail tells which.
    Disabled,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Make an attempt.
    Attempt {
        subscription: Arc<Subscription>,
        start: Start,
    },
    /// Read a page of the application's events, and keep those that the subscription takes.
    Read {
        subscription: Arc<Subscription>,
        reading: Reading,
        range: OffsetRange,
        limit: lane::Read,
    },
    /// Load where one subscription stands.
    Load(SubscriptionId),
    /// Look at some pages of what subscriptions have parked.
    Scan(Vec<(SubscriptionId, Scan)>),
    /// Look up who has something parked, behind this subscription.
    Resync(Option<SubscriptionId>),
    /// Disable a subscription, unless it goes elsewhere meanwhile.
    Disable {
        subscription: SubscriptionId,
        url: Arc<str>,
        reason: DisableReason,
    },
    /// Record progress; no other is handed out until this is on record.
    Record(Vec<Progress>),
}

/// A page of events that a subscription takes.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    /// Where the next page starts.
    pub(crate) next: Offset,
    /// What had expired and was passed over.
    pub(crate) expired: OffsetRange,
}

/// An attempt that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) subscription: SubscriptionId,
    pub(crate) url: Arc<str>,
    pub(crate) offset: Offset,
    /// `None` if the event could not be read.
    pub(crate) event: Option<EventId>,
    pub(crate) started: Timestamp,
    pub(crate) duration: Duration,
    pub(crate) answer: Answer,
    /// A random number from 0 to 1, for the jitter.
    pub(crate) sample: f64,
}
