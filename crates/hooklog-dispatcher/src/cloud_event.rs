//! An event as a CloudEvent 1.0.2: attributes as `ce-` headers, or in JSON around the payload.
//!
//! What the publisher said in `ce-` headers goes before what the log knows; only the version of the
//! specification and the type of the data cannot be said so, for both belong to how it is sent.
//!
//! **Invariant:** the payload is embedded as it is: JSON byte for byte, text in UTF-8 as a string, all
//! else in base64; never parsed into a value and written anew.
//! **Next:** `request.rs`, which sends it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hooklog_storage::{Header, Record};
use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::value::RawValue;

/// The media type of the structured mode.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
/// What the names of attributes begin with, as headers.
const PREFIX: &str = "ce-";
/// The version that is spoken.
const VERSION: &str = "1.0";

/// The attribute that a header holds: its name without the prefix, whatever the case.
pub(crate) fn attribute(header: &Header) -> Option<&str> {
    let (start, name) = header.name().split_at_checked(PREFIX.len())?;
    start.eq_ignore_ascii_case(PREFIX).then_some(name)
}

/// What the log knows of an event, as attributes; their values need no encoding in headers.
fn known(record: &Record) -> [(&'static str, String); 4] {
    let time = jiff::Timestamp::from_millisecond(record.timestamp.as_millis());
    [
        ("id", record.id.to_string()),
        // Unique together with the id, as the specification wants it, and the same in each delivery.
        ("source", format!("/app/{}", record.event.application)),
        ("type", record.event.event_type.as_str().to_owned()),
        ("time", time.unwrap_or_default().to_string()),
    ]
}

/// Headers of the binary mode, with their names in full. Values of the publisher go out as they came,
/// which is in the encoding of headers.
pub(crate) fn binary(record: &Record) -> Vec<(String, String)> {
    let mut headers = vec![(format!("{PREFIX}specversion"), VERSION.to_owned())];
    for header in given(record) {
        headers.push((
            header.name().to_ascii_lowercase(),
            header.value().to_owned(),
        ));
    }
    for (name, value) in known(record) {
        let name = format!("{PREFIX}{name}");
        if !headers.iter().any(|(given, _)| *given == name) {
            headers.push((name, value));
        }
    }
    headers
}

/// The body of the structured mode.
pub(crate) fn structured(record: &Record) -> Result<Bytes, serde_json::Error> {
    let mut attributes: BTreeMap<String, String> = known(record)
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    for header in given(record) {
        if let Some(name) = attribute(header).filter(|name| is_name(name)) {
            attributes.insert(name.to_ascii_lowercase(), decode(header.value()));
        }
    }
    let event = &record.event;
    // Base64 takes a third more; the envelope is small beside a page.
    let mut body = Vec::with_capacity(event.payload.len() + event.payload.len() / 2 + 512);
    let mut serializer = serde_json::Serializer::new(&mut body);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("specversion", VERSION)?;
    for (name, value) in &attributes {
        map.serialize_entry(name, value)?;
    }
    map.serialize_entry("datacontenttype", &event.content_type)?;
    match data(&event.content_type, &event.payload) {
        Data::None => {}
        Data::Json(json) => map.serialize_entry("data", json)?,
        Data::Text(text) => map.serialize_entry("data", text)?,
        Data::Binary(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
    }
    map.end()?;
    Ok(body.into())
}

/// How the JSON format holds a payload.
enum Data<'a> {
    /// No data is no member.
    None,
    Json(&'a RawValue),
    Text(&'a str),
    Binary(&'a [u8]),
}

fn data<'a>(content_type: &str, payload: &'a [u8]) -> Data<'a> {
    if payload.is_empty() {
        return Data::None;
    }
    let media = MediaType::of(content_type);
    if media.is_json() {
        let json = serde_json::from_slice(payload);
        return json.map_or(Data::Binary(payload), Data::Json);
    }
    match std::str::from_utf8(payload) {
        Ok(text) if media.is_text() => Data::Text(text),
        Ok(_) | Err(_) => Data::Binary(payload),
    }
}

/// Attributes of the publisher that count: not empty, each once, and none of those that say how the
/// event is sent.
fn given(record: &Record) -> Vec<&Header> {
    let mut given: Vec<&Header> = Vec::new();
    for header in &record.event.headers {
        let Some(name) = attribute(header) else {
            continue;
        };
        let sending = ["specversion", "datacontenttype", "data", "data_base64"];
        let ours = sending.iter().any(|own| own.eq_ignore_ascii_case(name));
        let again = given.iter().any(|other| other.is(header.name()));
        if !ours && !again && !header.value().is_empty() {
            given.push(header);
        }
    }
    given
}

/// Whether the JSON format takes it as an attribute's name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What a content type says, in lower case.
struct MediaType {
    kind: String,
    subtype: String,
    charset: Option<String>,
}

impl MediaType {
    fn of(content_type: &str) -> Self {
        let lower = content_type.to_ascii_lowercase();
        let mut parts = lower.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (kind, subtype) = media.split_once('/').unwrap_or_default();
        let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
        Self {
            kind: kind.to_owned(),
            subtype: subtype.to_owned(),
            charset: charset.map(|value| value.trim_matches('"').to_owned()),
        }
    }

    /// `*/json` or `*/*+json`, whatever the parameters (JSON format, section 3.1).
    fn is_json(&self) -> bool {
        self.subtype == "json" || self.subtype.ends_with("+json")
    }

    /// Whether those who read it expect a text, which many libraries give them only of a string.
    /// One in another charset would be another text there.
    fn is_text(&self) -> bool {
        let in_utf_8 = match self.charset.as_deref() {
            None | Some("utf-8" | "utf8" | "us-ascii") => true,
            Some(_) => false,
        };
        let is_text = self.kind == "text"
            || self.subtype == "xml"
            || self.subtype.ends_with("+xml")
            || self.subtype == "x-www-form-urlencoded";
        in_utf_8 && is_text
    }
}

/// The text behind a header's value: quotes removed, then percent-encoding, once. What does not
/// decode to UTF-8 stays as it is.
fn decode(value: &str) -> String {
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let unquoted = match quoted {
        None => value.to_owned(),
        Some(inner) => {
            let mut text = String::with_capacity(inner.len());
            let mut chars = inner.chars();
            while let Some(char) = chars.next() {
                text.extend(if char == '\\' {
                    chars.next()
                } else {
                    Some(char)
                });
            }
            text
        }
    };
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let decoded = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = match decoded {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
    String::from_utf8(bytes).unwrap_or(unquoted)
}

#[cfg(test)]
mod tests;
