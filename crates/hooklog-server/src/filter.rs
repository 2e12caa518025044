//! Tries a condition against a sample, before an endpoint has it.
//!
//! **Invariant:** what is answered here is what the dispatch would do: the same code decides.
//! **Next:** `secret.rs`.

use bytes::Bytes;
use hooklog_storage::{Condition, EventId, explain_condition};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Fields, Issue, condition, required};

/// Whether a condition holds.
#[derive(Serialize, ToSchema)]
#[schema(as = FilterTestOut)]
pub(crate) struct TestOut {
    matches: bool,
    /// The first part that does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// `{"filter": …, "payload": …}`, or `"msgId"` of a message of the application instead of a payload.
pub(crate) async fn test(call: Call) -> Answer {
    let application = call.application()?.id;
    let (condition, sample) = parse(call.bytes())?;
    let payload = match sample {
        Sample::Payload(payload) => payload,
        Sample::Message(id) => {
            let found = call.state.read(move |log| log.get(id)).await?;
            let own = found.filter(|record| record.event.application == application);
            let missing = || Issue::body("msgId", "is no message of this application");
            own.ok_or_else(missing)?.event.payload
        }
    };
    let reason = explain_condition(&condition, &payload).err();
    let reason = reason.map(|why| why.to_string());
    let matches = reason.is_none();
    reply::json(StatusCode::OK, &TestOut { matches, reason })
}

enum Sample {
    Payload(Bytes),
    Message(EventId),
}

fn parse(body: &Bytes) -> Result<(Condition, Sample), Issue> {
    let fields = Fields::parse(body)?;
    let condition = condition(&fields)?.ok_or_else(required("filter"))?;
    let id = fields.value::<String>("msgId")?;
    let sample = match (fields.raw("payload"), id) {
        (Some(raw), None) => Sample::Payload(body.slice_ref(raw.get().as_bytes())),
        (None, Some(text)) => {
            let wrong = |error: hooklog_storage::IdError| Issue::body("msgId", error.to_string());
            Sample::Message(text.parse().map_err(wrong)?)
        }
        (None, None) => return Err(Issue::body("payload", "or `msgId` is required")),
        (Some(_), Some(_)) => return Err(Issue::body("msgId", "must not stand beside `payload`")),
    };
    Ok((condition, sample))
}
