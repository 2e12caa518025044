//! One event as bytes, the same in a journal frame and in a record batch:
//! `meta length u32 | payload length u32 | meta (codec) | payload`.
//!
//! **Invariant:** the offset is not in the bytes: it is the base of the frame plus the position in
//! it, so it cannot disagree. The payload is verbatim.
//! **Next:** `frame.rs` (record batches), `entry.rs` (journal frames).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bytes::Reader;
use crate::codec::{self, CodecError};
use crate::event::{Event, Record};
use crate::header::Header;
use crate::id::{ApplicationId, EventId, SubscriptionId};
use crate::idempotency::IdempotencyKey;
use crate::name::{Channel, EventTypeName, OrderingKey, Tag, Uid};
use crate::offset::Offset;
use crate::time::Timestamp;

/// The content type that most events have; it is not written out.
const JSON: &str = "application/json";

/// What the meta of an event ends with. All of it is empty in most.
#[derive(Serialize)]
struct EndRef<'a> {
    channels: &'a [Channel],
    uid: Option<&'a Uid>,
    content_type: Option<&'a str>,
    idempotency: Option<IdempotencyKey>,
    rare: Option<RareRef<'a>>,
}

/// An [`EndRef`] of which all is empty: a count and four absences.
const EMPTY_END: [u8; 12] = [0; 12];

impl<'a> EndRef<'a> {
    fn of(event: &'a Event) -> Self {
        let content_type = event.content_type.as_str();
        Self {
            channels: &event.channels,
            uid: event.uid.as_ref(),
            content_type: (content_type != JSON).then_some(content_type),
            idempotency: event.idempotency,
            rare: RareRef::of(event),
        }
    }

    fn is_empty(&self) -> bool {
        self.channels.is_empty()
            && self.uid.is_none()
            && self.content_type.is_none()
            && self.idempotency.is_none()
            && self.rare.is_none()
    }
}

/// What few events have; together they cost a byte where there is none.
#[derive(Serialize)]
struct RareRef<'a> {
    tags: &'a [Tag],
    ordering_key: Option<&'a OrderingKey>,
    headers: &'a [Header],
    only: Option<SubscriptionId>,
    deliver_at: Option<Timestamp>,
}

impl<'a> RareRef<'a> {
    fn of(event: &'a Event) -> Option<Self> {
        let is_plain = event.tags.is_empty()
            && event.ordering_key.is_none()
            && event.headers.is_empty()
            && event.only.is_none()
            && event.deliver_at.is_none();
        (!is_plain).then_some(Self {
            tags: &event.tags,
            ordering_key: event.ordering_key.as_ref(),
            headers: &event.headers,
            only: event.only,
            deliver_at: event.deliver_at,
        })
    }
}

#[derive(Deserialize)]
struct Meta {
    id: EventId,
    timestamp: Timestamp,
    application: ApplicationId,
    event_type: EventTypeName,
    channels: Vec<Channel>,
    uid: Option<Uid>,
    content_type: Option<String>,
    idempotency: Option<IdempotencyKey>,
    rare: Option<Rare>,
}

#[derive(Default, Deserialize)]
struct Rare {
    tags: Vec<Tag>,
    ordering_key: Option<OrderingKey>,
    headers: Vec<Header>,
    only: Option<SubscriptionId>,
    deliver_at: Option<Timestamp>,
}

/// Bytes that a record may take beside payload and texts; used for estimates only.
const OVERHEAD: usize = 8 + 20 + 8 + 20 + 8 + 8 + 1 + 1 + 1 + 1 + IdempotencyKey::BYTES;

/// About how many bytes an event takes, counting everything that its publisher controls.
pub(crate) fn estimate(event: &Event) -> usize {
    let channels: usize = event
        .channels
        .iter()
        .map(|channel| channel.as_str().len() + 8)
        .sum();
    let uid = event.uid.as_ref().map_or(0, |uid| uid.as_str().len() + 8);
    let content_type = event.content_type.len() + 8;
    let tags: usize = event.tags.iter().map(|tag| tag.as_str().len() + 8).sum();
    let headers: usize = event.headers.iter().map(|header| header.bytes() + 16).sum();
    let ordering_key = event
        .ordering_key
        .as_ref()
        .map_or(0, |key| key.as_str().len() + 8);
    let rare = tags + headers + ordering_key + 27 + event.only.map_or(0, |_| 20);
    OVERHEAD
        + event.payload.len()
        + event.event_type.as_str().len()
        + channels
        + uid
        + content_type
        + rare
}

/// Appends the bytes of a record.
pub(crate) fn encode(record: &Record, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let event = &record.event;
    let event_type = event.event_type.as_str().as_bytes();
    let start = out.len();
    // What all have is written as the codec does, but without it: by it an event costs a thousand instructions
    // more, half of what encoding one takes.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(record.id.as_bytes());
    out.extend_from_slice(&record.timestamp.as_millis().to_be_bytes());
    out.extend_from_slice(event.application.as_bytes());
    out.extend_from_slice(&(event_type.len() as u64).to_be_bytes());
    out.extend_from_slice(event_type);
    let end = EndRef::of(event);
    if end.is_empty() {
        out.extend_from_slice(&EMPTY_END);
    } else {
        codec::encode_into(&end, out)?;
    }
    let lengths = [out.len() - start - 8, event.payload.len()];
    for (index, length) in lengths.into_iter().enumerate() {
        // Both are bounded far below 4 GiB by the commit's limits.
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let at = start + index * 4;
        if let Some(field) = out.get_mut(at..at + 4) {
            field.copy_from_slice(&length);
        }
    }
    out.extend_from_slice(&event.payload);
    Ok(())
}

/// Where a record lies in the bytes of a body: found without decoding it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    meta: std::ops::Range<usize>,
    payload: std::ops::Range<usize>,
}

/// The spans of `count` records at the start of `body`, and where they end.
pub(crate) fn spans(body: &[u8], count: usize) -> Option<(Vec<Span>, usize)> {
    // Each record takes at least its 8 bytes of lengths: a bound before anything is allocated.
    if count > body.len() / 8 {
        return None;
    }
    let mut reader = Reader::new(body);
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let (meta, payload) = (reader.length()?, reader.length()?);
        let start = body.len() - reader.remaining();
        reader.take(meta)?;
        reader.take(payload)?;
        let middle = start + meta;
        spans.push(Span {
            meta: start..middle,
            payload: middle..middle + payload,
        });
    }
    Some((spans, body.len() - reader.remaining()))
}

/// The record at `span` of `body`; the payload shares the body's memory.
pub(crate) fn decode(body: &Bytes, span: &Span, offset: Offset) -> Result<Record, CodecError> {
    let meta: Meta = codec::decode(body.get(span.meta.clone()).unwrap_or_default())?;
    let rare = meta.rare.unwrap_or_default();
    Ok(Record {
        offset,
        id: meta.id,
        timestamp: meta.timestamp,
        event: Event {
            application: meta.application,
            event_type: meta.event_type,
            channels: meta.channels,
            uid: meta.uid,
            idempotency: meta.idempotency,
            content_type: meta.content_type.unwrap_or_else(|| JSON.to_owned()),
            tags: rare.tags,
            ordering_key: rare.ordering_key,
            headers: rare.headers,
            only: rare.only,
            deliver_at: rare.deliver_at,
            payload: body.slice(span.payload.clone()),
        },
    })
}

#[cfg(test)]
mod tests;
