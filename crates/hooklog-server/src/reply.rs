//! Answers: the few forms that all resources share.
//!
//! **Invariant:** a body is whole in memory and bounded by what made it, so its length is known.
//! **Next:** `accept.rs`, `wire.rs`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use crate::accept::{Form, Wanted};
use crate::error::ApiError;
use crate::problem;
use crate::xml::{self, Names};

/// An answer.
pub(crate) type Response = http::Response<Bytes>;

/// What a handler returns.
pub(crate) type Answer = Result<Response, ApiError>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const XML: HeaderValue = HeaderValue::from_static("application/xml");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// `value` as JSON.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Answer {
    Ok(json_bytes(status, serde_json::to_vec(value)?.into()))
}

/// Headers that most answers have, with some to spare: grown one by one, the table is made twice.
const HEADERS: usize = 12;

/// Bytes that are JSON already.
pub(crate) fn json_bytes(status: StatusCode, body: Bytes) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// An answer in the form that its client wants: its JSON, or what is made of it with `names`.
pub(crate) fn shape(response: Response, wanted: Wanted, names: impl FnOnce() -> Names) -> Answer {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if response.headers().get(header::CONTENT_TYPE) != Some(&JSON) {
        return Ok(response);
    }
    let mut response = match (is_error, wanted.answer) {
        (true, _) => problem::shape(response, wanted.error),
        (false, Form::Json) => response,
        (false, Form::Xml) => {
            let json = std::str::from_utf8(response.body()).unwrap_or_default();
            let body = xml::of_json(json, names())?;
            let mut response = response.map(|_| Bytes::from(body));
            response.headers_mut().insert(header::CONTENT_TYPE, XML);
            response
        }
    };
    // The same URL gives each of them.
    let vary = HeaderValue::from_static("accept");
    response.headers_mut().append(header::VARY, vary);
    Ok(response)
}

/// A status without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// The answer to a browser that asks what it may send: everything, its headers mirrored.
pub(crate) fn preflight(asked: &HeaderMap) -> Response {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    if let Some(mirrored) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, mirrored.clone());
    }
    let fixed = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ),
        // What browsers and clients of this API family are used to.
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
        (header::VARY, "access-control-request-headers"),
    ];
    for (name, value) in fixed {
        headers.insert::<HeaderName>(name, HeaderValue::from_static(value));
    }
    response
}

/// Where a client found this server. What it says itself is taken, and told to nobody else.
pub(crate) fn base(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let host = match uri.authority() {
        // HTTP/2 says it there.
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    let forwarded = headers.get("x-forwarded-proto");
    let scheme = match forwarded.and_then(|value| value.to_str().ok()) {
        Some(proto) if proto.trim().eq_ignore_ascii_case("https") => "https",
        _ => "http",
    };
    Some(format!("{scheme}://{host}"))
}

/// Lets a browser of any origin read the answer: tokens are in a header, never in a cookie.
pub(crate) fn allow_any_origin(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    // Else a page sees neither the request's id nor how many requests are left.
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
}

/// The same answer without its body, for HEAD; the length stays that of the body.
pub(crate) fn without_body(mut response: Response) -> Response {
    let length = response.body().len();
    if length > 0 {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| Bytes::new())
}
