//! Answers: the few forms that all resources share.
//!
//! **Invariant:** a body is whole in memory and bounded by what made it, so its length is known.
//! **Next:** `wire.rs`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use crate::error::ApiError;

/// An answer.
pub(crate) type Response = http::Response<Bytes>;

/// What a handler returns.
pub(crate) type Answer = Result<Response, ApiError>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// `value` as JSON.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Answer {
    let mut response = http::Response::new(Bytes::from(serde_json::to_vec(value)?));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
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
