//! Sends an example to one endpoint.
//!
//! **Invariant:** the message is an event like any other, but for the one endpoint alone; it is on
//! disk, and its delivery asked for durably, when the answer is made.
//! **Next:** `precheck.rs`.

use bytes::Bytes;
use hooklog_storage::{Appended, Event, EventTypeName, Record};
use http::StatusCode;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Content, ExampleIn, Fields, MessageOut};

/// An event type that everyone has, for a first try, and what comes with it.
const PING: &str = "svix.ping";
const PING_PAYLOAD: &str = r#"{"success":true}"#;

pub(crate) async fn send(call: Call) -> Answer {
    let asked = ExampleIn::parse(&Fields::parse(call.bytes())?)?;
    let subscription = call.subscription()?;
    let payload = match asked.payload {
        Some(payload) => payload,
        None => payload(&call, &asked.event_type, asked.index)?,
    };
    let event = Event {
        only: Some(subscription.id),
        ..Event::new(subscription.application, asked.event_type, payload)
    };
    let shown = event.clone();
    let log = &call.state.log;
    let appended = log.append(vec![event]).await?;
    let Some(Appended::Committed { id, timestamp }) = appended.into_iter().next() else {
        // It has no keys, so nothing stands in its way.
        return Err(ApiError::OutOfService("The log gave no answer".to_owned()));
    };
    log.redeliver(subscription.id, id).await?;
    let record = Record {
        offset: id.offset(),
        id,
        timestamp,
        event: shown,
    };
    reply::json(StatusCode::OK, &MessageOut::new(&record, Content::Full))
}

/// The example that the schema of the event type has.
fn payload(call: &Call, name: &EventTypeName, index: usize) -> Result<Bytes, ApiError> {
    let organisation = call.organisation()?;
    let found = {
        let registry = call.state.log.registry();
        registry.event_type(organisation, name).cloned()
    };
    match found {
        None if name.as_str() == PING => Ok(PING_PAYLOAD.into()),
        None => Err(ApiError::NotFound),
        Some(value) => {
            let schemas = value.schemas.as_deref().unwrap_or_default();
            example(schemas, index).ok_or_else(|| ApiError::Refused {
                code: "invalid_scheme",
                detail: format!(
                    "The schema of {name} has no example {index} that is an object; \
                     give one as `examples`"
                ),
            })
        }
    }
}

/// The example at `index` of the schema of the highest version.
fn example(schemas: &str, index: usize) -> Option<Bytes> {
    let versions = Fields::parse(schemas.as_bytes()).ok()?;
    let newest = versions
        .names_of_all()
        .filter_map(|name| Some((name.parse::<u64>().ok()?, name)))
        .max();
    let schema = match newest {
        Some((_, name)) => Fields::parse(versions.raw(name)?.get().as_bytes()).ok()?,
        // A schema by itself.
        None => versions,
    };
    let text = match schema.raw("examples") {
        Some(raw) => {
            let examples: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
            examples.get(index)?.get()
        }
        None if index == 0 => schema.raw("example")?.get(),
        None => return None,
    };
    text.starts_with('{')
        .then(|| Bytes::copy_from_slice(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_newest_version_is_taken() {
        let cases = [
            (
                r#"{"1":{"examples":[{"a":1},{"b": 2}]}}"#,
                0,
                Some(r#"{"a":1}"#),
            ),
            (
                r#"{"1":{"examples":[{"a":1},{"b": 2}]}}"#,
                1,
                Some(r#"{"b": 2}"#),
            ),
            (r#"{"1":{"examples":[{"a":1}]}}"#, 1, None),
            (
                r#"{"9":{"examples":[{"v":9}]},"10":{"examples":[{"v":10}]}}"#,
                0,
                Some(r#"{"v":10}"#),
            ),
            (
                r#"{"type":"object","example":{"x":1}}"#,
                0,
                Some(r#"{"x":1}"#),
            ),
            (r#"{"1":{"examples":["text"]}}"#, 0, None),
            (r#"{"1":{}}"#, 0, None),
            ("", 0, None),
        ];
        for (schemas, index, expected) in cases {
            let found = example(schemas, index);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{schemas}");
        }
    }
}
