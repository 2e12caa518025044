//! Schemas of messages and events that come in.
//!
//! **Invariant:** as `wire/schemas.rs`.
//! **Next:** `wire/schemas/requests.rs`.

use std::borrow::Cow;

use hooklog_storage::{Channel, EventTypeName, OrderingKey, Tag, Uid};
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::super::application::ApplicationIn;
use super::super::batch::{BatchEndOut, ResultOut};
use super::super::message::{CHANNELS_MAX, MessageIn, RETENTION_DAYS, TAGS_MAX};
use super::{any_object, body, describe, headers, name, names, or_null, raw, stand_in, time, told};
use crate::event_in::CONTENT_TYPE_BYTES_MAX;

describe! {
    MessageIn = message();
}

stand_in! {
    /// The body of a batch.
    BatchIn = json!({"anyOf": [
        {"type": "array", "items": {"$ref": "#/components/schemas/MessageIn"}},
        {"$ref": "#/components/schemas/MessageIn"},
    ]});
    /// The answer to a batch.
    BatchOut = json!({"allOf": [
        {
            "type": "object",
            "required": ["data"],
            "properties": {
                "data": {"type": "array", "items": {"$ref": "#/components/schemas/ResultOut"}},
            },
        },
        {"$ref": "#/components/schemas/BatchEndOut"},
    ]});
    /// A CloudEvent in the JSON format.
    CloudEvent = cloud_event();
    /// A batch of them.
    CloudEvents = json!({"type": "array", "items": {"$ref": "#/components/schemas/CloudEvent"}});
}

impl BatchOut {
    /// What it consists of.
    pub(crate) fn parts(found: &mut Vec<(String, RefOr<Schema>)>) {
        ResultOut::schemas(found);
        found.push((ResultOut::name().into_owned(), ResultOut::schema()));
        found.push((BatchEndOut::name().into_owned(), BatchEndOut::schema()));
    }
}

/// The name of the schema that a message's own application has.
fn application() -> Value {
    let name = ApplicationIn::name();
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn message() -> Value {
    let fields = content().into_iter().chain(way());
    let mut message = body(
        "A message. Fields of the API family that would have no effect are refused: \
          `payloadRetentionHours`.",
        &["eventType"],
        fields,
    );
    let either = |name: &str| json!({"required": [name], "properties": {name: {"type": "object"}}});
    if let Value::Object(keywords) = &mut message {
        let payload = [either("payload"), either("transformationsParams")];
        keywords.insert("anyOf".to_owned(), json!(payload));
    }
    message
}

/// What it is.
fn content() -> [(&'static str, Value); 6] {
    let key = json!({
        "type": "string", "minLength": 1, "maxLength": OrderingKey::LIMIT,
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    });
    let mut tags = names(Tag::LIMIT, TAGS_MAX);
    if let Value::Object(keywords) = &mut tags {
        keywords.remove("minItems");
    }
    let payload = told(
        "Any JSON object, delivered byte for byte as it is sent. Where `transformationsParams` \
         has a `rawPayload`, that is the payload instead.",
        any_object(),
    );
    [
        (
            "eventType",
            told(
                "As `invoice.paid`; it need not exist.",
                name(EventTypeName::LIMIT),
            ),
        ),
        ("payload", payload),
        (
            "eventId",
            told(
                "Your own id of it, unique in the application; must not start with `msg_`.",
                name(Uid::LIMIT),
            ),
        ),
        ("channels", names(Channel::LIMIT, CHANNELS_MAX)),
        ("tags", told("Words to find it by.", tags)),
        (
            "orderingKey",
            told(
                "Messages of one key are delivered in order where `ordering` is `fifoByKey`; at most 256 bytes.",
                key,
            ),
        ),
    ]
}

/// How it is stored and delivered.
fn way() -> [(&'static str, Value); 5] {
    [
        ("headers", told("Headers of its deliveries.", headers())),
        (
            "deliverAt",
            told(
                "It is not pushed before this time, which is at most 30 days away, or the age at which \
                 events expire. One in the past is none.",
                time(),
            ),
        ),
        (
            "application",
            told(
                "The application to make if there is none; its `uid` is the one in the path.",
                application(),
            ),
        ),
        (
            "payloadRetentionPeriod",
            json!({"type": "integer", "const": RETENTION_DAYS}),
        ),
        (
            "transformationsParams",
            told(
                "A payload that is not JSON, with its content type.",
                raw_payload(),
            ),
        ),
    ]
}

/// What stands for a payload that is not JSON.
fn raw_payload() -> Value {
    json!({
        "type": "object",
        "required": ["rawPayload"],
        "additionalProperties": false,
        "properties": {
            "rawPayload": {"type": "string"},
            "headers": or_null(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {"content-type": {
                    "type": "string", "minLength": 1, "maxLength": CONTENT_TYPE_BYTES_MAX,
                    "pattern": "^[!-~]([ -~]*[!-~])?$",
                }},
            })),
        },
    })
}

fn cloud_event() -> Value {
    let text = || json!({"type": "string", "minLength": 1});
    json!({
        "type": "object",
        "description": "CloudEvents 1.0, JSON format; any further attribute is kept. `source` and \
                        `id` together are the message's own id.",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"type": "string", "const": "1.0"},
            "id": text(), "source": text(), "type": name(EventTypeName::LIMIT),
            "time": {"type": ["string", "null"], "format": "date-time"},
            "subject": {"type": ["string", "null"]},
            "datacontenttype": {"type": ["string", "null"]},
            "data": {}, "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
        },
        "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
    })
}
