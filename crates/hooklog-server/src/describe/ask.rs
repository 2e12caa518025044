//! Operations of those who ask for messages: polls, cursors, streams.
//!
//! **Invariant:** as `describe.rs`.
//! **Next:** `describe/server.rs`.

use hooklog_storage::{Channel, ConsumerName, EventId};
use serde_json::{Value, json};

use super::errors::Refusal::{Conflict, NotOffered};
use super::operation::{Operation, delete, get, post};
use super::parameters::event_types;
use crate::wire::schemas::{name, one_of, time};
use crate::wire::{CommitIn, CommittedPollOut, PollOut, SeekIn, SeekOut};

/// A place in the log: one that a poll said, or a message's id.
fn place() -> Value {
    let id = format!("{}[0-9A-Z][0-9A-Za-z]{{26}}", EventId::PREFIX);
    json!({"type": "string", "pattern": format!("^(pos_[0-9]{{1,19}}|{id})?$")})
}

fn limited(operation: Operation) -> Operation {
    operation.paged(place())
}

/// What a poll brings, and how long it waits.
fn polled(operation: Operation) -> Operation {
    let wait = json!({"type": "string"});
    let text = "`wait=N`: hold the answer for up to N seconds (45 at most) until something comes.";
    filtered(operation, "event_type")
        .header("prefer", text, wait)
        .tagged()
}

fn filtered(operation: Operation, types: &str) -> Operation {
    let channels = json!({"type": "array", "items": name(Channel::LIMIT)});
    event_types(operation, types).query("channel", "Messages of these channels.", channels)
}

fn start(operation: Operation) -> Operation {
    let text = "Where a reader begins that is new.";
    operation.query("starting_position", text, one_of(["earliest", "latest"]))
}

pub(super) fn polls() -> Vec<Operation> {
    let forget = |path, id| {
        let operation = delete(path, id, "Forget a reader");
        operation.done(204, "Its cursor is gone.").refuses(Conflict)
    };
    let stateless = get(
        "/app/{app}/poller/{sink}",
        "v1.message.poller.poll",
        "Poll; the client keeps the place",
    )
    .about("Oldest first. `iterator` of the answer goes on behind it.")
    .query(
        "after",
        "Begin with the first message that is not older.",
        time(),
    );
    let by_consumer = get("/app/{app}/poller/{sink}/consumer/{consumer}", "v1.message.poller.consumer-poll", "Poll; the server keeps the place")
        .about("The cursor moves when `iterator` is that of the answer before; without one the same comes again.");
    let by_commits = "/app/{app}/polling-endpoint/{sink}/consumer/{consumer}";
    let by_commits = get(
        by_commits,
        "v1.polling-endpoint.consumer-poll",
        "Poll; the place moves by commits",
    )
    .query(
        "limit",
        "Most messages.",
        crate::wire::schemas::integer(1, crate::page::LIMIT_MAX.into()),
    );
    vec![
        polled(limited(stateless)).answers::<PollOut<'static>>(200, "What there is."),
        polled(limited(by_consumer)).answers::<PollOut<'static>>(200, "What there is."),
        forget(
            "/app/{app}/poller/{sink}/consumer/{consumer}",
            "hooklog.poller.consumer-delete",
        ),
        post(
            "/app/{app}/poller/{sink}/consumer/{consumer}/seek",
            "v1.message.poller.consumer-seek",
            "Set a cursor to a time",
        )
        .body::<SeekIn>(json!({"after": "2026-01-31T12:00:00Z"}))
        .answers::<SeekOut>(200, "Where it is now."),
        start(polled(by_commits))
            .answers::<CommittedPollOut<'static>>(200, "What there is.")
            .refuses(NotOffered),
        forget(
            "/app/{app}/polling-endpoint/{sink}/consumer/{consumer}",
            "hooklog.polling-endpoint.consumer-delete",
        ),
        post(
            "/app/{app}/polling-endpoint/{sink}/consumer/{consumer}/commit",
            "v1.polling-endpoint.consumer-commit",
            "Commit an offset",
        )
        .body::<CommitIn>(json!({"offset": 0}))
        .done(204, "The cursor is behind it."),
        stream(),
    ]
}

fn stream() -> Operation {
    let operation = get(
        "/app/{app}/stream",
        "hooklog.message.stream",
        "Follow messages (server-sent events)",
    )
    .about(
        "Begins with the next message unless told otherwise. The id of each event is its \
             message's; `Last-Event-ID` goes on behind it. Ends after an hour.",
    )
    .query(
        "after",
        "Begin with the first message that is not older.",
        time(),
    )
    .query(
        "consumer",
        "Begin at the cursor of this reader.",
        name(ConsumerName::LIMIT),
    )
    .query(
        "sink",
        "Of this polling endpoint, `default` unless said.",
        name(hooklog_storage::Uid::LIMIT),
    )
    .query("last_event_id", "As the header.", place())
    .header("last-event-id", "What the client had last.", place());
    let text = json!({"type": "string"});
    start(filtered(operation, "event_types")).answers_as(
        200,
        "The stream.",
        "text/event-stream",
        text,
    )
}
