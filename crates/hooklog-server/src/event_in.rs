//! `POST /app/{app}/event`: an event of any content type, or CloudEvents.
//!
//! The body is the payload, byte for byte, and its `content-type` goes with it. What a message says in
//! its JSON is said by query parameters or headers here (`event_in/attributes.rs`). A body that is a
//! CloudEvent (binary, structured or a batch of them) says it by its attributes.
//!
//! **Invariant:** nothing of a payload is changed; what tells the body's form (an encoding, a format of
//! CloudEvents that is not JSON) and is not understood is refused before anything is written.
//! **Next:** `event_in/attributes.rs`, `event_in/cloudevents.rs`.

use hooklog_storage::{
    Appended, ApplicationId, Channel, Event, IdempotencyKey, OrderingKey, Tag, Uid,
};
use http::{HeaderMap, header};

use self::attributes::Attributes;
use self::cloudevents::CloudEvent;
use crate::batch::{Outcome, Results};
use crate::error::ApiError;
use crate::idempotency;
use crate::publish::{self, Taken};
use crate::reply::Answer;
use crate::request::Call;
use crate::wire::Content;

mod attributes;
mod binary;
mod cloudevents;
mod structured;

/// What a body without a `content-type` is (RFC 9110, 8.3).
pub(crate) const OCTETS: &str = "application/octet-stream";
/// Longest content type; registered ones have at most 127 characters (RFC 6838, 4.2).
pub(crate) const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Most CloudEvents of one request: as many as a chunk of a batch of messages has.
const BATCH_ITEMS_MAX: usize = 1_000;

/// How a request carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The body is the payload.
    Plain,
    /// The body is the payload, headers the attributes.
    Binary,
    /// The body has attributes and payload.
    Structured,
    /// The body is a list of such.
    Batched,
}

impl Mode {
    /// As the HTTP binding of CloudEvents tells them apart (section 3).
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let media_type = media_type(headers)?.to_ascii_lowercase();
        let Some(rest) = media_type.strip_prefix("application/cloudevents") else {
            let binary = headers.keys().any(|name| name.as_str().starts_with("ce-"));
            return Ok(if binary { Self::Binary } else { Self::Plain });
        };
        match rest {
            "+json" => Ok(Self::Structured),
            "-batch+json" => Ok(Self::Batched),
            _ => Err(ApiError::UnsupportedMediaType(
                "of the formats of CloudEvents only JSON is read: application/cloudevents+json, \
                 application/cloudevents-batch+json, or ce- headers with any body",
            )),
        }
    }
}

/// The `content-type` without its parameters; empty if there is none.
fn media_type(headers: &HeaderMap) -> Result<&str, ApiError> {
    let value = content_type(headers)?.unwrap_or_default();
    Ok(value.split(';').next().unwrap_or_default().trim())
}

/// The `content-type`, which must be one that can be sent on.
fn content_type(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (value, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(ApiError::Header("content-type must be sent once"));
    }
    let bad = ApiError::Header("content-type must be at most 256 visible ASCII characters");
    match value.map(|value| value.to_str()) {
        None | Some(Ok("")) => Ok(None),
        Some(Ok(text)) if text.len() <= CONTENT_TYPE_BYTES_MAX => Ok(Some(text)),
        Some(Ok(_) | Err(_)) => Err(bad),
    }
}

pub(crate) async fn create(call: Call) -> Answer {
    let mode = Mode::of(&call.headers)?;
    let content = call.content_or(Content::Omitted)?;
    let application = call.application()?.id;
    let given = Attributes::parse(&call)?;
    if mode == Mode::Batched {
        return batch(&call, application, &given).await;
    }
    let mut taken = Taken::Refuses;
    let mut event = if mode == Mode::Plain {
        let content_type = content_type(&call.headers)?.unwrap_or(OCTETS);
        given.event(application, content_type.to_owned(), call.bytes().clone())?
    } else {
        taken = Taken::Repeats;
        let found = match mode {
            Mode::Structured => structured::parse(call.bytes())?,
            Mode::Binary | Mode::Plain | Mode::Batched => {
                binary::parse(&call.headers, call.bytes().clone())?
            }
        };
        found.event(application, &given)?
    };
    event.idempotency = key(&call, &event, 0)?;
    trace(&call, &mut event);
    publish::one(&call.state, event, content, taken).await
}

