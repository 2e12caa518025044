//! Operations on endpoints, and on operational webhooks, which are endpoints of another scope.
//!
//! **Invariant:** as `describe.rs`.
//! **Next:** `describe/message.rs`.

use hooklog_storage::{AttemptId, EventId, SubscriptionId};
use serde_json::{Value, json};

use super::errors::Refusal::Conflict;
use super::operation::{Operation, delete, get, patch, post, put};
use super::parameters::{content, events, order, status, window};
use crate::filter::TestOut;
use crate::wire::schemas::{EndpointUpdate, FilterTestIn, iterator, time};
use crate::wire::{
    AttemptOut, AttemptStatsOut, EndpointIn, EndpointMessageOut, EndpointOut, EndpointPatch,
    ExampleIn, HeadersIn, HeadersOut, HeadersPatch, LagOut, MessageOut, Rotation, SecretOut,
    StatsOut,
};

type Out = EndpointOut<'static>;

fn books() -> Value {
    json!({"url": "https://example.com/hook", "uid": "books"})
}

pub(super) fn endpoints() -> Vec<Operation> {
    let mut all = of_scope(&Scope {
        list: "/app/{app}/endpoint",
        one: "/app/{app}/endpoint/{endpoint}",
        headers: "/app/{app}/endpoint/{endpoint}/headers",
        secret: "/app/{app}/endpoint/{endpoint}/secret",
        rotate: "/app/{app}/endpoint/{endpoint}/secret/rotate",
        id: "v1.endpoint",
        what: "endpoint",
    });
    all.extend(deliveries());
    all
}

pub(super) fn operational() -> Vec<Operation> {
    of_scope(&Scope {
        list: "/operational-webhook/endpoint",
        one: "/operational-webhook/endpoint/{endpoint}",
        headers: "/operational-webhook/endpoint/{endpoint}/headers",
        secret: "/operational-webhook/endpoint/{endpoint}/secret",
        rotate: "/operational-webhook/endpoint/{endpoint}/secret/rotate",
        id: "v1.operational-webhook.endpoint",
        what: "operational webhook",
    })
}

/// Where endpoints are, and how they are called there.
struct Scope {
    list: &'static str,
    one: &'static str,
    headers: &'static str,
    secret: &'static str,
    rotate: &'static str,
    id: &'static str,
    what: &'static str,
}

fn of_scope(scope: &Scope) -> Vec<Operation> {
    let id = |verb: &str| format!("{}.{verb}", scope.id);
    let what = scope.what;
    let mut all = vec![
        order(get(scope.list, &id("list"), &format!("List the {what}s")))
            .paged(iterator(SubscriptionId::PREFIX))
            .lists::<Out>("A page of endpoints."),
        post(scope.list, &id("create"), &format!("Create an {what}"))
            .body::<EndpointIn>(books())
            .answers::<Out>(201, "Created.")
            .refuses(Conflict),
        get(scope.one, &id("get"), &format!("Show an {what}")).answers::<Out>(200, "The endpoint."),
        put(
            scope.one,
            &id("update"),
            &format!("Replace an {what}, or create it"),
        )
        .about("The secret is kept, and a uid that the body lacks.")
        .body::<EndpointUpdate>(json!({"url": "https://example.com/hook"}))
        .answers::<Out>(200, "Replaced.")
        .answers::<Out>(201, "Created with the uid in the path.")
        .refuses(Conflict),
        patch(scope.one, &id("patch"), &format!("Change an {what}"))
            .body::<EndpointPatch>(json!({"disabled": true}))
            .answers::<Out>(200, "Changed.")
            .refuses(Conflict),
        delete(scope.one, &id("delete"), &format!("Delete an {what}")).done(204, "Deleted."),
    ];
    all.extend(headers_and_secret(scope));
    all
}

fn headers_and_secret(scope: &Scope) -> Vec<Operation> {
    let id = |verb: &str| format!("{}.{verb}", scope.id);
    let headers = json!({"headers": {"x-tenant": "demo"}});
    vec![
        get(
            scope.headers,
            &id("get-headers"),
            "Show the headers of its deliveries",
        )
        .about("Of those that are credentials only the names, as `sensitive`.")
        .answers::<HeadersOut<'static>>(200, "The headers."),
        put(
            scope.headers,
            &id("update-headers"),
            "Replace the headers of its deliveries",
        )
        .body::<HeadersIn>(headers.clone())
        .done(204, "Replaced."),
        patch(
            scope.headers,
            &id("patch-headers"),
            "Change the headers of its deliveries",
        )
        .body::<HeadersPatch>(headers)
        .done(204, "Changed."),
        get(scope.secret, &id("get-secret"), "Show its signing secret")
            .answers::<SecretOut>(200, "The secret."),
        post(
            scope.rotate,
            &id("rotate-secret"),
            "Change its signing secret",
        )
        .about("The old one signs beside the new one for a while; ten old ones at once.")
        .optional_body::<Rotation>(json!({"gracePeriodSeconds": 3600}))
        .answers::<SecretOut>(200, "The new secret."),
    ]
}

/// What endpoints get, and what became of it.
fn deliveries() -> Vec<Operation> {
    let messages = "/app/{app}/endpoint/{endpoint}/msg";
    let messages = get(
        messages,
        "v1.message-attempt.list-attempted-messages",
        "List its messages",
    )
    .about("Those that it got or is to get, newest first, with what became of them.")
    .paged(iterator(EventId::PREFIX));
    let dead = "/app/{app}/endpoint/{endpoint}/dead-letter";
    let dead = get(
        dead,
        "hooklog.endpoint.dead-letter",
        "List what was given up",
    )
    .about("The last attempts of deliveries that failed for good, newest first.")
    .paged(iterator(AttemptId::PREFIX));
    vec![
        content(status(window(events(messages))), true)
            .lists::<EndpointMessageOut<'static>>("A page of messages."),
        content(dead, true).lists::<AttemptOut<'static>>("A page of attempts."),
        get(
            "/app/{app}/endpoint/{endpoint}/lag",
            "hooklog.endpoint.lag",
            "Show how far it is behind",
        )
        .answers::<LagOut>(200, "How far, and what holds it up."),
        counted(get(
            "/app/{app}/endpoint/{endpoint}/stats",
            "v1.endpoint.get-stats",
            "Count its messages",
        ))
        .answers::<StatsOut>(200, "How many there are of each kind."),
        counted(get(
            "/app/{app}/endpoint/{endpoint}/attempt-stats",
            "v1.endpoint.attempt-stats",
            "Count its attempts",
        ))
        .answers::<AttemptStatsOut>(200, "How many ended how."),
        post(
            "/app/{app}/endpoint/{endpoint}/send-example",
            "v1.endpoint.send-example",
            "Send an example",
        )
        .about("To this endpoint alone.")
        .body::<ExampleIn>(json!({"eventType": "svix.ping"}))
        .answers::<MessageOut<'static>>(200, "The message that is on its way."),
        post(
            "/app/{app}/filter/test",
            "hooklog.filter.test",
            "Try a filter",
        )
        .body::<FilterTestIn>(json!({
            "filter": {"data.amount": {"$gte": 100}}, "payload": {"data": {"amount": 7}},
        }))
        .answers::<TestOut>(200, "Whether it matches, and if not, why."),
    ]
}

/// Of a time that is not too long.
fn counted(operation: Operation) -> Operation {
    operation
        .about("Of at most 28 days, not in the future.")
        .query(
            "since",
            "Not older than this; four weeks before `until` unless said.",
            time(),
        )
        .query("until", "Older than this; now unless said.", time())
}
