//! How much a read returns, in which order, and what is left.
//!
//! **Invariant:** `rest` is exactly the part of the asked range that was not looked at, so reading on
//! from it misses nothing and repeats nothing.
//! **Next:** `read.rs`.

use std::ops::Range;

use crate::attempt::Attempt;
use crate::event::Record;
use crate::id::SubscriptionId;
use crate::offset::{AttemptSeq, Offset, OffsetRange};

/// How a list runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// How much one read returns at most; at least one item is returned if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Items.
    pub items: usize,
    /// Payload bytes.
    pub bytes: usize,
}

/// A page of events of one application.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// In the order asked for.
    pub records: Vec<Record>,
    /// What is left of the range that was asked for; empty when all was read.
    pub rest: OffsetRange,
    /// The part of the range that has expired and was passed over; empty if none was.
    pub expired: OffsetRange,
}

/// A page of attempts.
#[derive(Clone, Debug)]
pub struct AttemptPage {
    /// In the order asked for.
    pub attempts: Vec<Attempt>,
    /// What is left of the range that was asked for; empty when all was read.
    pub rest: Range<AttemptSeq>,
}

/// Whose attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptsOf {
    /// Of one event, to all subscriptions.
    Event(Offset),
    /// Of one subscription, for all events.
    Subscription(SubscriptionId),
}