/// The events of a batch, in one commit. What is wrong with one keeps none of the others out.
async fn batch(call: &Call, application: ApplicationId, given: &Attributes) -> Answer {
    let items = structured::items(call.bytes())?;
    let mut outcomes: Vec<Option<ApiError>> = Vec::with_capacity(items.len());
    let mut events = Vec::with_capacity(items.len());
    for (index, item) in (0..).zip(items) {
        let made = structured::item(call.bytes(), item)
            .map_err(ApiError::from)
            .and_then(|found: CloudEvent| found.event(application, given))
            .and_then(|event| {
                Ok(Event {
                    idempotency: key(call, &event, index)?,
                    ..event
                })
            })
            .map(|mut event| {
                trace(call, &mut event);
                event
            })
            .and_then(|event| publish::within_limits(&call.state, event));
        outcomes.push(match made {
            Ok(event) => {
                events.push(event);
                None
            }
            Err(error) => Some(error),
        });
    }
    let appended = publish::append_patiently(&call.state, events).await?;
    let mut appended = appended.into_iter();
    let mut results = Results::new(crate::batch::Shape::List);
    for (index, refused) in (0..).zip(outcomes) {
        let outcome = match refused {
            Some(error) => Outcome::Refused(error),
            None => match appended.next() {
                // A CloudEvent that is there already was sent again: that is no failure.
                Some(Appended::UidTaken { existing }) => Outcome::There(existing),
                Some(appended) => Outcome::of(&appended),
                None => {
                    Outcome::Refused(ApiError::OutOfService("The log gave no answer".to_owned()))
                }
            },
        };
        results.add(index, outcome)?;
    }
    results.finish(None)
}

/// The event's deliveries belong to the trace of its request. A repetition has a trace of its own, so
/// this is no part of what its key is about.
fn trace(call: &Call, event: &mut Event) {
    let own = std::mem::take(&mut event.headers);
    event.headers = publish::headers(own, call.trace.as_ref());
}

/// The idempotency key of an event: of a batch each has its own. The request is what became of it,
/// so that an attribute that differs is another request, be it in the query, a header or the body.
fn key(call: &Call, event: &Event, index: u64) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(text) = idempotency::parse(&call.idempotency)? else {
        return Ok(None);
    };
    let (organisation, index) = (call.organisation()?, index.to_be_bytes());
    let scope: [&[u8]; 4] = [
        b"event.create",
        organisation.as_bytes(),
        event.application.as_bytes(),
        &index,
    ];
    // Only of one that has a time: whoever sends one again that has none sends what was always sent.
    let due = event.deliver_at.map(|due| due.as_millis().to_be_bytes());
    let parts = parts(event).chain(due.iter().map(<[u8; 8]>::as_slice));
    Ok(Some(IdempotencyKey::of_parts(&scope, &text, parts)))
}

fn parts(event: &Event) -> impl Iterator<Item = &[u8]> {
    let names = [event.event_type.as_str(), &event.content_type];
    let uid = event.uid.iter().map(Uid::as_str);
    let channels = event.channels.iter().map(Channel::as_str);
    let tags = event.tags.iter().map(Tag::as_str);
    let ordering = event.ordering_key.iter().map(OrderingKey::as_str);
    let headers = event
        .headers
        .iter()
        .flat_map(|header| [header.name(), header.value()]);
    // Between lists, so that a channel is not taken for a tag.
    let bar = || std::iter::once("\n");
    let texts = names.into_iter().chain(uid).chain(bar()).chain(channels);
    let texts = texts.chain(bar()).chain(tags).chain(bar()).chain(ordering);
    let texts = texts.chain(bar()).chain(headers);
    texts
        .map(str::as_bytes)
        .chain(std::iter::once(event.payload.as_ref()))
}
