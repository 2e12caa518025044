//! Values for the tests of this crate.
//!
//! **Invariant:** made of numbers alone, so every run sees the same ids.
//! **Next:** the tests of each file.

use std::sync::Arc;

use bytes::Bytes;
use hooklog_storage::{
    ApplicationId, Endpoint, Event, EventId, Filter, Offset, Rare, Record, SecretKey, Subscription,
    SubscriptionId, SubscriptionState, Timestamp,
};

pub(crate) mod net;
pub(crate) mod sink;

pub(crate) fn application(number: u8) -> ApplicationId {
    ApplicationId::from_bytes([number; 20])
}

pub(crate) fn subscription_id(number: u8) -> SubscriptionId {
    SubscriptionId::from_bytes([number; 20])
}

/// An enabled subscription of application 0 that takes everything from the start.
pub(crate) fn subscription(number: u8) -> Subscription {
    Subscription {
        id: subscription_id(number),
        application: application(0),
        uid: None,
        description: Rare::default(),
        endpoint: Endpoint {
            url: format!("http://127.0.0.1/{number}").into(),
            secret: SecretKey::new(vec![number; 24]),
            old_secrets: Rare::default(),
            headers: Rare::default(),
            format: hooklog_storage::Format::Payload,
        },
        filter: Filter::default(),
        state: SubscriptionState::Enabled,
        metadata: Rare::default(),
        start: Offset::ZERO,
        created: Timestamp::default(),
        updated: Timestamp::default(),
        ordering: hooklog_storage::Ordering::None,
        policy: Arc::default(),
    }
}

pub(crate) fn event_id(offset: u64) -> EventId {
    EventId::at(
        Timestamp::from_millis(1_700_000_000_000),
        Offset::new(offset),
        [7; 7],
    )
}

/// The record at `offset` of application 0, with a payload of `bytes` bytes.
pub(crate) fn record_of(offset: u64, bytes: usize) -> Record {
    Record {
        offset: Offset::new(offset),
        id: event_id(offset),
        timestamp: Timestamp::from_millis(1_700_000_000_000),
        event: Event {
            application: application(0),
            event_type: "test.event".parse().unwrap(),
            channels: Vec::new(),
            uid: None,
            idempotency: None,
            content_type: "application/json".to_owned(),
            payload: Bytes::from(vec![b'x'; bytes]),
            tags: Vec::new(),
            ordering_key: None,
            headers: Vec::new(),
            only: None,
            deliver_at: None,
        },
    }
}

pub(crate) fn record(offset: u64) -> Arc<Record> {
    Arc::new(record_of(offset, 10))
}
