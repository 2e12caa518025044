//! One request and its answer, over HTTP/1 or HTTP/2.
//!
//! **Invariant:** a connection goes back to the pool only after a whole answer; given up earlier, or
//! after an error, it is closed (HTTP/1) or only its stream is reset (HTTP/2).
//! **Next:** `deliver.rs`, which reads the answer.

use std::sync::Arc;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;

use crate::http1::{Head, Http1, Http1Body, Http1Error};
use crate::pool::{Pool, Sender, StreamPlace};
use crate::request::Outgoing;
use crate::retry_after::RetryAfter;
use crate::target::Target;

/// An answer, of which the head has come.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// Where a redirect leads.
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<RetryAfter>,
    pub(crate) body: Body,
}

/// The body of an answer.
pub(crate) enum Body {
    /// It was empty.
    Empty,
    /// With the connection that it comes from, until that is given back.
    Http1 {
        body: Option<Http1Body>,
        pool: Arc<Pool>,
        target: Arc<Target>,
    },
    Http2 {
        incoming: Incoming,
        _stream: StreamPlace,
        /// A connection ends when nobody can send on it any more.
        _sender: Sender,
    },
}

/// Sends a request on a connection, and waits for the head of its answer.
pub(crate) async fn send_http1(
    mut connection: Box<Http1>,
    pool: &Arc<Pool>,
    request: &Outgoing,
) -> Result<Response, Http1Error> {
    let head = connection.send(request).await?;
    let body = Http1Body::new(connection, &head);
    let target = &request.target;
    // Most receivers answer without a body; their connection is free at once.
    let body = if body.is_over() {
        pool.put(&target.place, body.into_connection());
        Body::Empty
    } else {
        Body::Http1 {
            body: Some(body),
            pool: Arc::clone(pool),
            target: Arc::clone(target),
        }
    };
    let Head {
        status,
        location,
        retry_after,
        ..
    } = head;
    Ok(Response {
        status,
        location,
        retry_after,
        body,
    })
}

/// Why a request has no answer over HTTP/2.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: hyper::Error,
    /// Not a byte of the request was sent.
    pub(crate) is_unsent: bool,
}

/// Sends a request on a shared connection, and waits for the head of its answer.
pub(crate) async fn send_http2(
    mut sender: http2::SendRequest<http_body_util::Full<bytes::Bytes>>,
    stream: StreamPlace,
    request: http::Request<http_body_util::Full<bytes::Bytes>>,
) -> Result<Response, Unanswered> {
    let response = sender.try_send_request(request).await;
    let response = response.map_err(|mut error| Unanswered {
        is_unsent: error.take_message().is_some(),
        error: error.into_error(),
    })?;
    stream.answered();
    let (head, incoming) = response.into_parts();
    Ok(Response {
        status: head.status,
        location: location(head.status, &head.headers),
        retry_after: retry_after(&head.headers),
        body: Body::Http2 {
            incoming,
            _stream: stream,
            _sender: sender,
        },
    })
}

fn location(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION).filter(|_| status.is_redirection());
    location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let value = headers.get(RETRY_AFTER)?;
    RetryAfter::parse(value.to_str().ok()?)
}

impl Body {
    /// Reads the body until it ends, breaks off, or has more than `bytes_max`, of which that much is
    /// kept. What was read is kept if this is given up by being dropped.
    pub(crate) async fn read(&mut self, kept: &mut Vec<u8>, bytes_max: usize) {
        match self {
            Self::Empty => {}
            Self::Http1 { body, pool, target } => {
                let Some(reading) = body else { return };
                reading.read(kept, bytes_max).await;
                if let Some(over) = body.take_if(|body| body.is_over()) {
                    pool.put(&target.place, over.into_connection());
                }
            }
            Self::Http2 { incoming, .. } => {
                while let Some(Ok(frame)) = incoming.frame().await {
                    // Frames may be empty and without end; the attempt's deadline is looked at between them.
                    tokio::task::coop::consume_budget().await;
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    let room = bytes_max.saturating_sub(kept.len());
                    kept.extend(data.iter().take(room));
                    if data.len() > room {
                        // Dropping the body resets its stream: an endless answer ends now.
                        break;
                    }
                }
            }
        }
    }
}
