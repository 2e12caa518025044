//! Schemas of endpoints that come in, of their headers and secrets.
//!
//! **Invariant:** as `wire/schemas.rs`.
//! **Next:** `wire/schemas/message.rs`.

use std::borrow::Cow;

use hooklog_storage::{Channel, EventTypeName, Uid};
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::super::endpoint::{
    CHANNELS_MAX, DESCRIPTION_BYTES_MAX, EVENT_TYPES_MAX, EndpointIn, EndpointPatch, GRACE_DEFAULT,
    GRACE_MAX, Rotation, URL_BYTES_MAX,
};
use super::super::headers::{HeadersIn, HeadersPatch};
use super::super::push::{FORMATS, ORDERINGS};
use super::application::policy_fields;
use super::{
    body, describe, filter, flag, headers, integer, metadata, name, names, one_of, or_null, raw,
    stand_in, text, told, with_default,
};

/// A secret: `whsec_` and base64 of 24 to 75 bytes.
const SECRET: &str = "^(whsec_)?[A-Za-z0-9+/]{32,100}$";

describe! {
    EndpointIn = body("An endpoint.", &["url"], created());
    EndpointPatch = body(
        "What to change of an endpoint: what is left out stays; null is the default.", &[],
        fields().chain([secret_field()]),
    );
    Rotation = body("A new secret.", &[], [
        ("key", told("The new secret; one is made if none is given.", secret())),
        (
            "gracePeriodSeconds",
            with_default(GRACE_DEFAULT.as_secs(), told(
                "So long the old secret goes on signing beside the new one.",
                integer(0, GRACE_MAX.as_secs()),
            )),
        ),
    ]);
    HeadersIn = body("Headers of each delivery.", &["headers"], [("headers", headers())]);
    HeadersPatch = body("Headers to set and to take away.", &[], [
        ("headers", told("Those that are null are taken away.", nullable_headers())),
        ("deleteHeaders", json!({"type": "array", "items": {"type": "string"}})),
    ]);
}

stand_in! {
    /// An endpoint to put in the place of another: it keeps its secret.
    EndpointUpdate = body("An endpoint.", &["url"], created());
}

fn created() -> impl Iterator<Item = (&'static str, Value)> {
    let start = json!({
        "description": "From where in the log it gets messages, instead of from now on.",
        "oneOf": [
            {"type": "string", "const": "beginning"},
            {"type": "string", "format": "date-time"},
            integer(0, u64::MAX),
            {"type": "null"},
        ],
    });
    fields().chain([secret_field(), ("startFrom", start)])
}

fn secret_field() -> (&'static str, Value) {
    (
        "secret",
        told(
            "What signs the deliveries; one is made if none is given.",
            secret(),
        ),
    )
}

fn secret() -> Value {
    json!({"type": "string", "pattern": SECRET})
}

fn nullable_headers() -> Value {
    let mut all = headers();
    if let Some(value) = all.get_mut("additionalProperties") {
        *value = or_null(value.take());
    }
    all
}

fn fields() -> impl Iterator<Item = (&'static str, Value)> {
    let url = json!({
        "type": "string", "maxLength": URL_BYTES_MAX, "pattern": "^[hH][tT][tT][pP][sS]?:",
    });
    let types = |text: &str| told(text, names(EventTypeName::LIMIT, EVENT_TYPES_MAX));
    let own = [
        (
            "url",
            told(
                "Where deliveries go; no user name, and a host that may be reached.",
                url,
            ),
        ),
        (
            "description",
            told("For people.", text(DESCRIPTION_BYTES_MAX)),
        ),
        (
            "uid",
            told(
                "Your own id of it, unique; must not start with `ep_`.",
                name(Uid::LIMIT),
            ),
        ),
        ("disabled", with_default(false, flag())),
        (
            "eventTypes",
            types(
                "Those that it gets, which must exist; null for all. Also as `filterTypes`, its older name.",
            ),
        ),
        (
            "channels",
            told(
                "Messages of any of these channels; null for all.",
                names(Channel::LIMIT, CHANNELS_MAX),
            ),
        ),
        ("filter", filter()),
        ("metadata", metadata()),
        ("headers", told("Headers of each delivery.", headers())),
        (
            "ordering",
            told(
                "Whether messages wait for the one before.",
                one_of(ORDERINGS.iter().map(|(name, _)| *name)),
            ),
        ),
        (
            "format",
            told(
                "What a delivery looks like.",
                one_of(FORMATS.iter().map(|(name, _)| *name)),
            ),
        ),
    ];
    own.into_iter().chain(policy_fields())
}
