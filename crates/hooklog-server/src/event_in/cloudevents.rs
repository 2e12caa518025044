//! A CloudEvent (1.0.2) as an event of ours.
//!
//! Its attributes become headers of the event, `ce-NAME` with the value as the HTTP binding writes it,
//! so that a delivery in any mode can be made of them; `datacontenttype` becomes the content type,
//! `data` the payload, `type` the event type (unless another is named beside), `partitionkey` the
//! ordering key. `source` and `id` together are the event's uid: sent again, it is the same event.
//!
//! **Invariant:** an attribute that is stored has a name and a value that CloudEvents allow, and goes
//! out as it came in.
//! **Next:** `binary.rs`, `structured.rs`.

use std::fmt::Write as _;

use bytes::Bytes;
use hooklog_storage::{ApplicationId, Event, EventTypeName, Header, NameError, Uid};
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::CONTENT_TYPE_BYTES_MAX;
use super::attributes::{Attributes, check_bounds};
use crate::brief::quoted;
use crate::error::ApiError;
use crate::wire::Issue;

/// The version that there is (every 1.0.x calls itself so).
const SPECVERSION: &str = "1.0";
/// Longest name of an attribute (the specification's advice, section 3.1).
const NAME_BYTES_MAX: usize = 20;
/// In front of an attribute's name in a header.
pub(super) const PREFIX: &str = "ce-";

/// A CloudEvent before it is checked as a whole.
#[derive(Debug)]
pub(super) struct CloudEvent {
    /// Name and value as text, without `datacontenttype`.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) content_type: String,
    pub(super) data: Bytes,
}

impl CloudEvent {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &'static str) -> Result<&str, Issue> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Issue::attribute(name, "is a required attribute of a CloudEvent"))
    }

    /// The event in the log's words; what is `given` beside it adds to it.
    pub(super) fn event(
        self,
        application: ApplicationId,
        given: &Attributes,
    ) -> Result<Event, ApiError> {
        if given.uid.is_some() {
            let message = "cannot be given with a CloudEvent, whose source and id are its id";
            return Err(Issue::query("event_id", message).into());
        }
        if self.required("specversion")? != SPECVERSION {
            return Err(Issue::attribute("specversion", "must be 1.0").into());
        }
        let (source, id) = (self.required("source")?, self.required("id")?);
        let event_type = match &given.event_type {
            Some(event_type) => event_type.clone(),
            None => event_type(self.required("type")?)?,
        };
        if let Some(time) = self.get("time") {
            let parsed = time.parse::<jiff::Timestamp>();
            parsed.map_err(|_| Issue::attribute("time", "must be a time of RFC 3339"))?;
        }
        let ordering_key = match (&given.ordering_key, self.get("partitionkey")) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(text)) => {
                let bad = |error: NameError| Issue::attribute("partitionkey", error.to_string());
                Some(text.parse().map_err(bad)?)
            }
            (None, None) => None,
        };
        let uid = uid(source, id);
        let mut headers = given.headers.clone();
        for (name, value) in &self.attributes {
            headers.push(header(name, value)?);
        }
        check_bounds(&headers)?;
        Ok(Event {
            channels: given.channels.clone(),
            uid,
            content_type: self.content_type,
            tags: given.tags.clone(),
            ordering_key,
            headers,
            deliver_at: given.deliver_at,
            ..Event::new(application, event_type, self.data)
        })
    }
}

fn event_type(text: &str) -> Result<EventTypeName, Issue> {
    text.parse().map_err(|error: NameError| {
        let text = quoted(text);
        let message =
            format!("{text} cannot be an event type: it {error}; name one by `event_type`");
        Issue::attribute("type", message)
    })
}

/// What source and id make together: of a length that fits, whatever theirs is.
fn uid(source: &str, id: &str) -> Option<Uid> {
    let mut hash = Sha256::new_with_prefix(b"hooklog cloudevent 1");
    // With its length, so that source and id do not run into each other.
    hash.update((source.len() as u64).to_be_bytes());
    hash.update(source);
    hash.update(id);
    let mut text = "ce.".to_owned();
    // 160 bits: two of 2^80 events are expected to collide.
    for byte in hash.finalize().iter().take(20) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text.parse().ok()
}

/// An attribute as a header.
fn header(name: &str, value: &str) -> Result<Header, Issue> {
    Header::new(&format!("{PREFIX}{name}"), &encode(value))
        .map_err(|error| Issue::attribute("attributes", format!("{name}: {error}")))
}

/// Checks an attribute's name.
pub(super) fn check_name(name: &str) -> Result<(), Issue> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(letters);
    if fits && name != "data" {
        return Ok(());
    }
    let message = format!(
        "{} is no name of an attribute: those have 1 to {NAME_BYTES_MAX} lower-case letters and digits",
        quoted(name)
    );
    Err(Issue::attribute("attributes", message))
}

/// Checks an attribute's value: the characters of a String (section 3.2).
pub(super) fn check_value(name: &str, value: &str) -> Result<(), Issue> {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(u32::from(c) & 0xfffe, 0xfffe)
            || matches!(c, '\u{fdd0}'..='\u{fdef}')
    };
    match value.chars().find(|c| is_bad(*c)) {
        None => Ok(()),
        Some(found) => {
            let message = format!("{name}: must not hold {found:?}");
            Err(Issue::attribute("attributes", message))
        }
    }
}

/// A content type that can be sent on.
pub(super) fn check_content_type(text: &str) -> Result<(), Issue> {
    let fits = (1..=CONTENT_TYPE_BYTES_MAX).contains(&text.len())
        && text.trim() == text
        && HeaderValue::from_str(text).is_ok_and(|value| value.to_str().is_ok());
    if fits {
        return Ok(());
    }
    let message = "must be 1 to 256 visible ASCII characters";
    Err(Issue::attribute("datacontenttype", message))
}

/// A value as it stands in a header (HTTP binding, section 3.1.3.2).
pub(super) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' | ..=b' ' | 0x7f.. => {
                let _infallible = write!(out, "%{byte:02X}");
            }
            byte => out.push(char::from(byte)),
        }
    }
    out
}
