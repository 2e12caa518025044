//! Operations on messages, attempts, and what is sent again.
//!
//! **Invariant:** as `describe.rs`.
//! **Next:** `describe/ask.rs`.

use hooklog_storage::{
    AttemptId, Channel, EventId, EventTypeName, OrderingKey, SubscriptionId, Tag, TaskId, Uid,
};
use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};

use super::errors::Refusal::{Conflict, NotOffered};
use super::operation::{Operation, delete, get, post};
use super::parameters::{content, events, order, status, window};
use crate::batch::NDJSON;
use crate::wire::schemas::{
    BatchIn, BatchOut, BulkReplayIn, CloudEvent, CloudEvents, ReplayIn, flag, iterator, name,
    one_of, raw, time,
};
use crate::wire::{
    AttemptOut, BulkExpungeIn, BulkExpungeOut, EmptyOut, MessageEndpointOut, MessageIn, MessageOut,
    PrecheckIn, PrecheckOut, TaskOut, TraceOut, UsageIn, UsageOut,
};

type Out = MessageOut<'static>;

fn paid() -> Value {
    json!({"eventType": "invoice.paid", "payload": {"id": 7}, "eventId": "invoice-7"})
}

pub(super) fn messages() -> Vec<Operation> {
    published().into_iter().chain(contents()).collect()
}

/// What takes payloads out.
fn contents() -> [Operation; 3] {
    [
        delete(
            "/app/{app}/msg/{msg}/content",
            "v1.message.expunge-content",
            "Take the payload out",
        )
        .about("It is not shown or sent again.")
        .done(204, "It is gone."),
        post(
            "/app/{app}/msg/bulk-expunge",
            "v1.message.bulk-expunge",
            "Take many payloads out",
        )
        .about("In one commit; none is an answer without results.")
        .body::<BulkExpungeIn>(json!({"ids": ["invoice-7"]}))
        .answers::<BulkExpungeOut>(200, "For each whether it was there."),
        post(
            "/app/{app}/msg/expunge-all-contents",
            "v1.message.expunge-all-contents",
            "Take all payloads out",
        )
        .about(
            "Of the messages so far, in one commit: they are gone when it is answered. The task is \
             what clients wait for, and it is finished.",
        )
        .answers::<TaskOut<'static>>(202, "A task."),
    ]
}

fn published() -> Vec<Operation> {
    let list = get("/app/{app}/msg", "v1.message.list", "List messages")
        .about("Newest first; with `after` alone the oldest of them.")
        .paged(iterator(EventId::PREFIX));
    let create = post("/app/{app}/msg", "v1.message.create", "Publish a message")
        .about("The 202 comes when it is on disk. The payload's bytes are kept as they are.");
    vec![
        content(window(events(list)), true).lists::<Out>("A page of messages."),
        content(create, true)
            .body::<MessageIn>(paid())
            .answers::<Out>(202, "It is on disk, and on its way.")
            .refuses(Conflict),
        content(
            get("/app/{app}/msg/{msg}", "v1.message.get", "Show a message"),
            true,
        )
        .answers::<Out>(200, "The message.")
        .tagged(),
        post(
            "/app/{app}/msg/precheck/active",
            "v1.message.precheck",
            "Ask whether anyone would get it",
        )
        .body::<PrecheckIn>(json!({"eventType": "invoice.paid"}))
        .answers::<PrecheckOut>(200, "Whether an endpoint would."),
        content(
            get(
                "/app/{app}/msg/batch",
                "hooklog.message.get-batch",
                "Show the message of the id `batch`",
            ),
            true,
        )
        .about("Since a message may have that `eventId`.")
        .answers::<Out>(200, "The message.")
        .tagged(),
        batch(),
        event(),
        order(get(
            "/app/{app}/msg/{msg}/trace",
            "hooklog.message.trace",
            "Explain a message's deliveries",
        ))
        .about("For each endpoint whether it gets the message, and why or why not.")
        .paged(iterator(SubscriptionId::PREFIX))
        .lists::<TraceOut<'static>>("A page of endpoints."),
    ]
}

