//! ① Publish: a message comes in, valid and within limits, and goes to the log.
//!
//! **Invariant:** the 202 is made after `append` returned, so the event is on disk by then. The
//! payload's bytes reach the log as they came.
//! **Next:** `commit.rs` of storage, where the event gets its offset.

use bytes::Bytes;
use hooklog_storage::{Appended, ApplicationId, Event, Header, IdempotencyKey, Record};
use http::StatusCode;

use crate::application;
use crate::error::ApiError;
use crate::idempotency;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::trace_context::TraceContext;
use crate::wire::{Content, Issue, MessageIn, MessageOut};

pub(crate) async fn create(call: Call) -> Answer {
    let content = call.content()?;
    let mut new = MessageIn::parse(call.bytes())?;
    let application = scope(&call, &mut new).await?;
    let idempotency = key(&call, application)?;
    let event = Event {
        application,
        event_type: new.event_type,
        channels: new.channels,
        uid: new.uid,
        idempotency,
        content_type: new.content_type,
        payload: new.payload,
        tags: new.tags,
        ordering_key: new.ordering_key,
        headers: headers(new.headers, call.trace.as_ref()),
        only: None,
        deliver_at: None,
    };
    // What the answer needs; the payload is shared, and not kept when it is not wanted.
    let mut shown = event.clone();
    if content == Content::Omitted {
        shown.payload = Bytes::new();
    }
    let appended = call.state.log.append(vec![event]).await?;
    match appended.into_iter().next() {
        // The same body made the same event, so this is the first answer again.
        Some(Appended::Committed { id, timestamp } | Appended::Replayed { id, timestamp }) => {
            let record = Record {
                offset: id.offset(),
                id,
                timestamp,
                event: shown,
            };
            reply::json(StatusCode::ACCEPTED, &MessageOut::new(&record, content))
        }
        Some(Appended::UidTaken { existing }) => {
            let uid = shown
                .uid
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            Err(ApiError::Conflict(format!(
                "eventId {uid:?} is that of {existing}"
            )))
        }
        Some(Appended::KeyMismatch { existing }) => {
            let message = format!("belongs to another request, which published {existing}");
            let issue = Issue::header(idempotency::NAME, message);
            Err(issue.of_kind("idempotency_key_reused").into())
        }
        // One event gives one outcome.
        None => Err(ApiError::OutOfService("The log gave no answer".to_owned())),
    }
}

/// The headers that deliveries carry: the message's own, and the trace of the request where they do
/// not say it and there is room.
fn headers(mut own: Vec<Header>, trace: Option<&TraceContext>) -> Vec<Header> {
    let mut bytes: usize = own.iter().map(Header::bytes).sum();
    for header in trace.iter().flat_map(|trace| trace.headers()) {
        bytes += header.bytes();
        let is_said = own.iter().any(|other| other.is(header.name()));
        if !is_said && own.len() < Header::COUNT_MAX && bytes <= Header::TOTAL_BYTES_MAX {
            own.push(header);
        }
    }
    own
}

/// The request's idempotency key, which means nothing in another tenant, application or route.
fn key(call: &Call, application: ApplicationId) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(text) = idempotency::parse(&call.idempotency)? else {
        return Ok(None);
    };
    let organisation = call.organisation()?;
    let scope: [&[u8]; 3] = [
        b"message.create",
        organisation.as_bytes(),
        application.as_bytes(),
    ];
    Ok(Some(IdempotencyKey::new(&scope, &text, call.bytes())))
}

/// The application to publish in; made from the message's own `application` if there is none.
async fn scope(call: &Call, new: &mut MessageIn) -> Result<ApplicationId, ApiError> {
    let inline = new.application.take();
    if let Some(inline) = &inline {
        let Some(uid) = &inline.uid else {
            let issue = Issue::body("application", "must have a uid");
            return Err(issue.of_kind("application_uid_missing").into());
        };
        if uid.as_str() != call.part("app")? {
            let issue = Issue::body("application", "its uid differs from the one in the path");
            return Err(issue.of_kind("application_uid_mismatch").into());
        }
    }
    match (call.application(), inline) {
        (Err(ApiError::NotFound), Some(inline)) => {
            let organisation = call.organisation()?;
            let (_, value) = application::get_or_create(&call.state, organisation, inline).await?;
            Ok(value.id)
        }
        (found, _) => Ok(found?.id),
    }
}
