//! The request of one attempt: what is sent, in which format, with which headers.
//!
//! **Invariant:** the signature covers the very body that is sent. Of headers with one name the
//! sender's own go before the endpoint's, and these before the event's. Over HTTP/1 and HTTP/2 the same
//! headers go out.
//! **Next:** `client.rs`, which sends it.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use hooklog_storage::{Format, Record, Timestamp};
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, InvalidHeaderValue};
use http::{HeaderMap, Method, Request, Version};
use http_body_util::Full;

use crate::cloud_event;
use crate::target::{Target, line};

/// The headers of a signature. Receivers' libraries know one family of names or the other, so both
/// go out.
const ID: [&str; 2] = ["webhook-id", "svix-id"];
const TIMESTAMP: [&str; 2] = ["webhook-timestamp", "svix-timestamp"];
const SIGNATURE: [&str; 2] = ["webhook-signature", "svix-signature"];

/// The media type of most events, checked once.
const JSON: &str = "application/json";
const JSON_VALUE: HeaderValue = HeaderValue::from_static(JSON);

/// Room for the lines that each request adds beside its values: some 150 bytes of names, and the length.
const NAMES_BYTES: usize = 192;

/// Room for the text of an event's id.
const ID_BYTES: usize = 32;

/// Why a request cannot be made of an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("a header cannot be sent")]
    Header(#[source] InvalidHeaderValue),
    #[error("the event cannot be written as a CloudEvent")]
    Envelope(#[source] serde_json::Error),
}

/// A request, ready to be written in either version of HTTP.
pub(crate) struct Outgoing {
    pub(crate) target: Arc<Target>,
    content_type: HeaderValue,
    /// What the event brings along.
    event: HeaderMap,
    id: String,
    timestamp: String,
    signature: String,
    pub(crate) body: Bytes,
}

/// The request of an attempt that starts at `now`.
pub(crate) fn request(
    target: Arc<Target>,
    record: &Record,
    now: Timestamp,
) -> Result<Outgoing, RequestError> {
    let (content_type, body) = match target.format {
        Format::Payload | Format::CloudEventsBinary => {
            let content_type = match record.event.content_type.as_str() {
                JSON => JSON_VALUE,
                other => HeaderValue::from_str(other).map_err(RequestError::Header)?,
            };
            (content_type, record.event.payload.clone())
        }
        Format::CloudEventsStructured => {
            let media = HeaderValue::from_static(cloud_event::STRUCTURED);
            let body = cloud_event::structured(record).map_err(RequestError::Envelope)?;
            (media, body)
        }
    };
    let event = event_headers(&target, record)?;
    let mut id = String::with_capacity(ID_BYTES);
    // Writing into a string cannot fail.
    let _ = write!(id, "{}", record.id);
    let signature = hooklog_signature::sign_by(target.signers(now), &id, now.as_secs(), &body);
    Ok(Outgoing {
        content_type,
        event,
        id,
        timestamp: now.as_secs().to_string(),
        signature,
        body,
        target,
    })
}

impl Outgoing {
    /// Writes the head, as HTTP/1 has it.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>) {
        let values = self.id.len() + self.timestamp.len() + self.signature.len();
        let event = self.event.iter();
        let event = event.map(|(name, value)| name.as_str().len() + value.len() + 4);
        out.reserve(
            self.target.head.len()
                + self.content_type.len()
                + values * ID.len()
                + event.sum::<usize>()
                + NAMES_BYTES,
        );
        out.extend_from_slice(&self.target.head);
        line(out, CONTENT_TYPE.as_str(), self.content_type.as_bytes());
        for (name, value) in &self.event {
            line(out, name.as_str(), value.as_bytes());
        }
        for (names, value) in self.signed() {
            for name in names {
                line(out, name, value.as_bytes());
            }
        }
        if !self.body.is_empty() {
            let length = self.body.len().to_string();
            line(out, "content-length", length.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The request as HTTP/2 wants it, which has the whole URL in fields of its own and no `host`.
    pub(crate) fn http2(&self) -> Result<Request<Full<Bytes>>, RequestError> {
        let mut headers = self.target.headers.clone();
        headers.remove(HOST);
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        for (name, value) in &self.event {
            headers.append(name, value.clone());
        }
        for (names, value) in self.signed() {
            let value = HeaderValue::from_str(value).map_err(RequestError::Header)?;
            for name in names {
                headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn signed(&self) -> [([&'static str; 2], &str); 3] {
        [
            (ID, &self.id),
            (TIMESTAMP, &self.timestamp),
            (SIGNATURE, &self.signature),
        ]
    }
}

/// What the event brings along, where neither we nor the endpoint say it.
fn event_headers(target: &Target, record: &Record) -> Result<HeaderMap, RequestError> {
    let mut headers = HeaderMap::new();
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
    Ok(headers)
}

#[cfg(test)]
mod tests;
