//! Schemas of event types that come in.
//!
//! **Invariant:** as `wire/schemas.rs`.
//! **Next:** `wire/schemas/endpoint.rs`.

use std::borrow::Cow;

use hooklog_storage::EventTypeName;
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::super::event_type::{
    DESCRIPTION_BYTES_MAX, EventTypeIn, EventTypePatch, NAME_BYTES_MAX, SCHEMAS_BYTES_MAX,
};
use super::super::portal::{FLAG_BYTES_MAX, FLAGS_BYTES_MAX, FLAGS_MAX};
use super::{any_object, body, describe, flag, name, raw, stand_in, text, told, with_default};

describe! {
    EventTypeIn = body("An event type.", &["name", "description"], named());
    EventTypePatch = body(
        "What to change of an event type: what is left out stays.", &[], fields(),
    );
}

stand_in! {
    /// An event type to put in the place of another, by the name in the path.
    EventTypeUpdate = body(
        "An event type; a `name` must be that of the path.", &["description"], fields(),
    );
}

fn named() -> impl Iterator<Item = (&'static str, Value)> {
    let own = [(
        "name",
        told("As `invoice.paid`.", name(EventTypeName::LIMIT)),
    )];
    own.into_iter().chain(fields())
}

fn fields() -> impl Iterator<Item = (&'static str, Value)> {
    let schemas = format!(
        "JSON Schemas by version; at most {SCHEMAS_BYTES_MAX} bytes. `examples` in them are what \
         `send-example` sends."
    );
    let fields = [
        (
            "description",
            told("For people.", text(DESCRIPTION_BYTES_MAX)),
        ),
        ("archived", with_default(false, flag())),
        ("deprecated", with_default(false, flag())),
        ("schemas", told(&schemas, any_object())),
        ("featureFlags", feature_flags()),
        ("groupName", text(NAME_BYTES_MAX)),
    ];
    fields.into_iter()
}

/// Of an event type, or of a token.
pub(super) fn feature_flags() -> Value {
    let flag = json!({
        "type": "string", "minLength": 1, "maxLength": FLAG_BYTES_MAX,
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    });
    let text = format!(
        "At most {FLAGS_BYTES_MAX} bytes together. Of an event type also as `featureFlag`, one text."
    );
    told(
        &text,
        json!({"type": "array", "items": flag, "maxItems": FLAGS_MAX}),
    )
}
