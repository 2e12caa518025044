//! Messages in JSON: events as the API family calls them.
//!
//! **Invariant:** the payload is stored as the bytes it came in: order, whitespace and escapes of
//! its JSON are kept.
//! **Next:** `wire/attempt.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hooklog_storage::{
    Channel, EventId, EventTypeName, Header, OrderingKey, Record, Tag, Timestamp, Uid,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::fields::{Fields, required};
use super::{
    ApplicationIn, Content, Issue, headers, raw, schemas, some_time, text, time, time_text,
};

/// Most channels of one message (the API family's bound).
pub(super) const CHANNELS_MAX: usize = 5;
/// The one retention that is accepted, since the log has one for all: the API family's default.
pub(super) const RETENTION_DAYS: u16 = 90;
/// Most tags of one message: as many as channels and a few more.
pub(super) const TAGS_MAX: usize = 8;
const UNSUPPORTED: &[&str] = &["payloadRetentionHours"];
/// What a payload is unless its publisher says otherwise.
const JSON: &str = "application/json";

/// What a message left without its payload says of it.
const HOLE: &[u8] = b"\"payload\":{}";
/// How an answer ends.
const END: &[u8] = b"\"}";
/// What an answer has around a payload, mostly.
const ENVELOPE_BYTES: usize = 256;

/// A message to publish.
#[derive(Debug)]
pub(crate) struct MessageIn {
    pub(crate) event_type: EventTypeName,
    pub(crate) payload: Bytes,
    pub(crate) uid: Option<Uid>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) ordering_key: Option<OrderingKey>,
    /// What every delivery carries.
    pub(crate) headers: Vec<Header>,
    pub(crate) content_type: String,
    /// When it is to be pushed, if not at once.
    pub(crate) deliver_at: Option<Timestamp>,
    /// The application to create if there is none of that uid.
    pub(crate) application: Option<ApplicationIn>,
}

impl MessageIn {
    /// Parses a body. The payload shares its memory.
    pub(crate) fn parse(body: &Bytes) -> Result<Self, Issue> {
        let fields = Fields::parse(body)?;
        fields.refuse(UNSUPPORTED)?;
        if let Some(days) = fields.value::<u16>("payloadRetentionPeriod")?
            && days != RETENTION_DAYS
        {
            let message = "retention is a setting of this server; only 90 is accepted";
            return Err(Issue::body("payloadRetentionPeriod", message));
        }
        let application = match fields.raw("application") {
            Some(raw) => Some(ApplicationIn::parse(&Fields::parse(raw.get().as_bytes())?)?),
            None => None,
        };
        let event_type = fields.name("eventType")?;
        let event_type = event_type.ok_or_else(required("eventType"))?;
        let raw = raw::parse(&fields)?;
        let (payload, content_type) = match raw {
            Some(raw) => {
                // It stands for the payload, which must be one all the same if it is there.
                object(&fields)?;
                (raw.payload, raw.content_type)
            }
            None => (payload(body, &fields)?, None),
        };
        Ok(Self {
            event_type,
            payload,
            uid: fields.uid("eventId", EventId::PREFIX)?,
            channels: fields.names("channels", CHANNELS_MAX)?.unwrap_or_default(),
            tags: match fields.raw("tags") {
                // Older clients send an empty list for none.
                Some(raw) if raw.get() == "[]" => Vec::new(),
                Some(_) | None => fields.names("tags", TAGS_MAX)?.unwrap_or_default(),
            },
            ordering_key: fields.name("orderingKey")?,
            headers: headers::parse(&fields, "headers")?.unwrap_or_default(),
            content_type: content_type.unwrap_or_else(|| JSON.to_owned()),
            deliver_at: fields.time("deliverAt")?,
            application,
        })
    }
}

/// The text of the payload, by its name or the older one; it must be an object.
fn object<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Issue> {
    let raw = fields.raw("payload").or_else(|| fields.raw("data"));
    match raw.map(RawValue::get) {
        Some(text) if !text.starts_with('{') => Err(Issue::body("payload", "must be an object")),
        text => Ok(text),
    }
}

fn payload(body: &Bytes, fields: &Fields<'_>) -> Result<Bytes, Issue> {
    let text = object(fields)?.ok_or_else(required("payload"))?;
    // A slice keeps the whole body in memory for as long as the log keeps the payload at hand;
    // where most of the body is something else (whitespace), a copy is smaller.
    if text.len() < body.len() / 2 {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    Ok(body.slice_ref(text.as_bytes()))
}

/// A message as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageOut<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::MessageId)]
    id: EventId,
    #[schema(required)]
    event_id: Option<&'a str>,
    event_type: &'a str,
    #[schema(value_type = schemas::Payload)]
    payload: Payload<'a>,
    /// Unless it is that of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    content_type: Option<&'a str>,
    #[schema(required)]
    channels: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tags: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ordering_key: Option<&'a str>,
    /// It is not pushed before.
    #[serde(serialize_with = "some_time", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schemas::Time, required = false)]
    deliver_at: Option<Timestamp>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    timestamp: Timestamp,
}

