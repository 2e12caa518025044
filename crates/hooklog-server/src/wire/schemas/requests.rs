//! Schemas of the smaller requests: tokens, tasks, cursors, examples, filters.
//!
//! **Invariant:** as `wire/schemas.rs`.
//! **Next:** `wire/tests.rs`.

use std::borrow::Cow;

use hooklog_storage::{COUNTED_MAX, Channel, EventTypeName, Tag};
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::super::application::ApplicationIn;
use super::super::import::ImportIn;
use super::super::poll::{CommitIn, SeekIn};
use super::super::portal::{
    AFTER_MAX, AccessIn, EXPIRY_DEFAULT, EXPIRY_MAX, EXPIRY_MIN, ExpireIn, SESSION_BYTES_MAX,
    SESSIONS_AT_ONCE_MAX,
};
use super::super::requests::{
    BulkExpungeIn, CHANNELS_MAX, EXPUNGED_AT_ONCE_MAX, ExampleIn, PrecheckIn,
};
use super::super::task::{EVENT_TYPES_MAX, UsageIn};
use super::event_type::feature_flags;
use super::{
    any_object, body, describe, filter, flag, id, integer, name, names, raw, stand_in, time, told,
    with_default,
};
use crate::token::Capability;

describe! {
    AccessIn = body("A token to make.", &[], [
        ("featureFlags", feature_flags()),
        ("readOnly", told("Whether it only sees, secrets left out.", with_default(false, flag()))),
        ("capabilities", told("What it may do, `ViewBase` among it; everything unless said.", capabilities())),
        (
            "expiry",
            with_default(EXPIRY_DEFAULT.as_secs(), told(
                "Seconds for which the token is good.",
                integer(EXPIRY_MIN.as_secs(), EXPIRY_MAX.as_secs()),
            )),
        ),
        ("sessionId", told(
            "The session that the token belongs to: those of a session can be ended by themselves.",
            session(),
        )),
        ("application", told("The application to make if there is none.", application())),
    ]);
    ExpireIn = body("When tokens are to end.", &[], [
        (
            "expiry",
            with_default(0, told("Seconds for which they are still good.", integer(0, AFTER_MAX.as_secs()))),
        ),
        ("sessionIds", told(
            "Only tokens of these sessions end; without one all do.",
            json!({"type": "array", "items": session(), "maxItems": SESSIONS_AT_ONCE_MAX}),
        )),
    ]);
    UsageIn = body("Deliveries from `since` to `until`, which is now unless said.", &["since"], [
        ("since", time()),
        ("until", time()),
        ("appIds", told(
            "Ids or uids of applications; all that have deliveries unless said. Those that are none \
             are told of, unless all are.",
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": COUNTED_MAX}),
        )),
    ]);
    ImportIn = body("An OpenAPI 3 document, by one of `spec` and `specRaw`.", &[], [
        ("spec", told("The document.", any_object())),
        ("specRaw", told("The same as a text: JSON, not YAML.", json!({"type": "string"}))),
        ("dryRun", with_default(false, told("Only tell what would be done.", flag()))),
        ("replaceAll", with_default(false, told(
            "Archive all event types that the document does not have.", flag(),
        ))),
    ]);
    ExampleIn = body("An example to send.", &["eventType"], [
        ("eventType", told("One that exists, or `svix.ping`.", name(EventTypeName::LIMIT))),
        ("exampleIndex", with_default(0, told("Which of the schema's `examples`.", integer(0, u64::MAX)))),
        ("payload", told("What to send instead.", any_object())),
    ]);
    PrecheckIn = body("A message that may be published.", &["eventType"], [
        ("eventType", name(EventTypeName::LIMIT)),
        ("channels", names(Channel::LIMIT, CHANNELS_MAX)),
    ]);
    BulkExpungeIn = body("Messages whose payloads are to go.", &[], [(
        "ids",
        json!({
            "type": "array", "items": {"type": "string"}, "maxItems": EXPUNGED_AT_ONCE_MAX,
            "description": "Ids or uids.",
        }),
    )]);
    CommitIn = body("What a reader is done with.", &["offset"], [(
        "offset",
        told("The `offset` of the last message that it is done with.", integer(0, u64::MAX)),
    )]);
    SeekIn = body("Where a cursor is to go.", &["after"], [("after", time())]);
}

stand_in! {
    /// The times between which a task looks.
    ReplayIn = body("Messages from `since` to `until`, which is now unless said.", &["since"], between());
    /// The same, and a filter.
    BulkReplayIn = body("Which messages to send again.", &["since"], between().into_iter().chain([
        ("eventTypes", names(EventTypeName::LIMIT, EVENT_TYPES_MAX)),
        ("channel", name(Channel::LIMIT)),
        ("tag", name(Tag::LIMIT)),
        ("status", told("0 for those that succeeded, 2 for those that failed.", json!({"type": "integer", "enum": [0, 2]}))),
        ("statusCodeClass", told("Class of the last answer; 0 for none.", json!({"type": "integer", "enum": [0, 100, 200, 300, 400, 500]}))),
    ]));
    /// A condition to try.
    FilterTestIn = body(
        "A condition and what to try it against: one of `payload` and `msgId`.", &["filter"], [
            ("filter", filter()),
            ("payload", json!({"description": "Any JSON."})),
            ("msgId", told("A message of the application.", id(hooklog_storage::EventId::PREFIX))),
        ],
    );
}

/// The id of a session.
fn session() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": SESSION_BYTES_MAX,
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    })
}

fn between() -> [(&'static str, Value); 2] {
    [("since", time()), ("until", time())]
}

fn capabilities() -> Value {
    let one = json!({"type": "string", "enum": Capability::ALL});
    let base = json!({"const": Capability::ViewBase});
    json!({"type": "array", "items": one, "contains": base, "maxItems": Capability::ALL.len()})
}

fn application() -> Value {
    json!({"$ref": format!("#/components/schemas/{}", ApplicationIn::name())})
}
