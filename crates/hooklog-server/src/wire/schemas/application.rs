//! Schemas of applications that come in, and of the policy that they share with endpoints.
//!
//! **Invariant:** as `wire/schemas.rs`.
//! **Next:** `wire/schemas/event_type.rs`.

use std::borrow::Cow;

use hooklog_storage::{STATUSES_MAX, Uid};
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::super::application::{ApplicationIn, ApplicationPatch, NAME_BYTES_MAX};
use super::super::policy;
use super::{body, describe, integer, metadata, name, raw, text, told};

describe! {
    ApplicationIn = body("An application.", &["name"], fields());
    ApplicationPatch = body(
        "What to change of an application: what is left out stays.", &[], fields(),
    );
}

fn fields() -> impl Iterator<Item = (&'static str, Value)> {
    let mut title = text(NAME_BYTES_MAX);
    if let Value::Object(keywords) = &mut title {
        keywords.insert("minLength".to_owned(), 1.into());
    }
    let own = [
        ("name", told("For people; at most 1024 bytes.", title)),
        (
            "uid",
            told(
                "Your own id of it, unique; must not start with `app_`.",
                name(Uid::LIMIT),
            ),
        ),
        ("metadata", metadata()),
    ];
    own.into_iter().chain(policy_fields())
}

/// How fast and how often deliveries are tried.
pub(super) fn policy_fields() -> impl Iterator<Item = (&'static str, Value)> {
    let rate = integer(1, policy::THROTTLE_RATE_MAX.into());
    let delays = json!({
        "type": "array", "maxItems": policy::RETRIES_MAX,
        "items": integer(0, policy::DELAY_SECS_MAX),
    });
    let statuses = json!({
        "type": "array", "items": integer(300, 599), "maxItems": STATUSES_MAX,
    });
    let fields = [
        (
            "throttleRate",
            "Most attempts a second; also as `rateLimit`, its older name.",
            rate,
        ),
        (
            "retrySchedule",
            "Seconds before each retry; the first attempt is made at once.",
            delays,
        ),
        (
            "concurrency",
            "Most attempts at a time.",
            integer(1, policy::CONCURRENCY_MAX.into()),
        ),
        (
            "giveUpStatuses",
            "Answers after which a delivery is not tried again.",
            statuses,
        ),
        (
            "disableAfterSeconds",
            "After so long of nothing but failures an endpoint is disabled; 0 for never.",
            integer(0, policy::DISABLE_AFTER_SECS_MAX),
        ),
    ];
    fields
        .into_iter()
        .map(|(name, text, schema)| (name, told(text, schema)))
}
