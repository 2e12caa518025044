//! Schemas of what the types of the wire do not say by themselves: ids, times, names, and the bodies
//! that come in, which are parsed field by field.
//!
//! **Invariant:** a limit stands here by the name of the constant that the parser checks. A text is
//! limited in bytes, which JSON Schema cannot say: it says as many characters, and the description
//! says bytes.
//! **Next:** `schemas/application.rs`, then a file per resource.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType};
use utoipa::{PartialSchema, ToSchema};

mod application;
mod endpoint;
mod event_type;
mod message;
mod requests;

pub(crate) use endpoint::EndpointUpdate;
pub(crate) use event_type::EventTypeUpdate;
pub(crate) use message::{BatchIn, BatchOut, CloudEvent, CloudEvents};
pub(crate) use requests::{BulkReplayIn, FilterTestIn, ReplayIn};

/// A name that users choose, but for `.` and `..`.
const NAME: &str = "^(\\.{0,2}[a-zA-Z0-9_-]|\\.{3})[a-zA-Z0-9._-]*$";
/// A text of the API, which has none of the lowest control characters.
const TEXT: &str = "^[^\\u0000-\\u0008]*$";

/// A schema as it stands in the document.
pub(crate) fn raw(schema: Value) -> RefOr<Schema> {
    let keywords: Extensions = match schema {
        Value::Object(keywords) => keywords.into_iter().collect(),
        _ => Extensions::default(),
    };
    let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    any.extensions(Some(keywords)).into()
}

/// `schema` with what it means.
pub(crate) fn told(text: &str, mut schema: Value) -> Value {
    if let Value::Object(keywords) = &mut schema {
        keywords.insert("description".to_owned(), text.into());
    }
    schema
}

/// `schema` with what is taken where it is left out.
fn with_default(default: impl Into<Value>, mut schema: Value) -> Value {
    if let Value::Object(keywords) = &mut schema {
        keywords.insert("default".to_owned(), default.into());
    }
    schema
}

/// `schema`, or null, which is as good as leaving the field out.
fn or_null(mut schema: Value) -> Value {
    let Value::Object(keywords) = &mut schema else {
        return schema;
    };
    if let Some(Value::Array(values)) = keywords.get_mut("enum") {
        values.push(Value::Null);
    }
    match keywords.get_mut("type") {
        Some(kind @ Value::String(_)) => *kind = json!([kind.take(), "null"]),
        Some(_) => {}
        None => return json!({"oneOf": [schema, {"type": "null"}]}),
    }
    schema
}

/// A body of these fields: all but those of `required` may be left out or null.
fn body<'a>(
    text: &str,
    required: &[&str],
    fields: impl IntoIterator<Item = (&'a str, Value)>,
) -> Value {
    let fields = fields.into_iter().map(|(name, schema)| {
        let schema = if required.contains(&name) {
            schema
        } else {
            or_null(schema)
        };
        (name.to_owned(), schema)
    });
    let fields: serde_json::Map<String, Value> = fields.collect();
    let mut body = json!({"type": "object", "description": text, "properties": fields});
    if let (Value::Object(body), false) = (&mut body, required.is_empty()) {
        body.insert("required".to_owned(), json!(required));
    }
    body
}

/// A text of so many bytes at most.
pub(crate) fn text(bytes_max: usize) -> Value {
    json!({"type": "string", "maxLength": bytes_max, "pattern": TEXT})
}

/// A name of so many characters at most.
pub(crate) fn name(limit: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": limit, "pattern": NAME})
}

/// Some names.
pub(crate) fn names(limit: usize, count: usize) -> Value {
    json!({"type": "array", "items": name(limit), "minItems": 1, "maxItems": count})
}

/// A whole number.
pub(crate) fn integer(minimum: u64, maximum: u64) -> Value {
    json!({"type": "integer", "minimum": minimum, "maximum": maximum})
}

/// One of these texts.
pub(crate) fn one_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Value {
    let values: Vec<&str> = values.into_iter().collect();
    json!({"type": "string", "enum": values})
}

pub(crate) fn flag() -> Value {
    json!({"type": "boolean"})
}

pub(crate) fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A condition on payloads.
fn filter() -> Value {
    let text = "A condition on the payload, as `{\"data.amount\": {\"$gte\": 100}}`.";
    told(text, json!({"type": "object", "minProperties": 1}))
}

/// An object of anything.
fn any_object() -> Value {
    json!({"type": "object"})
}

/// Key-value pairs of texts.
fn metadata() -> Value {
    let limit = super::fields::METADATA_BYTES_MAX;
    let pairs = json!({"type": "object", "additionalProperties": {"type": "string"}});
    told(
        &format!("Free pairs of texts, at most {limit} bytes together."),
        pairs,
    )
}

/// Headers that deliveries carry.
fn headers() -> Value {
    use hooklog_storage::Header;
    let value = json!({
        "type": "string", "maxLength": Header::VALUE_BYTES_MAX,
        "pattern": "^([!-~]([ -~]*[!-~])?)?$",
    });
    json!({
        "type": "object",
        "maxProperties": Header::COUNT_MAX,
        "propertyNames": {
            "minLength": 1, "maxLength": Header::NAME_BYTES_MAX,
            "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        },
        "additionalProperties": value,
    })
}

/// The text of an id. The first of its 27 characters is below `a` until the year 2149.
pub(crate) fn id(prefix: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{prefix}[0-9A-Z][0-9A-Za-z]{{26}}$")})
}

/// A page's iterator in a list of ids: behind the item, or with `-` in front of it.
pub(crate) fn iterator(prefix: &str) -> Value {
    json!({"type": "string", "pattern": format!("^(-?{prefix}[0-9A-Z][0-9A-Za-z]{{26}})?$")})
}

/// As [`iterator`], in a list of event types.
pub(crate) fn event_type_iterator() -> Value {
    let pattern = format!("^(-?{})?$", NAME.trim_matches(['^', '$']));
    json!({"type": "string", "maxLength": hooklog_storage::EventTypeName::LIMIT, "pattern": pattern})
}

/// A type that stands in the document for a value of the wire.
macro_rules! stand_in {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                raw($schema)
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}
use stand_in;

/// As [`stand_in`], for types that are there already.
macro_rules! describe {
    ($($name:ident = $schema:expr;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                raw($schema)
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}
use describe;

stand_in! {
    /// A moment.
    Time = told("RFC 3339, in UTC, with milliseconds.", time());
    /// An application's id.
    ApplicationId = id(hooklog_storage::ApplicationId::PREFIX);
    /// An organisation's id.
    OrganisationId = id(hooklog_storage::OrganisationId::PREFIX);
    /// An endpoint's id.
    EndpointId = id(hooklog_storage::SubscriptionId::PREFIX);
    /// A message's id.
    MessageId = id(hooklog_storage::EventId::PREFIX);
    /// An attempt's id.
    AttemptId = id(hooklog_storage::AttemptId::PREFIX);
    /// A background task's id.
    TaskId = id(hooklog_storage::TaskId::PREFIX);
    /// A payload as it is shown.
    Payload = told(
        "The payload, if it is a JSON object; else `{\"text\": …}`, or `{\"base64\": …}` for what \
         is not UTF-8. `{}` without content; `{\"expired\": true}` once it was expunged.",
        any_object(),
    );
    /// An object whose form is its owner's.
    AnyObject = any_object();
}