impl<'a> MessageOut<'a> {
    /// The JSON of a message that was just published. Its payload is not looked at again where it was
    /// parsed as JSON, but put where it belongs.
    pub(crate) fn fresh(
        record: &'a Record,
        content: Content,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let event = &record.event;
        let payload: &[u8] = match content {
            Content::Full => &event.payload,
            Content::Omitted => b"{}",
        };
        if event.content_type != JSON || !payload.starts_with(b"{") {
            return serde_json::to_vec(&Self::new(record, content));
        }
        let says_more = event.ordering_key.is_some() || event.deliver_at.is_some();
        if !says_more && event.channels.is_empty() && event.tags.is_empty() {
            return Ok(plain(record, payload));
        }
        if content == Content::Omitted {
            return serde_json::to_vec(&Self::new(record, content));
        }
        let mut out = Vec::with_capacity(payload.len() + ENVELOPE_BYTES);
        serde_json::to_writer(&mut out, &Self::new(record, Content::Omitted))?;
        // Quotes in a text are escaped, so this is the field and nothing else.
        let place = out.windows(HOLE.len()).position(|text| text == HOLE);
        match place {
            Some(at) => {
                let end = at + HOLE.len();
                out.splice(end - 2..end, payload.iter().copied());
                Ok(out)
            }
            None => serde_json::to_vec(&Self::new(record, content)),
        }
    }

    /// With its payload, or with an empty one.
    pub(crate) fn new(record: &'a Record, content: Content) -> Self {
        let event = &record.event;
        let channels = Some(&event.channels).filter(|channels| !channels.is_empty());
        let tags = Some(&event.tags).filter(|tags| !tags.is_empty());
        Self {
            id: record.id,
            event_id: event.uid.as_ref().map(Uid::as_str),
            event_type: event.event_type.as_str(),
            payload: match content {
                Content::Full => Payload(&event.payload),
                Content::Omitted => Payload(b"{}"),
            },
            content_type: Some(event.content_type.as_str()).filter(|text| *text != JSON),
            channels: channels.map(|channels| channels.iter().map(Channel::as_str).collect()),
            tags: tags.map(|tags| tags.iter().map(Tag::as_str).collect()),
            ordering_key: event.ordering_key.as_ref().map(OrderingKey::as_str),
            deliver_at: event.deliver_at,
            timestamp: record.timestamp,
        }
    }
}

/// The JSON of a message that says no more than it must, as nearly all do: put together of its texts, for
/// a serializer takes three times as many instructions to find that nothing in them is to be escaped.
/// Names and ids have no such characters.
fn plain(record: &Record, payload: &[u8]) -> Vec<u8> {
    let (id, time) = (record.id.to_string(), time_text(record.timestamp));
    let (quote, uid) = match &record.event.uid {
        Some(uid) => ("\"", uid.as_str()),
        None => ("", "null"),
    };
    let texts: [&[u8]; 12] = [
        b"{\"id\":\"",
        id.as_bytes(),
        b"\",\"eventId\":",
        quote.as_bytes(),
        uid.as_bytes(),
        quote.as_bytes(),
        b",\"eventType\":\"",
        record.event.event_type.as_str().as_bytes(),
        b"\",\"payload\":",
        payload,
        b",\"channels\":null,\"timestamp\":\"",
        time.as_bytes(),
    ];
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let mut out = Vec::with_capacity(bytes + END.len());
    for text in texts {
        out.extend_from_slice(text);
    }
    out.extend_from_slice(END);
    out
}

/// A payload: as it is when it is a JSON object, as SDKs in typed languages demand. Anything else is in
/// an object: `{"text": …}`, or `{"base64": …}` when it is not UTF-8.
#[derive(Debug)]
pub(super) struct Payload<'a>(pub(super) &'a [u8]);

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Wrapped<'a> {
    Text(&'a str),
    Base64(String),
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.0.trim_ascii_start().starts_with(b"{");
        if object && let Ok(raw) = serde_json::from_slice::<&RawValue>(self.0) {
            return raw.serialize(serializer);
        }
        let wrapped = match std::str::from_utf8(self.0) {
            Ok(text) => Wrapped::Text(text),
            Err(_) => Wrapped::Base64(STANDARD.encode(self.0)),
        };
        wrapped.serialize(serializer)
    }
}
