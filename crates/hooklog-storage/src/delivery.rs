//! How the events of a subscription are pushed: order, pace, retries, format.
//!
//! **Invariant:** plain values that the edge has checked against the limits here; `None` always
//! means "as the next wider scope says": subscription, then application, then the server.
//! **Next:** `subscription.rs`.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// In which order events are pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordering {
    /// As it comes: several at a time, and a failed one is overtaken.
    #[default]
    None,
    /// One after the other: an event is first sent after the one before it was settled.
    Fifo,
    /// The same among the events of one ordering key; events without a key are not ordered.
    FifoByKey,
}

/// What an endpoint is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The payload, verbatim, with its content type.
    #[default]
    Payload,
    /// The payload, verbatim, with the attributes of a CloudEvent as `ce-` headers.
    CloudEventsBinary,
    /// A CloudEvent in JSON (`application/cloudevents+json`) around the payload.
    CloudEventsStructured,
}

/// How events are pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Delays before the first attempt (zero) and before each retry.
    pub schedule: Option<Vec<Duration>>,
    /// Most attempts a second.
    pub throttle_rate: Option<NonZeroU32>,
    /// Most attempts at a time.
    pub concurrency: Option<NonZeroU16>,
    /// Answers after which the event is given up at once, by status; at most [`STATUSES_MAX`].
    pub give_up_statuses: Option<Vec<u16>>,
    /// A subscription that gave nothing but failures for so long is disabled; zero: never.
    pub disable_after: Option<Duration>,
}

/// Most statuses in [`Policy::give_up_statuses`]: all of the 4xx that are registered.
pub const STATUSES_MAX: usize = 40;

impl Policy {
    /// This policy, completed by a wider one where it says nothing.
    #[must_use]
    pub fn or(&self, wider: &Self) -> Self {
        let Self {
            schedule,
            throttle_rate,
            concurrency,
            give_up_statuses,
            disable_after,
        } = self.clone();
        Self {
            schedule: schedule.or_else(|| wider.schedule.clone()),
            throttle_rate: throttle_rate.or(wider.throttle_rate),
            concurrency: concurrency.or(wider.concurrency),
            give_up_statuses: give_up_statuses.or_else(|| wider.give_up_statuses.clone()),
            disable_after: disable_after.or(wider.disable_after),
        }
    }
}
