//! Small requests about messages: an example to send, a question before sending.
//!
//! **Invariant:** as `wire.rs`.
//! **Next:** `wire/message.rs`.

use std::collections::BTreeMap;

use bytes::Bytes;
use hooklog_storage::{Channel, EventTypeName};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Issue;
use super::fields::{Fields, required};

/// Most channels of one message (the API family's bound).
const CHANNELS_MAX: usize = 5;

/// Most messages that are expunged at once: as many as one list shows.
const EXPUNGED_AT_ONCE_MAX: usize = 250;

/// An example to send.
#[derive(Debug)]
pub(crate) struct ExampleIn {
    pub(crate) event_type: EventTypeName,
    /// Which one of several.
    pub(crate) index: usize,
    /// What to send instead of an example of the schema.
    pub(crate) payload: Option<Bytes>,
}

impl ExampleIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let payload = match fields.raw("payload").map(RawValue::get) {
            Some(text) if text.starts_with('{') => Some(Bytes::copy_from_slice(text.as_bytes())),
            Some(_) => return Err(Issue::body("payload", "must be an object")),
            None => None,
        };
        Ok(Self {
            event_type: fields
                .name("eventType")?
                .ok_or_else(required("eventType"))?,
            index: fields.value("exampleIndex")?.unwrap_or(0),
            payload,
        })
    }
}

/// A message that may be published.
#[derive(Debug)]
pub(crate) struct PrecheckIn {
    pub(crate) event_type: EventTypeName,
    pub(crate) channels: Vec<Channel>,
}

impl PrecheckIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        Ok(Self {
            event_type: fields
                .name("eventType")?
                .ok_or_else(required("eventType"))?,
            channels: fields.names("channels", CHANNELS_MAX)?.unwrap_or_default(),
        })
    }
}

/// Messages whose payloads are to go.
#[derive(Debug)]
pub(crate) struct BulkExpungeIn {
    pub(crate) ids: Vec<String>,
}

impl BulkExpungeIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let ids: Vec<String> = fields.value("ids")?.unwrap_or_default();
        if ids.len() > EXPUNGED_AT_ONCE_MAX {
            let message = format!("must have at most {EXPUNGED_AT_ONCE_MAX} items");
            return Err(Issue::body("ids", message));
        }
        Ok(Self { ids })
    }
}

/// What became of each of them.
#[derive(Debug, Serialize)]
pub(crate) struct BulkExpungeOut {
    results: BTreeMap<String, &'static str>,
}

impl BulkExpungeOut {
    /// Of the names that were given, with whether there is a message of that name.
    pub(crate) fn new(found: impl Iterator<Item = (String, bool)>) -> Self {
        let word = |is_there| if is_there { "expunged" } else { "not-found" };
        Self {
            results: found.map(|(id, is_there)| (id, word(is_there))).collect(),
        }
    }
}

/// Whether anyone would get it.
#[derive(Debug, Serialize)]
pub(crate) struct PrecheckOut {
    pub(crate) active: bool,
}
