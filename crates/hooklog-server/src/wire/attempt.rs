//! Attempts in JSON.
//!
//! **Invariant:** an attempt that failed says `fail`, also when another one follows: that one will
//! be an attempt of its own.
//! **Next:** `wire/problem.rs`.

use hooklog_storage::{
    Attempt, AttemptId, EventId, Outcome, Record, SubscriptionId, Timestamp, Trigger,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Content, MessageOut, schemas, text, time};

/// The number that stands for an outcome on the wire.
pub(crate) fn status(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Delivered => 0,
        Outcome::Retry { .. } | Outcome::Exhausted => 2,
    }
}

/// An attempt as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptOut<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::AttemptId)]
    id: AttemptId,
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::MessageId)]
    msg_id: EventId,
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::EndpointId)]
    endpoint_id: SubscriptionId,
    url: &'a str,
    response: &'a str,
    /// 0 if there was no answer.
    response_status_code: u16,
    response_duration_ms: u64,
    #[schema(minimum = 0, maximum = 3)]
    status: u16,
    status_text: &'static str,
    trigger_type: u16,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<MessageOut<'a>>,
}

impl<'a> AttemptOut<'a> {
    /// With the response's body, or without it.
    pub(crate) fn new(value: &'a Attempt, content: Content) -> Self {
        let attempt = &value.attempt;
        Self {
            id: value.id,
            msg_id: attempt.event,
            endpoint_id: attempt.subscription,
            url: &attempt.url,
            response: match content {
                Content::Full => &attempt.response,
                Content::Omitted => "",
            },
            response_status_code: attempt.status_code.unwrap_or(0),
            response_duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            status: status(attempt.outcome),
            status_text: match attempt.outcome {
                Outcome::Delivered => "success",
                Outcome::Retry { .. } | Outcome::Exhausted => "fail",
            },
            trigger_type: match attempt.trigger {
                Trigger::Scheduled | Trigger::Delayed => 0,
                Trigger::Manual => 1,
            },
            timestamp: attempt.started,
            msg: None,
        }
    }

    /// With the message that it was about, but for its payload.
    pub(crate) fn with_message(self, record: Option<&'a Record>) -> Self {
        let msg = record.map(|record| MessageOut::new(record, Content::Omitted));
        Self { msg, ..self }
    }
}
