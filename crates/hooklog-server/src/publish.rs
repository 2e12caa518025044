//! ① Publish: a message comes in, valid and within limits, and goes to the log.
//!
//! **Invariant:** the 202 is made after `append` returned, so the event is on disk by then. The
//! payload's bytes reach the log as they came; they are parsed once, and not copied here.
//! **Next:** `commit.rs` of storage, where the event gets its offset.

use std::time::Duration;

use bytes::Bytes;
use hooklog_storage::{
    AppendError, Appended, ApplicationId, CommitError, Event, EventId, Header, IdempotencyKey,
    Record, Timestamp,
};
use http::StatusCode;

use crate::application;
use crate::error::ApiError;
use crate::idempotency;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::state::{self, State};
use crate::trace_context::TraceContext;
use crate::wire::{ApplicationIn, Content, Issue, MessageIn, MessageOut};

/// How often a batch asks a busy log again, and for how long: the queue empties in milliseconds.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const BUSY_TRIES: u32 = 500;

pub(crate) async fn create(call: Call) -> Answer {
    // In a block of its own, so that what it needs gives way to what is waited for.
    let published = {
        let content = call.content()?;
        let mut new = MessageIn::parse(call.bytes())?;
        let application = match new.application.take() {
            None => call.application()?.id,
            // In a box, for few messages need it, and all would carry its size.
            Some(inline) => Box::pin(scope(&call, inline)).await?,
        };
        let idempotency = key(&call, application)?;
        let event = Event {
            idempotency,
            ..event(application, new, call.trace.as_ref())
        };
        one(&call.state, event, content, Taken::Refuses)
    };
    published.await
}

/// A message as an event; its deliveries belong to the trace of its request.
pub(crate) fn event(
    application: ApplicationId,
    new: MessageIn,
    trace: Option<&TraceContext>,
) -> Event {
    Event {
        application,
        event_type: new.event_type,
        channels: new.channels,
        uid: new.uid,
        idempotency: None,
        content_type: new.content_type,
        payload: new.payload,
        tags: new.tags,
        ordering_key: new.ordering_key,
        headers: headers(new.headers, trace),
        only: None,
        deliver_at: new.deliver_at,
    }
}

/// What an event whose uid is taken gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A 409.
    Refuses,
    /// The answer of the event that is there: its publisher sent it again.
    Repeats,
}

/// Publishes one event.
pub(crate) fn one(
    state: &State,
    event: Event,
    content: Content,
    taken: Taken,
) -> impl Future<Output = Answer> + Send {
    // What the answer needs; the payload is shared, and not kept when it is not wanted.
    let mut shown = event.clone();
    if content == Content::Omitted {
        shown.payload = Bytes::new();
    }
    // In a list from now on: as an argument of an `async fn` an event would be carried along.
    let events = vec![event];
    async move {
        let appended = state.log.append(events).await?;
        match appended.into_iter().next() {
            // The same body made the same event, so this is the first answer again.
            Some(Appended::Committed { id, timestamp } | Appended::Replayed { id, timestamp }) => {
                if shown.deliver_at.is_some_and(|due| due <= timestamp) {
                    shown.deliver_at = Box::pin(waits_until(state, id)).await;
                }
                let record = Record {
                    offset: id.offset(),
                    id,
                    timestamp,
                    event: shown,
                };
                accepted(&record, content)
            }
            Some(Appended::UidTaken { existing }) if taken == Taken::Repeats => {
                let record = Box::pin(state.read(move |log| log.get(existing))).await?;
                accepted(&record.ok_or(ApiError::NotFound)?, content)
            }
            Some(Appended::UidTaken { existing }) => Err(taken_by(&shown, existing)),
            Some(Appended::KeyMismatch { existing }) => {
                Err(idempotency::mismatch(&existing.to_string()))
            }
            // One event gives one outcome.
            None => Err(no_answer()),
        }
    }
}

/// Until when an event waits whose time is not after the log's. As a rule it has come, and is none; but
/// after the clock was set back the log's time is ahead, and what waits does so by the clock.
async fn waits_until(state: &State, id: EventId) -> Option<Timestamp> {
    match state.read(move |log| log.get(id)).await {
        Ok(record) => record.and_then(|record| record.event.deliver_at),
        // What is on disk is told as such, whatever becomes of the read.
        Err(error) => {
            tracing::debug!(%error, "an answer does not say how long its message waits");
            None
        }
    }
}

/// The headers that deliveries carry: the message's own, and the trace of the request where they do
/// not say it and there is room.
pub(crate) fn headers(mut own: Vec<Header>, trace: Option<&TraceContext>) -> Vec<Header> {
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

fn accepted(record: &Record, content: Content) -> Answer {
    let body = MessageOut::fresh(record, content)?.into();
    Ok(reply::json_bytes(StatusCode::ACCEPTED, body))
}

fn taken_by(event: &Event, existing: EventId) -> ApiError {
    let uid = event.uid.as_ref().map(ToString::to_string);
    let uid = uid.unwrap_or_default();
    ApiError::Conflict(format!("eventId {uid:?} is that of {existing}"))
}

pub(crate) fn no_answer() -> ApiError {
    ApiError::OutOfService("The log gave no answer".to_owned())
}

/// An event of a batch, unless it is too large by itself: the others must not fail with it.
pub(crate) fn within_limits(state: &State, event: Event) -> Result<Event, ApiError> {
    let limit = state.log.config().payload_bytes_max;
    if event.payload.len() > limit {
        return Err(ApiError::BodyTooLarge { limit });
    }
    match too_late(state, event.deliver_at) {
        Some(message) => Err(Issue::body("deliverAt", message).into()),
        None => Ok(event),
    }
}

/// What is wrong with a time to push at.
pub(crate) fn too_late(state: &State, deliver_at: Option<Timestamp>) -> Option<String> {
    let limit = state.log.config().deliver_after_max();
    let is_far = deliver_at.is_some_and(|due| due > state::now().plus(limit));
    is_far.then(|| deliver_limit(limit))
}

/// How far ahead that may be.
pub(crate) fn deliver_limit(limit: Duration) -> String {
    let (limit, most) = (limit.as_secs(), Event::DELIVER_AFTER_MAX.as_secs());
    format!(
        "must be at most {limit} s ahead: {most} s, or the age at which this server's messages expire"
    )
}

/// Appends events in one commit; waits a while for a busy log.
pub(crate) async fn append_patiently(
    state: &State,
    events: Vec<Event>,
) -> Result<Vec<Appended>, ApiError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    for _ in 1..BUSY_TRIES {
        match state.log.append(events.clone()).await {
            Err(AppendError::Commit(CommitError::Busy { .. })) => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            done => return Ok(done?),
        }
    }
    Ok(state.log.append(events).await?)
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

/// The application to publish in, by the message's own `application`; made from it if there is none.
async fn scope(call: &Call, inline: ApplicationIn) -> Result<ApplicationId, ApiError> {
    let Some(uid) = &inline.uid else {
        let issue = Issue::body("application", "must have a uid");
        return Err(issue.of_kind("application_uid_missing").into());
    };
    if uid.as_str() != call.part("app")? {
        let issue = Issue::body("application", "its uid differs from the one in the path");
        return Err(issue.of_kind("application_uid_mismatch").into());
    }
    match call.application() {
        Err(ApiError::NotFound) => {
            let organisation = call.organisation()?;
            let made = application::get_or_create(&call.state, organisation, inline);
            let (_, value) = made.await?;
            Ok(value.id)
        }
        found => Ok(found?.id),
    }
}
