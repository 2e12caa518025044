//! Polled and streamed messages in JSON, and what clients say of their cursors.
//!
//! **Invariant:** the shapes are those of the API family's polling endpoints; `offset`, where it is,
//! is what a commit takes. `expired` is ours and absent unless something is missing.
//! **Next:** `wire/tests.rs`.

use std::collections::BTreeMap;

use hooklog_storage::{Channel, EventId, OffsetRange, Record, Tag, Timestamp, Uid};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::fields::{Fields, required};
use super::message::Payload;
use super::{Issue, schemas, text, time};
use crate::feed::Found;

/// A message as a poll or a stream shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolledOut<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::MessageId)]
    id: EventId,
    /// Where only commits move the cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    offset: Option<u64>,
    #[schema(required)]
    event_id: Option<&'a str>,
    event_type: &'a str,
    #[schema(value_type = schemas::Payload)]
    payload: Payload<'a>,
    #[schema(required)]
    channels: Option<Vec<&'a str>>,
    #[schema(required)]
    tags: Option<Vec<&'a str>>,
    #[schema(required, value_type = Option<BTreeMap<String, String>>)]
    headers: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(serialize_with = "some_time")]
    #[schema(required, value_type = Option<schemas::Time>)]
    deliver_at: Option<Timestamp>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    timestamp: Timestamp,
}

impl<'a> PolledOut<'a> {
    fn without_offset(record: &'a Record) -> Self {
        let event = &record.event;
        let channels = Some(&event.channels).filter(|channels| !channels.is_empty());
        let tags = Some(&event.tags).filter(|tags| !tags.is_empty());
        let headers = Some(&event.headers).filter(|headers| !headers.is_empty());
        Self {
            id: record.id,
            offset: None,
            event_id: event.uid.as_ref().map(Uid::as_str),
            event_type: event.event_type.as_str(),
            payload: Payload(&event.payload),
            channels: channels.map(|channels| channels.iter().map(Channel::as_str).collect()),
            tags: tags.map(|tags| tags.iter().map(Tag::as_str).collect()),
            headers: headers.map(|headers| headers.iter().map(|h| (h.name(), h.value())).collect()),
            deliver_at: event.deliver_at,
            timestamp: record.timestamp,
        }
    }

    /// With the offset that a commit takes.
    pub(crate) fn with_offset(record: &'a Record) -> Self {
        Self {
            offset: Some(record.offset.get()),
            ..Self::without_offset(record)
        }
    }
}

/// What was gone before it was looked at: places in the log, over all applications.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExpiredRangeOut {
    first_offset: u64,
    last_offset: u64,
}

impl ExpiredRangeOut {
    /// `None` if nothing was.
    pub(crate) fn new(range: &OffsetRange) -> Option<Self> {
        (!range.is_empty()).then(|| Self {
            first_offset: range.start.get(),
            last_offset: range.end.get().saturating_sub(1),
        })
    }
}

/// What a poll brought, with the iterator that goes on behind it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PollOut<'a> {
    data: Vec<PolledOut<'a>>,
    iterator: String,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expired: Option<ExpiredRangeOut>,
}

impl<'a> PollOut<'a> {
    pub(crate) fn new(found: &'a Found, iterator: String) -> Self {
        let data = found.records.iter().map(PolledOut::without_offset);
        Self {
            data: data.collect(),
            iterator,
            done: !found.more,
            expired: ExpiredRangeOut::new(&found.expired),
        }
    }
}

/// What a poll brought whose cursor moves by commits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommittedPollOut<'a> {
    data: Vec<PolledOut<'a>>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expired: Option<ExpiredRangeOut>,
}

impl<'a> CommittedPollOut<'a> {
    pub(crate) fn new(found: &'a Found) -> Self {
        Self {
            data: found.records.iter().map(PolledOut::with_offset).collect(),
            done: !found.more,
            expired: ExpiredRangeOut::new(&found.expired),
        }
    }
}

/// A commit: the offset of the last message that the client is done with.
#[derive(Debug)]
pub(crate) struct CommitIn {
    pub(crate) offset: u64,
}

impl CommitIn {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Issue> {
        let fields = Fields::parse(body)?;
        let offset = fields.value("offset")?.ok_or_else(required("offset"))?;
        Ok(Self { offset })
    }
}

/// Where a cursor is to go.
#[derive(Debug)]
pub(crate) struct SeekIn {
    pub(crate) after: Timestamp,
}

impl SeekIn {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Issue> {
        let fields = Fields::parse(body)?;
        let text = fields.value::<String>("after")?;
        let text = text.ok_or_else(required("after"))?;
        let message = "must be a time as 2026-01-31T12:00:00Z";
        let after: jiff::Timestamp = text.parse().map_err(|_| Issue::body("after", message))?;
        Ok(Self {
            after: Timestamp::from_millis(after.as_millisecond()),
        })
    }
}

/// Where a cursor went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeekOut {
    pub(crate) iterator: String,
}

#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn some_time<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => time(value, serializer),
        None => serializer.serialize_none(),
    }
}
