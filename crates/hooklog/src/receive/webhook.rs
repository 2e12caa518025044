//! One webhook: read its body, verify it, describe it in one line, answer it.
//!
//! **Invariant:** nothing of a request reaches the terminal unescaped; a request that was not
//! verified although there are secrets is answered 401, whatever else it is.
//! **Next:** `writer.rs`, where the line goes.

use std::time::Duration;

use bytes::Bytes;
use hooklog_signature::{Headers, Secret, TOLERANCE, verify};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::writer::Line;

/// Most bytes of a body: above the largest payload that a server can be set to take.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Longest time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the body a line shows.
const PREVIEW_CHARS: usize = 60;
/// How much of an id a line shows; ours have 31 characters.
const ID_CHARS: usize = 80;

/// What every webhook is checked against and where its line goes.
pub(super) struct Receiver {
    pub(super) secrets: Vec<Secret>,
    /// The answer to what is accepted.
    pub(super) status: StatusCode,
    pub(super) lines: mpsc::Sender<Line>,
}

/// Whether a webhook is to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Verified,
    /// There is no secret to verify with.
    Unchecked,
    Refused(String),
}

impl Receiver {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        if request.method() != Method::POST {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                tracing::warn!(%error, limit = BODY_BYTES_MAX, "cannot read a body");
                return empty(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
        };
        let now = jiff::Timestamp::now();
        let id = header(&head.headers, "id");
        let trust = check(&self.secrets, &head.headers, &body, now.as_second());
        let text = describe(now, &trust, id, &body);
        let status = match trust {
            Trust::Verified | Trust::Unchecked => self.status,
            Trust::Refused(_) => StatusCode::UNAUTHORIZED,
        };
        let verified = trust == Trust::Verified;
        let line = Line {
            text,
            id: id.to_owned(),
            verified,
            body,
        };
        // Fails only when the writer is gone, and then the program is about to end.
        match self.lines.send(line).await {
            Ok(()) => empty(status),
            Err(_) => empty(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// Verifies by the headers `webhook-…`, or `svix-…` where those are absent.
pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: i64) -> Trust {
    if secrets.is_empty() {
        return Trust::Unchecked;
    }
    let headers = Headers {
        id: header(headers, "id"),
        timestamp: header(headers, "timestamp"),
        signature: header(headers, "signature"),
    };
    match verify(secrets, &headers, body, now, TOLERANCE) {
        Ok(()) => Trust::Verified,
        Err(error) => Trust::Refused(error.to_string()),
    }
}

/// The header of either family; empty if it is absent or no text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    ["webhook", "svix"]
        .iter()
        .find_map(|family| headers.get(format!("{family}-{name}")))
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

pub(super) fn describe(now: jiff::Timestamp, trust: &Trust, id: &str, body: &[u8]) -> String {
    let trust = match trust {
        Trust::Verified => "verified".to_owned(),
        Trust::Unchecked => "unverified".to_owned(),
        Trust::Refused(reason) => format!("UNVERIFIED ({reason})"),
    };
    let id = if id.is_empty() {
        "-".to_owned()
    } else {
        printable(id, ID_CHARS)
    };
    // Four bytes are the longest character, so this prefix holds enough of them.
    let start = body.get(..PREVIEW_CHARS * 4 + 4).unwrap_or(body);
    let preview = printable(&String::from_utf8_lossy(start), PREVIEW_CHARS);
    format!("{now:.3} {trust} {id} {} B {preview}", body.len())
}

/// The first characters, without anything that a terminal would obey.
fn printable(text: &str, max: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { '·' } else { c });
    let mut shown: String = chars.by_ref().take(max).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

fn empty(status: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
