//! Operations on applications and event types.
//!
//! **Invariant:** as `describe.rs`.
//! **Next:** `describe/endpoint.rs`.

use hooklog_storage::ApplicationId;
use serde_json::{Value, json};

use super::errors::Refusal::Conflict;
use super::operation::{Operation, delete, get, patch, post, put};
use super::parameters::{content, order};
use crate::wire::schemas::{EventTypeUpdate, event_type_iterator, flag, iterator};
use crate::wire::{
    ApplicationIn, ApplicationOut, ApplicationPatch, EventTypeIn, EventTypeOut, EventTypePatch,
    ImportIn, ImportOut,
};

type Out = ApplicationOut<'static>;
type Type = EventTypeOut<'static>;

fn demo() -> Value {
    json!({"name": "Demo", "uid": "demo"})
}

pub(super) fn applications() -> Vec<Operation> {
    vec![
        order(get("/app", "v1.application.list", "List applications"))
            .query(
                "exclude_apps_with_no_endpoints",
                "Not those that have none.",
                flag(),
            )
            .query(
                "exclude_apps_with_disabled_endpoints",
                "Not those whose endpoints are all disabled.",
                flag(),
            )
            .paged(iterator(ApplicationId::PREFIX))
            .lists::<Out>("A page of applications."),
        post("/app", "v1.application.create", "Create an application")
            .query(
                "get_if_exists",
                "Answer with the application of that uid, if there is one.",
                flag(),
            )
            .body::<ApplicationIn>(demo())
            .answers::<Out>(200, "There was one of that uid (`get_if_exists`).")
            .answers::<Out>(201, "Created.")
            .refuses(Conflict),
        get("/app/{app}", "v1.application.get", "Show an application")
            .answers::<Out>(200, "The application."),
        put(
            "/app/{app}",
            "v1.application.update",
            "Replace an application, or create it",
        )
        .about("A uid that the body lacks is kept.")
        .body::<ApplicationIn>(json!({"name": "Demo"}))
        .answers::<Out>(200, "Replaced.")
        .answers::<Out>(201, "Created with the uid in the path.")
        .refuses(Conflict),
        patch(
            "/app/{app}",
            "v1.application.patch",
            "Change an application",
        )
        .body::<ApplicationPatch>(json!({"metadata": {"plan": "gold"}}))
        .answers::<Out>(200, "Changed.")
        .refuses(Conflict),
        delete(
            "/app/{app}",
            "v1.application.delete",
            "Delete an application",
        )
        .about("With its endpoints; its messages are not shown any more.")
        .done(204, "Deleted."),
    ]
}

pub(super) fn event_types() -> Vec<Operation> {
    let list = get("/event-type", "v1.event-type.list", "List event types")
        .query("include_archived", "Those that were archived, too.", flag())
        .paged(event_type_iterator());
    vec![
        content(order(list), false).lists::<Type>("A page of event types."),
        post(
            "/event-type",
            "v1.event-type.create",
            "Create an event type",
        )
        .about("One that was archived is taken out of the archive.")
        .body::<EventTypeIn>(json!({"name": "invoice.paid", "description": "An invoice was paid"}))
        .answers::<Type>(201, "Created.")
        .refuses(Conflict),
        import(),
        get(
            "/event-type/{name}",
            "v1.event-type.get",
            "Show an event type",
        )
        .answers::<Type>(200, "The event type."),
        put(
            "/event-type/{name}",
            "v1.event-type.update",
            "Replace an event type, or create it",
        )
        .body::<EventTypeUpdate>(json!({"description": "An invoice was paid"}))
        .answers::<Type>(200, "Replaced.")
        .answers::<Type>(201, "Created.")
        .refuses(Conflict),
        patch(
            "/event-type/{name}",
            "v1.event-type.patch",
            "Change an event type",
        )
        .body::<EventTypePatch>(json!({"deprecated": true}))
        .answers::<Type>(200, "Changed."),
        delete(
            "/event-type/{name}",
            "v1.event-type.delete",
            "Archive or remove an event type",
        )
        .query(
            "expunge",
            "Remove it, so that one of that name can be made anew.",
            flag(),
        )
        .done(204, "Archived, or removed."),
    ]
}

fn import() -> Operation {
    let schema = json!({"type": "object", "examples": [{"id": 7}]});
    let body = json!({"content": {"application/json": {"schema": schema}}});
    let webhook = json!({"post": {"description": "An invoice was paid", "requestBody": body}});
    let spec = json!({"openapi": "3.1.0", "webhooks": {"invoice.paid": webhook}});
    post(
        "/event-type/import/openapi",
        "v1.event-type.import-openapi",
        "Import event types from OpenAPI",
    )
    .about(
        "Each of the document's `webhooks` (or `x-webhooks`) is an event type of its name, with the \
         description, the schema (with what it refers to) and the example of its POST, and its \
         `x-svix-group-name` and `x-svix-feature-flags`. One that was archived is taken out of the \
         archive; one that the document says nothing new about is left as it is. At most 1,000.",
    )
    .body::<ImportIn>(json!({"spec": spec, "dryRun": true}))
    .answers::<ImportOut<'static>>(200, "What was changed, or would be.")
}
