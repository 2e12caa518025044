//! One webhook: read its body, verify it, describe it in one line, answer it.
//!
//! **Invariant:** nothing of a request reaches the terminal unescaped; a request that was not
//! verified although there are secrets is answered 401, whatever else it is, and its body is read
//! only if the rest of it could be right. All bodies in memory together are bounded.
//! **Next:** `writer.rs`, where the line goes.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hooklog_signature::{Headers, Secret, TOLERANCE, VerifyError, verify};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Body;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::writer::Line;

/// Most bytes of a body: eight times what a server takes unless it is told otherwise (2 MiB).
const BODY_BYTES_MAX: u32 = 16 << 20;
/// Most bytes of all bodies together, from the first byte until their line is written; further
/// senders wait. Four of the largest, or 256 KiB for every connection. (Each is there a second time
/// for the moment in which its parts are put together.)
pub(super) const BUFFERED_BYTES_MAX: usize = 64 << 20;
/// Longest time for a body to get its room and arrive.
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
    /// Bytes that bodies may still take, of [`BUFFERED_BYTES_MAX`].
    pub(super) room: Arc<Semaphore>,
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
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<Empty<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (head, body) = request.into_parts();
        let now = jiff::Timestamp::now();
        if let Some(reason) = refuse_unread(&self.secrets, &head.headers, now.as_second()) {
            // The connection is closed with what it still holds.
            return self.hand_over(&head.headers, now, reason, None).await;
        }
        let body = match tokio::time::timeout(BODY_TIMEOUT, self.read(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(status)) => return empty(status),
            Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
        };
        let now = jiff::Timestamp::now();
        let trust = check(&self.secrets, &head.headers, &body.0, now.as_second());
        self.hand_over(&head.headers, now, trust, Some(body)).await
    }

    /// Reads a body once there is room for all of it: for what it says it has, or for the most.
    async fn read<B>(&self, body: B) -> Result<(Bytes, OwnedSemaphorePermit), StatusCode>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let too_large = StatusCode::PAYLOAD_TOO_LARGE;
        let bytes = match body.size_hint().exact().map(u32::try_from) {
            None => BODY_BYTES_MAX,
            Some(Ok(bytes)) if bytes <= BODY_BYTES_MAX => bytes,
            Some(_) => {
                tracing::warn!(limit = BODY_BYTES_MAX, "a body is too large");
                return Err(too_large);
            }
        };
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        let mut room = room.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let limit = usize::try_from(bytes).map_err(|_| too_large)?;
        match Limited::new(body, limit).collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                // What was kept free for more than came.
                drop(room.split(limit.saturating_sub(body.len())));
                Ok((body, room))
            }
            Err(error) => {
                tracing::warn!(%error, limit, "cannot read a body");
                Err(too_large)
            }
        }
    }

    /// Hands a webhook to the writer and says what to answer.
    async fn hand_over(
        &self,
        headers: &HeaderMap,
        now: jiff::Timestamp,
        trust: Trust,
        body: Option<(Bytes, OwnedSemaphorePermit)>,
    ) -> Response<Empty<Bytes>> {
        let id = header(headers, "id");
        let (body, room) = body.unzip();
        let text = describe(now, &trust, id, body.as_deref());
        let status = match trust {
            Trust::Verified | Trust::Unchecked => self.status,
            Trust::Refused(_) => StatusCode::UNAUTHORIZED,
        };
        let line = Line {
            text,
            id: id.to_owned(),
            verified: trust == Trust::Verified,
            body: body.unwrap_or_default(),
            room,
        };
        // Fails only when the writer is gone, and then the program is about to end.
        match self.lines.send(line).await {
            Ok(()) => empty(status),
            Err(_) => empty(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// Why no body can make this request right: a header is missing or wrong, or its time is over.
fn refuse_unread(secrets: &[Secret], headers: &HeaderMap, now: i64) -> Option<Trust> {
    match verify(secrets, &signed(headers), b"", now, TOLERANCE) {
        // What only the body decides.
        Ok(()) | Err(VerifyError::NoMatch | VerifyError::NoSecrets) => None,
        Err(error) => Some(Trust::Refused(error.to_string())),
    }
}

/// Verifies by the headers `webhook-…`, or `svix-…` where those are absent.
pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: i64) -> Trust {
    if secrets.is_empty() {
        return Trust::Unchecked;
    }
    match verify(secrets, &signed(headers), body, now, TOLERANCE) {
        Ok(()) => Trust::Verified,
        Err(error) => Trust::Refused(error.to_string()),
    }
}

fn signed(headers: &HeaderMap) -> Headers<'_> {
    Headers {
        id: header(headers, "id"),
        timestamp: header(headers, "timestamp"),
        signature: header(headers, "signature"),
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

/// One line for a webhook; without a body if that was not read.
fn describe(now: jiff::Timestamp, trust: &Trust, id: &str, body: Option<&[u8]>) -> String {
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
    let Some(body) = body else {
        return format!("{now:.3} {trust} {id} body not read");
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
