//! The request of one attempt: what is sent, in which format, with which headers.
//!
//! **Invariant:** the signature covers the very body that is sent. Of headers with one name the
//! sender's own go before the endpoint's, and these before the event's.
//! **Next:** `client.rs`, which sends it.

use bytes::Bytes;
use hooklog_storage::{Format, Record, Timestamp};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, InvalidHeaderValue};
use http::{HeaderMap, Method, Request};
use http_body_util::Full;

use crate::cloud_event;
use crate::target::Target;

/// The headers of a signature. Receivers' libraries know one family of names or the other, so both
/// go out.
const ID: [HeaderName; 2] = names("webhook-id", "svix-id");
const TIMESTAMP: [HeaderName; 2] = names("webhook-timestamp", "svix-timestamp");
const SIGNATURE: [HeaderName; 2] = names("webhook-signature", "svix-signature");

const fn names(standard: &'static str, svix: &'static str) -> [HeaderName; 2] {
    [
        HeaderName::from_static(standard),
        HeaderName::from_static(svix),
    ]
}

/// Why a request cannot be made of an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("a header cannot be sent")]
    Header(#[source] InvalidHeaderValue),
    #[error("the event cannot be written as a CloudEvent")]
    Envelope(#[source] serde_json::Error),
}

/// The request of an attempt that starts at `now`, as HTTP/1 wants it.
pub(crate) fn request(
    target: &Target,
    record: &Record,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, RequestError> {
    let header = |text: &str| HeaderValue::from_str(text).map_err(RequestError::Header);
    let mut headers = target.headers.clone();
    headers.reserve(ID.len() * 3 + 1 + record.event.headers.len());
    let body = match target.format {
        Format::Payload | Format::CloudEventsBinary => {
            headers.insert(CONTENT_TYPE, header(&record.event.content_type)?);
            record.event.payload.clone()
        }
        Format::CloudEventsStructured => {
            let media = HeaderValue::from_static(cloud_event::STRUCTURED);
            headers.insert(CONTENT_TYPE, media);
            cloud_event::structured(record).map_err(RequestError::Envelope)?
        }
    };
    event_headers(&mut headers, target, record)?;
    let id = record.id.to_string();
    let signature = hooklog_signature::sign(target.secrets(now), &id, now.as_secs(), &body);
    let values = [
        (ID, header(&id)?),
        (TIMESTAMP, HeaderValue::from(now.as_secs())),
        (SIGNATURE, header(&signature)?),
    ];
    for (names, value) in values {
        for name in names {
            headers.insert(name, value.clone());
        }
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.clone();
    *request.headers_mut() = headers;
    if !target.case.is_empty() {
        *request.extensions_mut() = target.case.clone();
    }
    Ok(request)
}

/// Adds what the event brings along, where neither we nor the endpoint say it.
fn event_headers(
    headers: &mut HeaderMap,
    target: &Target,
    record: &Record,
) -> Result<(), RequestError> {
    let mut add = |name: &str, value: &str| {
        // Both were checked when they were published; a name that is none is not sent.
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            && !target.headers.contains_key(&name)
        {
            let value = HeaderValue::from_str(value).map_err(RequestError::Header)?;
            headers.append(name, value);
        }
        Ok(())
    };
    if target.format == Format::CloudEventsBinary {
        for (name, value) in cloud_event::binary(record) {
            add(&name, &value)?;
        }
    }
    for header in &record.event.headers {
        // Attributes are in the envelope, or among the headers already.
        let attribute =
            target.format != Format::Payload && cloud_event::attribute(header).is_some();
        if !attribute && !header.is_reserved() {
            add(header.name(), header.value())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
