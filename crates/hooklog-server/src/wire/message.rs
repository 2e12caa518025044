//! Messages in JSON: events as the API family calls them.
//!
//! **Invariant:** the payload is stored as the bytes it came in: order, whitespace and escapes of
//! its JSON are kept.
//! **Next:** `wire/attempt.rs`.

use bytes::Bytes;
use hooklog_storage::{
    Channel, EventId, EventTypeName, Header, OrderingKey, Record, Tag, Timestamp, Uid,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::fields::{Fields, required};
use super::{ApplicationIn, Content, Issue, headers, raw, text, time};

/// Most channels of one message (the API family's bound).
const CHANNELS_MAX: usize = 5;
/// The one retention that is accepted, since the log has one for all: the API family's default.
const RETENTION_DAYS: u16 = 90;
/// Most tags of one message: as many as channels and a few more.
const TAGS_MAX: usize = 8;
const UNSUPPORTED: &[&str] = &["deliverAt", "payloadRetentionHours"];
/// What a payload is unless its publisher says otherwise.
const JSON: &str = "application/json";

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
            Some(raw) => (raw.payload, raw.content_type),
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
            application,
        })
    }
}

fn payload(body: &Bytes, fields: &Fields<'_>) -> Result<Bytes, Issue> {
    let raw = fields.raw("payload").or_else(|| fields.raw("data"));
    let text = raw.ok_or_else(required("payload"))?.get();
    if !text.starts_with('{') {
        return Err(Issue::body("payload", "must be an object"));
    }
    // A slice keeps the whole body in memory for as long as the log keeps the payload at hand;
    // where most of the body is something else (whitespace), a copy is smaller.
    if text.len() < body.len() / 2 {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    Ok(body.slice_ref(text.as_bytes()))
}

/// A message as clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageOut<'a> {
    #[serde(serialize_with = "text")]
    id: EventId,
    event_id: Option<&'a str>,
    event_type: &'a str,
    payload: Payload<'a>,
    channels: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<&'a str>,
    #[serde(serialize_with = "time")]
    timestamp: Timestamp,
}

impl<'a> MessageOut<'a> {
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
            channels: channels.map(|channels| channels.iter().map(Channel::as_str).collect()),
            tags: tags.map(|tags| tags.iter().map(Tag::as_str).collect()),
            ordering_key: event.ordering_key.as_ref().map(OrderingKey::as_str),
            timestamp: record.timestamp,
        }
    }
}

/// A payload: as it is when it is JSON. Programs that embed the log may publish other bytes; those
/// show as a text, whose bytes that are not UTF-8 are replaced.
#[derive(Debug)]
pub(super) struct Payload<'a>(pub(super) &'a [u8]);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_slice::<&RawValue>(self.0) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) => serializer.serialize_str(&String::from_utf8_lossy(self.0)),
        }
    }
}