fn batch() -> Operation {
    let mut operation = post(
        "/app/{app}/msg/batch",
        "hooklog.message.create-batch",
        "Publish many messages",
    )
    .about(
        "A JSON array or NDJSON, up to 256 MiB and 100,000. Results are in the order of the \
             messages; as NDJSON if `Accept` names it. A batch that was not read to its end says \
             why in `code` and `detail`, after the results of what came before, in problem details as \
             well. No body is an empty batch.",
    )
    .know_of::<MessageIn>()
    .optional_body::<BatchIn>(json!([paid()]))
    .answers::<BatchOut>(202, "All are on disk.")
    .answers::<BatchOut>(207, "Some were refused.")
    .refuses(Conflict);
    BatchOut::parts(&mut operation.schemas);
    let failed = || {
        let schema = Ref::from_schema_name("BatchEndOut");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let plain = ContentBuilder::new().build();
        ResponseBuilder::new()
            .description("The batch was not read to its end, or a header is not taken.")
            .content("application/json", content)
            .content(NDJSON, plain.clone())
            .content("application/problem+json", plain.clone())
            .content("application/problem+xml", plain)
    };
    let invalid = json!({"anyOf": [
        {"$ref": "#/components/schemas/BatchOut"}, {"$ref": "#/components/schemas/IssuesOut"},
    ]});
    let invalid = ContentBuilder::new().schema(Some(raw(invalid))).build();
    let one = json!({"type": "string"});
    operation
        .body_form(NDJSON, raw(one), Some(paid().to_string().into()))
        .answer(422, failed().content("application/json", invalid))
}

fn event() -> Operation {
    let list = |limit| json!({"type": "array", "items": name(limit)});
    let key = json!({"type": "string", "minLength": 1, "maxLength": OrderingKey::LIMIT});
    let octets = json!({"type": "string", "format": "binary"});
    let cloud = json!({
        "specversion": "1.0", "id": "7", "source": "/shop", "type": "invoice.paid",
        "data": {"id": 7},
    });
    let mut operation = post("/app/{app}/event", "hooklog.event.create", "Publish an event of any content")
        .about(
            "The body is the payload, byte for byte, and its `content-type` goes with it: \
             `application/octet-stream` stands for all but the two forms of CloudEvents. What is said by \
             the query may be said by headers instead (`hooklog-event-type` and so on); \
             `hooklog-header-NAME` is sent as `NAME` with each delivery. With `ce-` headers the \
             body is a CloudEvent in binary mode.",
        )
        .query("event_type", "Needed, unless the body is a CloudEvent.", name(EventTypeName::LIMIT))
        .query("event_id", "Your own id of it, unless the body is a CloudEvent.", name(Uid::LIMIT))
        .query("channel", "At most 5.", list(Channel::LIMIT))
        .query("tag", "At most 8.", list(Tag::LIMIT))
        .query("ordering_key", "As `orderingKey` of a message.", key)
        .query("deliver_at", "As `deliverAt` of a message.", time())
        .body_optional()
        .body_form("application/octet-stream", raw(octets), None)
        .body_as::<CloudEvent>("application/cloudevents+json", Some(cloud.clone()))
        .body_as::<CloudEvents>("application/cloudevents-batch+json", Some(json!([cloud])))
        .refuses(Conflict);
    operation = content(operation, false);
    BatchOut::parts(&mut operation.schemas);
    operation
        .know_of::<BatchOut>()
        .know_of::<Out>()
        .one_of_answers(
            202,
            "It is on disk; of a batch, all are.",
            &["MessageOut", "BatchOut"],
        )
        .answers::<BatchOut>(207, "Some of a batch were refused.")
}

pub(super) fn attempts() -> Vec<Operation> {
    let by_message = |path, id| {
        let list = get(path, id, "List the attempts of a message").query(
            "endpoint_id",
            "Those of this endpoint.",
            name(Uid::LIMIT),
        );
        listed(list)
    };
    let old = "As `/app/{app}/attempt/msg/{msg}`, for older SDKs.";
    let endpoints = get(
        "/app/{app}/msg/{msg}/endpoint",
        "v1.message-attempt.list-attempted-destinations",
        "List a message's endpoints",
    )
    .about("Those that got it or are to get it, with what became of it.")
    .paged(iterator(SubscriptionId::PREFIX));
    let mut all = vec![
        by_message(
            "/app/{app}/attempt/msg/{msg}",
            "v1.message-attempt.list-by-msg",
        ),
        listed(get(
            "/app/{app}/attempt/endpoint/{endpoint}",
            "v1.message-attempt.list-by-endpoint",
            "List the attempts of an endpoint",
        )),
        content(
            get(
                "/app/{app}/msg/{msg}/attempt/{attempt}",
                "v1.message-attempt.get",
                "Show an attempt",
            ),
            true,
        )
        .answers::<AttemptOut<'static>>(200, "The attempt."),
        delete(
            "/app/{app}/msg/{msg}/attempt/{attempt}/content",
            "v1.message-attempt.expunge-content",
            "Take the response out",
        )
        .done(204, "It is gone."),
        by_message(
            "/app/{app}/msg/{msg}/attempt",
            "v1.message-attempt.list-by-msg-deprecated",
        )
        .about(old),
        listed(get(
            "/app/{app}/msg/{msg}/endpoint/{endpoint}/attempt",
            "v1.message-attempt.list-by-endpoint-deprecated",
            "List the attempts of a message at an endpoint",
        ))
        .about(old),
        endpoints.lists::<MessageEndpointOut<'static>>("A page of endpoints."),
    ];
    all.extend(with_delivery());
    all
}

