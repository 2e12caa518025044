//! Events: what is published, and what the log makes of it.
//!
//! **Invariant:** the payload's bytes are stored and delivered verbatim; nothing here parses them.
//! **Next:** `commit.rs`, where an event gets its offset.

use std::time::Duration;

use bytes::Bytes;

use crate::header::Header;
use crate::id::{ApplicationId, EventId, SubscriptionId};
use crate::idempotency::IdempotencyKey;
use crate::name::{Channel, EventTypeName, OrderingKey, Tag, Uid};
use crate::offset::Offset;
use crate::time::Timestamp;

/// An event before it has a place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The application it is published in.
    pub application: ApplicationId,
    /// What happened, as `invoice.paid`.
    pub event_type: EventTypeName,
    /// Channels it is published on; a subscription without channels takes all.
    pub channels: Vec<Channel>,
    /// The publisher's own id, unique within the application.
    pub uid: Option<Uid>,
    /// What tells a repetition of the request that publishes it.
    pub idempotency: Option<IdempotencyKey>,
    /// Media type of the payload, sent as `content-type`.
    pub content_type: String,
    /// Words to find it by; they select nothing.
    pub tags: Vec<Tag>,
    /// What it belongs to, for subscriptions that want order by key: two events with equal keys are
    /// delivered one after the other.
    pub ordering_key: Option<OrderingKey>,
    /// Headers that every delivery carries (`traceparent`, attributes of a CloudEvent); at most
    /// [`Header::COUNT_MAX`].
    pub headers: Vec<Header>,
    /// It is for this subscription alone, which gets it only when it is asked for
    /// ([`redeliver`](crate::EventLog::redeliver)): no filter takes it.
    pub only: Option<SubscriptionId>,
    /// It is in the log at once, for all who read it, and pushed not before this time (at most
    /// [`Event::DELIVER_AFTER_MAX`] ahead). A time that has come by its commit is none.
    /// Without a dispatcher nothing waits for it; what is kept of it goes with the event, or a day after
    /// that time.
    pub deliver_at: Option<Timestamp>,
    /// The payload, verbatim.
    pub payload: Bytes,
}

impl Event {
    /// How far ahead `deliver_at` may lie, if events are kept for so long. Svix's SDKs promise a day
    /// and Twilio takes 35; a month is what people plan by, and costs a row of some 100 bytes.
    pub const DELIVER_AFTER_MAX: Duration = Duration::from_hours(30 * 24);

    /// A JSON event of which nothing else is said.
    pub fn new(
        application: ApplicationId,
        event_type: EventTypeName,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            application,
            event_type,
            channels: Vec::new(),
            uid: None,
            idempotency: None,
            content_type: "application/json".to_owned(),
            tags: Vec::new(),
            ordering_key: None,
            headers: Vec::new(),
            only: None,
            deliver_at: None,
            payload: payload.into(),
        }
    }

    /// The same, pushed not before `time`.
    #[must_use]
    pub fn deliver_at(self, time: impl Into<Timestamp>) -> Self {
        Self {
            deliver_at: Some(time.into()),
            ..self
        }
    }
}

/// An event in the log. Cloning is cheap in the payload, which is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub offset: Offset,
    /// Its public id (carries the offset).
    pub id: EventId,
    /// When it was committed. Never decreases along the log.
    pub timestamp: Timestamp,
    /// What was published.
    pub event: Event,
}

/// What became of one event of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk and survives power loss.
    Committed {
        /// Its id (carries the offset).
        id: EventId,
        /// Its time.
        timestamp: Timestamp,
    },
    /// Its uid belongs to an earlier event of the application; nothing was written for it.
    UidTaken {
        /// The earlier event.
        existing: EventId,
    },
    /// The same request was here before, with this outcome; nothing was written for it again.
    Replayed {
        /// Id of the event that it published.
        id: EventId,
        /// That event's time.
        timestamp: Timestamp,
    },
    /// Its idempotency key belongs to another request; nothing was written for it.
    KeyMismatch {
        /// The event that the other request published.
        existing: EventId,
    },
}
