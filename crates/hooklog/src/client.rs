//! A small client of the HTTP API, for the commands that talk to a running server.
//!
//! **Invariant:** every call ends: by an answer, a deadline, or after a bounded number of tries;
//! what is read of an answer is bounded. Only answers by which the server says that it did nothing
//! and will later (429, and 503 if it is marked as busy) are tried again, so a retry never publishes
//! twice: any other 503 may come after the event was taken.
//! **Next:** `token.rs`, the smallest command that uses it.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use url::Url;

/// Longest time for one call: above every deadline of the server.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most tries of a call that is answered "later".
const TRIES_MAX: u32 = 8;
/// Wait before the next try when the answer names none.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// Longest wait that is obeyed, so that a strange answer does not stop the program for hours.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read; ours to a publish are below 200.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How much of an answer that is no JSON is shown.
const DETAIL_CHARS: usize = 200;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody listens there.
    #[error("cannot reach the server at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    /// The connection broke or the deadline passed; the call may have taken effect.
    #[error("no answer from the server: {reason}")]
    NoAnswer { reason: String },
    /// The server refused; `later` if it asked to be asked again.
    #[error("{status}: {detail}")]
    Refused {
        status: StatusCode,
        detail: String,
        later: bool,
    },
}

impl CallError {
    /// Whether every further call would fail the same way.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::NoAnswer { .. } => false,
            Self::Refused { status, later, .. } => {
                let finals = [
                    StatusCode::UNAUTHORIZED,
                    StatusCode::FORBIDDEN,
                    StatusCode::NOT_FOUND,
                    // A server that has stopped taking events.
                    StatusCode::SERVICE_UNAVAILABLE,
                ];
                !later && finals.contains(status)
            }
        }
    }
}

/// Calls one server with one token over kept-alive connections.
pub(crate) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    server: Url,
    headers: HeaderMap,
}

impl Client {
    /// A client of the server at this base URL.
    pub(crate) fn new(server: &Url, token: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            matches!(server.scheme(), "http" | "https") && server.has_host(),
            "the server's URL must start with http:// or https://, but is {server}"
        );
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .context("the token holds characters that no header may hold")?;
        bearer.set_sensitive(true);
        let agent = concat!("hooklog/", env!("CARGO_PKG_VERSION"));
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, bearer),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (USER_AGENT, HeaderValue::from_static(agent)),
        ]);
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Below the server's own limit for idle connections, so that a call seldom meets a
            // connection that is just being closed.
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connector);
        Ok(Self {
            http,
            server: server.clone(),
            headers,
        })
    }

    /// One call: `path` holds the segments after `/api/v1`. Returns the body of a 2xx.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        self.call_keyed(method, path, query, body, None).await
    }

    /// A call with an idempotency key: doing it twice is doing it once.
    pub(crate) async fn call_keyed(
        &self,
        method: Method,
        path: &[&str],
        query: Option<&str>,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<Bytes, CallError> {
        let url = self.url(path, query);
        let mut tries = 1;
        loop {
            let sent =
                tokio::time::timeout(CALL_TIMEOUT, self.send(&method, &url, &body, key)).await;
            let (status, headers, answer) = sent.unwrap_or_else(|_| {
                let reason = format!("none within {} s", CALL_TIMEOUT.as_secs());
                Err(CallError::NoAnswer { reason })
            })?;
            if status.is_success() {
                return Ok(answer);
            }
            let later = is_later(status, &headers, &answer);
            if !later || tries == TRIES_MAX {
                return Err(CallError::Refused {
                    status,
                    detail: detail(&answer),
                    later,
                });
            }
            tries += 1;
            tokio::time::sleep(retry_after(&headers)).await;
        }
    }

    /// A GET whose answer is taken piece by piece, by the caller's own deadline and bound.
    pub(crate) async fn stream(
        &self,
        path: &[&str],
        query: Option<&str>,
    ) -> Result<Response<Incoming>, CallError> {
        let url = self.url(path, query);
        let empty = Bytes::new();
        let request = self.request(&Method::GET, &url, &empty, None);
        let response = tokio::time::timeout(CALL_TIMEOUT, request).await;
        let response = response.unwrap_or_else(|_| {
            let reason = format!("none within {} s", CALL_TIMEOUT.as_secs());
            Err(CallError::NoAnswer { reason })
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let answer = body.map(Collected::to_bytes).unwrap_or_default();
        Err(CallError::Refused {
            status: head.status,
            detail: detail(&answer),
            later: is_later(head.status, &head.headers, &answer),
        })
    }

    fn url(&self, path: &[&str], query: Option<&str>) -> Url {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url.set_query(query);
        url
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: &Bytes,
        key: Option<&str>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), CallError> {
        let response = self.request(method, url, body, key).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| CallError::NoAnswer {
            reason: error.to_string(),
        })?;
        Ok((head.status, head.headers, body.to_bytes()))
    }

    async fn request(
        &self,
        method: &Method,
        url: &Url,
        body: &Bytes,
        key: Option<&str>,
    ) -> Result<Response<Incoming>, CallError> {
        let no_answer = |reason: String| CallError::NoAnswer { reason };
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| no_answer(error.to_string()))?;
        request.headers_mut().extend(self.headers.clone());
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).map_err(|error| no_answer(error.to_string()))?;
            request.headers_mut().insert("idempotency-key", key);
        }
        self.http.request(request).await.map_err(|error| {
            let reason = causes(&error);
            if error.is_connect() {
                CallError::Unreachable {
                    server: self.server.to_string(),
                    reason,
                }
            } else {
                no_answer(reason)
            }
        })
    }
}

/// An error and its causes in one line; hyper's own message seldom says what happened.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Whether an answer says that nothing was done and the same call will do later.
fn is_later(status: StatusCode, headers: &HeaderMap, answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Coded {
        code: String,
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.contains_key(RETRY_AFTER)
                || serde_json::from_slice(answer).is_ok_and(|Coded { code }| code == "busy")
        }
        _ => false,
    }
}

fn retry_after(headers: &HeaderMap) -> Duration {
    headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(RETRY_AFTER_DEFAULT, Duration::from_secs)
        .min(RETRY_AFTER_MAX)
}

/// What an error answer says, in one line: its `detail`, or the start of whatever it is.
fn detail(answer: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Plain {
        detail: String,
    }
    #[derive(Deserialize)]
    struct Fields {
        detail: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        loc: Vec<serde_json::Value>,
        msg: String,
    }
    if let Ok(Plain { detail }) = serde_json::from_slice(answer) {
        return detail;
    }
    if let Ok(Fields { detail }) = serde_json::from_slice(answer) {
        let texts = detail.iter().map(|field| {
            let place = field.loc.iter().map(|part| match part {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            format!("{}: {}", place.collect::<Vec<_>>().join("."), field.msg)
        });
        return texts.collect::<Vec<_>>().join("; ");
    }
    String::from_utf8_lossy(answer)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(DETAIL_CHARS)
        .collect()
}

#[cfg(test)]
mod tests;
