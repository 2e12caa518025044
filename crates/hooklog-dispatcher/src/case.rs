//! Keeps names of headers on the wire as their owner wrote them.
//!
//! HTTP does not tell `X-Api-Key` from `x-api-key`, but some receivers do. hyper writes names in the
//! case that a table beside the request says, and makes this table only when it reads a request. So it
//! is given one to read, in memory, once for each endpoint.
//!
//! **Invariant:** without such a table names go out in lower case, nothing else differs. HTTP/2 has
//! lower case only.
//! **Next:** `target.rs`, which keeps the table.

use std::convert::Infallible;
use std::future::ready;
use std::io::Cursor;

use bytes::Bytes;
use futures_util::FutureExt as _;
use hooklog_storage::Header;
use http::{Extensions, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

/// The table for these headers; nothing if all are in lower case.
pub(crate) fn of<'a>(headers: impl Iterator<Item = &'a Header> + Clone) -> Extensions {
    let lower = |header: &Header| !header.name().bytes().any(|byte| byte.is_ascii_uppercase());
    if headers.clone().all(lower) {
        return Extensions::new();
    }
    let mut head = String::from("POST / HTTP/1.1\r\n");
    for header in headers {
        head.push_str(header.name());
        head.push_str(":\r\n");
    }
    head.push_str("\r\n");
    let found = Mutex::new(Extensions::new());
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        *found.lock() = request.extensions().clone();
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let io = tokio::io::join(Cursor::new(head), tokio::io::sink());
    // Nothing in it ever waits, so it is done when it was polled once.
    let _ = hyper::server::conn::http1::Builder::new()
        .preserve_header_case(true)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service)
        .now_or_never();
    found.into_inner()
}
