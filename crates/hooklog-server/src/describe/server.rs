//! Operations on tokens and on the server itself, and what is not offered.
//!
//! **Invariant:** as `describe.rs`.
//! **Next:** `describe/page.rs`.

use http::Method;
use serde_json::{Value, json};

use super::errors::Refusal::{Conflict, NotOffered};
use super::operation::{Operation, get, post};
use crate::wire::schemas::AnyObject;
use crate::wire::{AccessIn, AccessOut, EmptyOut, ExpireIn, HealthOut, WhoamiOut};

pub(super) fn tokens() -> Vec<Operation> {
    let application = json!({"featureFlags": ["beta"], "expiry": 3600});
    vec![
        post(
            "/auth/app-portal-access/{app}",
            "v1.authentication.app-portal-access",
            "Make a token for a customer",
        )
        .about("It reaches this application alone, which is made if the body says how.")
        .optional_body::<AccessIn>(application)
        .answers::<AccessOut>(200, "The token, and a URL with it.")
        .refuses(Conflict)
        .refuses(NotOffered),
        post(
            "/auth/dashboard-access/{app}",
            "v1.authentication.dashboard-access",
            "Make a token, by its older name",
        )
        .answers::<AccessOut>(200, "The token, and a URL with it.")
        .refuses(NotOffered),
        post(
            "/auth/app/{app}/expire-all",
            "v1.authentication.expire-all",
            "End an application's tokens",
        )
        .about("All that were made so far, or those of some sessions, at once or after a while.")
        .optional_body::<ExpireIn>(json!({"expiry": 60}))
        .answers::<EmptyOut>(200, "They are refused from then on."),
        post(
            "/auth/logout",
            "v1.authentication.logout",
            "End the token of this request",
        )
        .done(204, "It is refused from now on."),
        get(
            "/auth/whoami",
            "v1.authentication.whoami",
            "Show whom the token speaks for",
        )
        .answers::<WhoamiOut<'static>>(200, "Its subject."),
    ]
}

pub(super) fn server() -> Vec<Operation> {
    let since = json!({"type": "string"});
    let octets = json!({"type": "string", "format": "binary"});
    let html = json!({"type": "string"});
    vec![
        get(
            "/health",
            "v1.health.get",
            "Show whether the server can work",
        )
        .answers::<HealthOut>(200, "It can.")
        .answers::<HealthOut>(500, "The log had to stop: publishing fails."),
        get(
            "/health/ping",
            "hooklog.health.ping",
            "Show whether the server answers",
        )
        .done(204, "It does."),
        get(
            "/operator/backup",
            "hooklog.operator.backup",
            "Save everything",
        )
        .about("As `hooklog backup` does it.")
        .query(
            "since",
            "Only what came after this point, where an older backup ends.",
            since,
        )
        .answers_as(200, "The backup.", "application/octet-stream", octets)
        .refuses(Conflict),
        get("/openapi.json", "hooklog.openapi", "Show this description")
            .answers::<AnyObject>(200, "An OpenAPI document.")
            .tagged(),
        get("/docs", "hooklog.docs", "Read this description")
            .answers_as(200, "A page.", "text/html", html)
            .tagged(),
    ]
}

/// What the API family has and this server does not.
const NOT_OFFERED: &[(&str, &str, &str)] = &[
    (
        "GET",
        "/app/{app}/endpoint/{endpoint}/transformation",
        "v1.endpoint.transformation-get",
    ),
    (
        "PATCH",
        "/app/{app}/endpoint/{endpoint}/transformation",
        "v1.endpoint.patch-transformation",
    ),
    ("POST", "/admin/redrive-dlq", "v1.admin.redrive-dlq"),
    ("POST", "/environment/export", "v1.environment.export"),
    ("POST", "/environment/import", "v1.environment.import"),
    ("GET", "/ingest/{*rest}", "v1.ingest.get"),
    ("POST", "/ingest/{*rest}", "v1.ingest.post"),
    ("PUT", "/ingest/{*rest}", "v1.ingest.put"),
    ("PATCH", "/ingest/{*rest}", "v1.ingest.patch"),
    ("DELETE", "/ingest/{*rest}", "v1.ingest.delete"),
];

pub(super) fn not_offered() -> Vec<Operation> {
    let operations = NOT_OFFERED.iter().filter_map(|&(method, path, id)| {
        let method = method.parse::<Method>().ok()?;
        let operation = Operation::new(method, path, id, "Not offered");
        Some(
            operation
                .refuses(NotOffered)
                .marked("x-not-offered", Value::Bool(true)),
        )
    });
    operations.collect()
}
