//! Explanations in JSON: of one delivery, and of how far an endpoint is behind.
//!
//! **Invariant:** places are those of the log over all applications; messages are those that the
//! endpoint wants.
//! **Next:** `wire/message.rs`.

use hooklog_storage::{Subscription, SubscriptionId, Timestamp, Uid};
use serde::Serialize;
use utoipa::ToSchema;

use super::{schemas, some_time, text};

/// Where the delivery of a message to an endpoint stands.
#[derive(Debug, Default)]
pub(crate) struct TraceStatus {
    pub(crate) status: &'static str,
    pub(crate) why: String,
    pub(crate) next_attempt: Option<Timestamp>,
}

/// The same, as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TraceOut<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::EndpointId)]
    id: SubscriptionId,
    #[schema(required)]
    endpoint_uid: Option<&'a str>,
    url: &'a str,
    /// `delivered`, `failed`, `waiting`, `unwanted` or `missed`.
    status: &'static str,
    /// The reason, for people.
    why: String,
    #[serde(serialize_with = "some_time", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<schemas::Time>)]
    next_attempt: Option<Timestamp>,
}

impl<'a> TraceOut<'a> {
    pub(crate) fn new(value: &'a Subscription, told: Option<TraceStatus>) -> Self {
        let TraceStatus {
            status,
            why,
            next_attempt,
        } = told.unwrap_or_default();
        Self {
            id: value.id,
            endpoint_uid: value.uid.as_ref().map(Uid::as_str),
            url: &value.endpoint.url,
            status,
            why,
            next_attempt,
        }
    }
}

/// How far an endpoint is behind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LagOut {
    /// The first place of the log that it has not settled.
    pub(crate) cursor: u64,
    /// Places from there to the log's end.
    pub(crate) places: u64,
    /// Messages among them that it wants, and bytes of their payloads.
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Time of the first of them.
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    pub(crate) oldest: Option<Timestamp>,
    /// Not all places were counted: there are at least so many messages.
    pub(crate) at_least: bool,
    /// Deliveries that failed and wait for their next attempt, at most 512 are counted.
    pub(crate) parked: usize,
    /// When the first of these is due.
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    pub(crate) next_attempt: Option<Timestamp>,
    /// Every attempt since then has failed.
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    pub(crate) failing_since: Option<Timestamp>,
    /// Since then it is taken to be down: messages wait, and one at a time is tried.
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    pub(crate) down_since: Option<Timestamp>,
    /// When the next of these is.
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    pub(crate) probe_at: Option<Timestamp>,
    /// It asked to be left alone until then.
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    pub(crate) paused_until: Option<Timestamp>,
    /// Its rate has held up messages since then.
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    pub(crate) throttled_since: Option<Timestamp>,
}
