//! CloudEvents in the JSON format: one of them, or a batch.
//!
//! **Invariant:** JSON data are the bytes that stood in the body; a text is what the string says, binary
//! data what its base64 says.
//! **Next:** `../batch.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::cloudevents::{CloudEvent, check_content_type, check_name, check_value};
use super::{BATCH_ITEMS_MAX, OCTETS};
use crate::wire::{Fields, Issue};

const JSON: &str = "application/json";

/// The one that a body is.
pub(super) fn parse(body: &Bytes) -> Result<CloudEvent, Issue> {
    let fields = Fields::parse(body)?;
    let mut attributes = Vec::new();
    let mut content_type = None;
    for (name, value) in fields.iter() {
        // Null is as good as absent (JSON format, section 2.2).
        if matches!(name, "data" | "data_base64") || value.get() == "null" {
            continue;
        }
        check_name(name)?;
        let text = text(name, value)?;
        if name == "datacontenttype" {
            check_content_type(&text)?;
            content_type = Some(text);
        } else {
            check_value(name, &text)?;
            attributes.push((name.to_owned(), text));
        }
    }
    let (data, default) = data(body, &fields, content_type.as_deref())?;
    Ok(CloudEvent {
        attributes,
        content_type: content_type.unwrap_or_else(|| default.to_owned()),
        data,
    })
}

/// The texts of a batch; not those of too many, which would be many times the body.
pub(super) fn items(body: &Bytes) -> Result<Vec<&RawValue>, Issue> {
    let (items, count) = Fields::list(body, BATCH_ITEMS_MAX)?;
    if count > BATCH_ITEMS_MAX {
        let message = format!("has {count} events, more than the limit of {BATCH_ITEMS_MAX}");
        return Err(Issue::body("batch", message));
    }
    Ok(items)
}

/// One of a batch.
pub(super) fn item(body: &Bytes, item: &RawValue) -> Result<CloudEvent, Issue> {
    parse(&body.slice_ref(item.get().as_bytes()))
}

/// An attribute's value in the words of its header.
fn text(name: &str, value: &RawValue) -> Result<String, Issue> {
    let raw = value.get();
    if raw.starts_with('"') {
        let text = serde_json::from_str(raw);
        return text.map_err(|error| Issue::attribute("attributes", format!("{name}: {error}")));
    }
    // Integers are those of 32 bits (section 3.2 of the specification).
    if matches!(raw, "true" | "false") || raw.parse::<i32>().is_ok() {
        return Ok(raw.to_owned());
    }
    let message = format!("{name}: must be a text, a boolean or an integer of 32 bits");
    Err(Issue::attribute("attributes", message))
}

/// The data, and their content type unless the event says one.
fn data(
    body: &Bytes,
    fields: &Fields<'_>,
    content_type: Option<&str>,
) -> Result<(Bytes, &'static str), Issue> {
    let (json, base64) = (fields.raw("data"), fields.raw("data_base64"));
    let raw = match (json, base64) {
        (Some(_), Some(_)) => {
            let message = "data and data_base64 cannot be given together";
            return Err(Issue::attribute("data_base64", message));
        }
        (None, None) => return Ok((Bytes::new(), OCTETS)),
        (None, Some(_)) => {
            let text: Option<String> = fields.value("data_base64")?;
            let bytes = STANDARD.decode(text.unwrap_or_default());
            let bad =
                |error: base64::DecodeError| Issue::attribute("data_base64", error.to_string());
            return Ok((bytes.map_err(bad)?.into(), OCTETS));
        }
        (Some(raw), None) => raw.get(),
    };
    if content_type.is_none_or(is_json) {
        return Ok((body.slice_ref(raw.as_bytes()), JSON));
    }
    if !raw.starts_with('"') {
        let message = "must be a text, since datacontenttype is not that of JSON";
        return Err(Issue::attribute("data", message));
    }
    let text = serde_json::from_str::<String>(raw);
    let text = text.map_err(|error| Issue::attribute("data", error.to_string()))?;
    Ok((text.into(), OCTETS))
}

/// Whether a media type is that of JSON (JSON format, section 3.1).
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let subtype = media_type
        .split_once('/')
        .map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}
