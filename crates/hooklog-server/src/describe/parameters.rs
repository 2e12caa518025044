//! Parameters that several operations share.
//!
//! **Invariant:** their limits are those of the files that parse them.
//! **Next:** `describe/errors.rs`.

use hooklog_storage::{AttemptId, Channel, ConsumerName, EventTypeName, Tag, TaskId, Uid};
use http::Method;
use serde_json::{Value, json};

use super::operation::Operation;
use crate::idempotency;
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::repeat;
use crate::wire::schemas::{flag, id, integer, name, one_of, time};

/// What stands for a part of the path, in the page's lines for curl and wherever a value is needed.
pub(super) fn example(part: &str) -> &'static str {
    match part {
        "app" => "demo",
        "endpoint" | "sink" => "books",
        "msg" => "invoice-7",
        "name" => "invoice.paid",
        "consumer" => "worker-1",
        "attempt" => "atmpt_3MRdUuVK6QVMrO0ObfBY08m39CG",
        "task" => "qtask_3MRdUuVK6QVMrO0ObfBY08m39CG",
        _ => "anything",
    }
}

/// The names in braces of a path.
pub(super) fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.strip_prefix('*').unwrap_or(name))
    })
}

/// Name, meaning and schema of each part of a path.
pub(super) fn of_path(
    path: &'static str,
) -> impl Iterator<Item = (&'static str, &'static str, Value)> {
    parts(path).map(|part| {
        let (text, mut schema) = match part {
            "app" => ("The application's id or uid.", name(Uid::LIMIT)),
            "endpoint" => ("The endpoint's id or uid.", name(Uid::LIMIT)),
            "msg" => ("The message's id or `eventId`.", name(Uid::LIMIT)),
            "attempt" => ("The attempt's id.", id(AttemptId::PREFIX)),
            "task" => ("The task's id.", id(TaskId::PREFIX)),
            "name" => ("The event type's name.", name(EventTypeName::LIMIT)),
            "sink" => (
                "The polling endpoint: any name, or an endpoint's id or uid, whose filter then \
                 counts. With the consumer's name at most 119 characters.",
                name(if path.contains("{consumer}") {
                    ConsumerName::LIMIT
                } else {
                    Uid::LIMIT
                }),
            ),
            "consumer" => (
                "The reader, whose cursor the server keeps.",
                name(ConsumerName::LIMIT),
            ),
            _ => (
                "The rest of the path.",
                json!({"type": "string", "minLength": 1}),
            ),
        };
        if let Value::Object(keywords) = &mut schema {
            keywords.insert("examples".to_owned(), json!([example(part)]));
        }
        (part, text, schema)
    })
}

/// `Idempotency-Key` of the routes that look at it.
pub(super) fn idempotency_key(
    method: &Method,
    path: &str,
) -> Option<(&'static str, &'static str, Value)> {
    let publishes = matches!(
        path,
        "/app/{app}/msg" | "/app/{app}/msg/batch" | "/app/{app}/event"
    );
    if *method != Method::POST || !(publishes || repeat::keeps_answers(path)) {
        return None;
    }
    let text = "The same request with the same key gets the first answer and does nothing; another \
                request with it is refused. Bare or in quotes.";
    let schema = json!({
        "type": "string", "minLength": 1, "maxLength": idempotency::CHARACTERS_MAX,
        "pattern": "^[!#-~]([ -~]*[!-~])?$",
    });
    Some((idempotency::NAME, text, schema))
}

/// `limit` and `iterator`.
pub(super) fn page(operation: Operation, iterator: Value) -> Operation {
    let mut limit = integer(1, LIMIT_MAX.into());
    if let Value::Object(keywords) = &mut limit {
        keywords.insert("default".to_owned(), LIMIT_DEFAULT.into());
    }
    let text = "`iterator` or `prevIterator` of the page before.";
    operation
        .query("limit", "Most items of the page.", limit)
        .query("iterator", text, iterator)
}

/// Which way round a list is.
pub(super) fn order(operation: Operation) -> Operation {
    let order = one_of(["ascending", "descending"]);
    operation.query("order", "By the time of creation.", order)
}

/// The times between which messages or attempts are wanted.
pub(super) fn window(operation: Operation) -> Operation {
    let after = "Not older than this. With no `before`, the first page has the oldest of them.";
    operation
        .query("after", after, time())
        .query("before", "Older than this.", time())
}

/// Which messages are wanted.
pub(super) fn events(operation: Operation) -> Operation {
    event_types(operation, "event_types")
        .query("channel", "Messages of this channel.", name(Channel::LIMIT))
        .query("tag", "Messages with this tag.", name(Tag::LIMIT))
}

pub(super) fn event_types(operation: Operation, parameter: &str) -> Operation {
    let types = json!({"type": "array", "items": name(EventTypeName::LIMIT)});
    let text = "Messages of these types; repeated or with commas.";
    operation.query(parameter, text, types)
}

/// Whether payloads are wanted.
pub(super) fn content(operation: Operation, default: bool) -> Operation {
    let mut schema = flag();
    if let Value::Object(keywords) = &mut schema {
        keywords.insert("default".to_owned(), default.into());
    }
    operation.query(
        "with_content",
        "Whether the answer has payloads, responses, schemas.",
        schema,
    )
}

/// What a delivery came to.
pub(super) fn status(operation: Operation) -> Operation {
    let text = "0 for success, 1 for pending, 2 for fail; 3 and 4 match nothing.";
    operation.query("status", text, integer(0, 4))
}

/// Answers that have a tag.
pub(super) fn tagged(operation: Operation) -> Operation {
    let text = "The `ETag` of what the client has already.";
    operation
        .header("if-none-match", text, json!({"type": "string"}))
        .done(304, "The client has it already.")
}