/// What can be done with a delivery.
fn with_delivery() -> Vec<Operation> {
    vec![
        again(
            "One more delivery, whatever became of the first.",
            "/app/{app}/msg/{msg}/endpoint/{endpoint}/resend",
            "v1.message-attempt.resend",
            "Deliver it again",
        ),
        again(
            "What is ordered behind it goes on.",
            "/app/{app}/msg/{msg}/endpoint/{endpoint}/skip",
            "hooklog.message-attempt.skip",
            "Settle it without another attempt",
        ),
        again(
            "Whatever it waits for.",
            "/app/{app}/msg/{msg}/endpoint/{endpoint}/retry-now",
            "hooklog.message-attempt.retry-now",
            "Make the next attempt now",
        ),
    ]
}

/// Something that is done with a delivery.
fn again(text: &'static str, path: &'static str, id: &str, summary: &str) -> Operation {
    let operation = post(path, id, summary).about(text);
    operation
        .answers::<EmptyOut>(202, "It happens soon.")
        .refuses(Conflict)
}

fn listed(operation: Operation) -> Operation {
    let classes = json!({"type": "integer", "enum": [0, 100, 200, 300, 400, 500]});
    let operation = operation
        .about("Newest first; with `after` alone the oldest of them.")
        .query(
            "status_code_class",
            "Class of the answer; 0 for none.",
            classes,
        )
        .paged(iterator(AttemptId::PREFIX));
    let operation = operation.query(
        "with_msg",
        "Whether each has its message, without payload.",
        flag(),
    );
    content(status(window(events(operation))), true)
        .lists::<AttemptOut<'static>>("A page of attempts.")
        .refuses(NotOffered)
}

pub(super) fn tasks() -> Vec<Operation> {
    let since = || json!({"since": "2026-01-31T12:00:00Z"});
    let kinds = "`endpoint.recover`, `endpoint.replay`, `endpoint.bulk-replay`, \
                 `application.stats` or `application.purge_content`.";
    let list = get("/background-task", "v1.background-task.list", "List tasks")
        .query(
            "status",
            "Those that are there.",
            one_of(["running", "finished", "failed"]),
        )
        .query("task", kinds, json!({"type": "string"}))
        .paged(iterator(TaskId::PREFIX));
    let begun = "The task, which goes on over restarts.";
    let enabled = "409 if the endpoint is disabled: enable it first.";
    vec![
        post(
            "/app/{app}/endpoint/{endpoint}/recover",
            "v1.endpoint.recover",
            "Send again what failed",
        )
        .about(enabled)
        .body::<ReplayIn>(since())
        .answers::<TaskOut<'static>>(202, begun)
        .refuses(Conflict),
        post(
            "/app/{app}/endpoint/{endpoint}/replay-missing",
            "v1.endpoint.replay-missing",
            "Send what was never tried",
        )
        .about(enabled)
        .body::<ReplayIn>(since())
        .answers::<TaskOut<'static>>(202, begun)
        .refuses(Conflict),
        post(
            "/app/{app}/endpoint/{endpoint}/bulk-replay",
            "v1.endpoint.bulk-replay",
            "Send again what a filter takes",
        )
        .about(enabled)
        .body::<BulkReplayIn>(since())
        .answers::<TaskOut<'static>>(202, begun)
        .refuses(Conflict),
        post(
            "/stats/usage/app",
            "v1.statistics.aggregate-app-stats",
            "Count deliveries by application",
        )
        .about(
            "A delivery is that of a message to an endpoint, and counts once, when its first attempt \
             is recorded, for as long as attempts are kept. When the task is finished its data has \
             `appStats`. More than 2,000 applications fail it: name some then.",
        )
        .body::<UsageIn>(json!({"since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}))
        .answers::<UsageOut>(202, begun),
        order(list).lists::<TaskOut<'static>>("A page of tasks."),
        get(
            "/background-task/{task}",
            "v1.background-task.get",
            "Show a task",
        )
        .answers::<TaskOut<'static>>(200, "The task."),
        post(
            "/background-task/{task}/cancel",
            "hooklog.background-task.cancel",
            "Stop a task",
        )
        .about("What it has asked for already is sent.")
        .answers::<TaskOut<'static>>(200, "The task."),
    ]
}
