//! A payload that is not JSON, as SDKs of the API family send it (`messageInRaw`): a text in
//! `transformationsParams`, with its content type.
//!
//! **Invariant:** the text's bytes are the payload; what else that field may ask for is refused.
//! **Next:** `wire/standing.rs`.

use bytes::Bytes;
use hooklog_storage::Header;
use serde_json::value::RawValue;

use super::Issue;
use super::fields::Fields;
use crate::brief::quoted;
use crate::event_in::CONTENT_TYPE_BYTES_MAX;

const FIELD: &str = "transformationsParams";

/// A payload as text.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) payload: Bytes,
    pub(super) content_type: Option<String>,
}

/// The raw payload of a message, if it has one.
pub(super) fn parse(fields: &Fields<'_>) -> Result<Option<Raw>, Issue> {
    let Some(raw) = fields.raw(FIELD).filter(|raw| raw.get() != "{}") else {
        return Ok(None);
    };
    let within = |_| Issue::body(FIELD, "must be an object");
    let params = Fields::parse(raw.get().as_bytes()).map_err(within)?;
    let known = |name: &&str| !matches!(*name, "rawPayload" | "headers");
    if let Some(name) = params.names_of_all().find(known) {
        let message = format!("{} in it is not supported by this server", quoted(name));
        return Err(Issue::body(FIELD, message));
    }
    let text = params
        .value::<String>("rawPayload")
        .map_err(|_| Issue::body(FIELD, "`rawPayload` in it must be a text"))?;
    let payload = text.ok_or_else(|| Issue::body(FIELD, "must have a `rawPayload`"))?;
    let content_type = match params.raw("headers") {
        Some(raw) => content_type(raw.get())?,
        None => None,
    };
    Ok(Some(Raw {
        payload: payload.into(),
        content_type,
    }))
}

fn content_type(headers: &str) -> Result<Option<String>, Issue> {
    let within = |_| Issue::body(FIELD, "`headers` in it must be an object of texts");
    let headers = Fields::parse(headers.as_bytes()).map_err(within)?;
    let other = |name: &&str| !name.eq_ignore_ascii_case("content-type");
    if let Some(name) = headers.names_of_all().find(other) {
        let name = quoted(name);
        let message = format!("of `headers` in it, {name} is not supported by this server");
        return Err(Issue::body(FIELD, message));
    }
    let Some(name) = headers.names_of_all().next() else {
        return Ok(None);
    };
    let text = headers.raw(name).map_or("\"\"", RawValue::get);
    let text: String = serde_json::from_str(text).map_err(|_| within(Issue::json("")))?;
    match Header::new("content-type", &text) {
        Ok(header) if (1..=CONTENT_TYPE_BYTES_MAX).contains(&header.value().len()) => {
            Ok(Some(text))
        }
        Ok(_) | Err(_) => Err(Issue::body(FIELD, "its content type is not one")),
    }
}
