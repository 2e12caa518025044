//! The only place where an error becomes a status.
//!
//! **Invariant:** every answer with a status of 400 or above has a JSON body that SDKs parse; the
//! matches are exhaustive, so a new error of storage does not compile until it is placed here. What
//! is inside (paths, causes) is logged and not sent. What the client sent is quoted in part (`brief.rs`).
//! **Next:** `reply.rs`.

use std::time::Duration;

use hooklog_storage::{AppendError, BackupError, ChangeError, CommitError, ReadError};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::brief::{brief, quoted};
use crate::publish;
use crate::rate;
use crate::reply::{self, Response};
use crate::token::{MintError, TokenError};
use crate::wire::{ErrorOut, Issue, IssuesOut};
use crate::xml::XmlError;

/// When a client may try again after a 503. The log's queue empties in milliseconds; a whole second
/// is the smallest number that the header can say.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Which bodies a POST takes (W3C Linked Data Platform, 7.1), where one was not understood.
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const POSTED: &str = "*/*, application/cloudevents+json, application/cloudevents-batch+json";

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Unauthenticated(#[from] TokenError),
    #[error("an application's token on an organisation's route")]
    Forbidden,
    #[error("not found")]
    NotFound,
    #[error("no such route")]
    NoRoute,
    #[error("method not allowed")]
    Method { allow: String },
    #[error("cannot be read: {0}")]
    UnsupportedMediaType(&'static str),
    #[error("a body encoded as {0:?}")]
    Encoding(String),
    #[error("not a batch: {0}")]
    BadBatch(&'static str),
    #[error("conflict: {0}")]
    Conflict(String),
    #[error("body over {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("no byte of the body after {limit:?}")]
    BodySilent { limit: Duration },
    #[error("body not complete after {limit:?}")]
    BodyTimeout { limit: Duration },
    #[error("the body broke off: {0}")]
    BodyBroken(hyper::Error),
    #[error("bad query: {0}")]
    Query(&'static str),
    #[error("{0}")]
    Header(&'static str),
    #[error("invalid: {0:?}")]
    Invalid(#[from] Issue),
    #[error("not implemented: {0}")]
    NotImplemented(String),
    /// Refused with a code of its own.
    #[error("{code}: {detail}")]
    Refused { code: &'static str, detail: String },
    #[error("over the rate limit")]
    RateLimited { wait: Duration },
    #[error("busy: {0}")]
    Busy(String),
    #[error("too many: {0}")]
    TooMany(String),
    #[error("out of service: {0}")]
    OutOfService(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a backup failed")]
    Backup(#[source] BackupError),
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error("cannot write XML")]
    Xml(#[source] std::io::Error),
    #[error("over {limit} bytes as XML")]
    XmlTooLarge { limit: usize },
    #[error("no random bytes")]
    Random(#[from] hooklog_signature::GenerateError),
    #[error("a stored secret is not one")]
    StoredSecret(hooklog_signature::SecretError),
    #[error("a task of the server ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl ApiError {
    /// The answer; logs what the client must not see.
    pub(crate) fn into_response(self) -> Response {
        if let Self::Invalid(issue) = self {
            return reply::json(StatusCode::UNPROCESSABLE_ENTITY, &IssuesOut::new(issue))
                .unwrap_or_default();
        }
        let (status, code, detail) = self.parts();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            let error: &dyn std::error::Error = &self;
            tracing::error!(error, "a request failed");
        }
        let body = ErrorOut {
            code,
            detail: &detail,
        };
        let mut response = reply::json(status, &body).unwrap_or_default();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// Status, code and detail; of a mistake in a value its kind and place.
    pub(crate) fn told(&self) -> Parts {
        match self {
            Self::Invalid(issue) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                (status, issue.kind(), issue.to_string())
            }
            error => error.parts(),
        }
    }

    fn parts(&self) -> Parts {
        let (status, code, detail) = self.in_full();
        (status, code, brief(detail))
    }

    fn in_full(&self) -> Parts {
        use StatusCode as S;
        if let Some(parts) = self.of_body().or_else(|| self.of_bounds()) {
            return parts;
        }
        let (status, code, detail) = match self {
            Self::Unauthenticated(error) => {
                (S::UNAUTHORIZED, "authentication_failed", of_token(*error))
            }
            Self::Forbidden => (
                S::FORBIDDEN,
                "insufficient access",
                "Insufficient access for the given operation.",
            ),
            Self::NotFound => (S::NOT_FOUND, "not_found", "Entity not found"),
            Self::NoRoute => (S::NOT_FOUND, "not_found", "No such route"),
            Self::Method { allow } => {
                let detail = format!("The route takes only {allow}");
                return (S::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            }
            Self::Conflict(what) => {
                let detail = format!("A conflict has occurred: {what}");
                return (S::CONFLICT, "conflict", detail);
            }
            Self::Query(detail) | Self::Header(detail) => {
                (S::BAD_REQUEST, "generic_error", *detail)
            }
            Self::NotImplemented(what) => {
                let detail = format!("{what} is not implemented by this server");
                return (S::NOT_IMPLEMENTED, "not_implemented", detail);
            }
            // Answered before.
            Self::Refused { .. }
            | Self::XmlTooLarge { .. }
            | Self::RateLimited { .. }
            | Self::Busy(_)
            | Self::TooMany(_)
            | Self::OutOfService(_)
            | Self::BodyTooLarge { .. }
            | Self::BodySilent { .. }
            | Self::BodyTimeout { .. }
            | Self::BodyBroken(_)
            | Self::UnsupportedMediaType(_)
            | Self::Encoding(_)
            | Self::BadBatch(_) => (S::BAD_REQUEST, "generic_error", "The body cannot be read"),
            // Answered before, with a list instead of a detail.
            Self::Invalid(_) => (S::UNPROCESSABLE_ENTITY, "validation", "Invalid"),
            Self::Read(_)
            | Self::Backup(_)
            | Self::Json(_)
            | Self::Mint(_)
            | Self::Xml(_)
            | Self::Random(_)
            | Self::StoredSecret(_)
            | Self::Task(_) => (
                S::INTERNAL_SERVER_ERROR,
                "server_error",
                "The server failed; its log says why",
            ),
        };
        (status, code, detail.to_owned())
    }

    /// A bound that was reached, in its own words.
    fn of_bounds(&self) -> Option<Parts> {
        use StatusCode as S;
        Some(match self {
            Self::Refused { code, detail } => (S::BAD_REQUEST, code, detail.clone()),
            Self::XmlTooLarge { limit } => {
                let detail = format!(
                    "As XML the answer is over {limit} bytes: ask for a smaller page, or for JSON"
                );
                (S::BAD_REQUEST, "limit_reached", detail)
            }
            Self::RateLimited { wait } => rate_limited(*wait),
            Self::Busy(detail) => (S::SERVICE_UNAVAILABLE, "busy", detail.clone()),
            Self::TooMany(detail) => (S::TOO_MANY_REQUESTS, "too_many", detail.clone()),
            Self::OutOfService(detail) => {
                (S::SERVICE_UNAVAILABLE, "out_of_service", detail.clone())
            }
            _ => return None,
        })
    }

    /// What is wrong with a body before anything in it is looked at.
    fn of_body(&self) -> Option<Parts> {
        use StatusCode as S;
        let unread = (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
        let late = (S::REQUEST_TIMEOUT, "request_timeout");
        let bad = (S::BAD_REQUEST, "generic_error");
        let ((status, code), detail) = match self {
            Self::BodyTooLarge { limit } => (
                (S::PAYLOAD_TOO_LARGE, "payload_too_large"),
                format!("The body is over the limit of {limit} bytes"),
            ),
            Self::BodySilent { limit } => (late, format!("No byte of the body came in {limit:?}")),
            Self::BodyTimeout { limit } => {
                (late, format!("The body was not complete after {limit:?}"))
            }
            Self::BodyBroken(_) => (bad, "The body broke off".to_owned()),
            Self::UnsupportedMediaType(detail) => (unread, (*detail).to_owned()),
            Self::Encoding(encoding) => {
                let detail = "is not read: send it as it is, without content-encoding";
                (
                    unread,
                    format!("A body encoded as {} {detail}", quoted(encoding)),
                )
            }
            Self::BadBatch(what) => (bad, format!("The batch cannot be read on: {what}")),
            _ => return None,
        };
        Some((status, code, detail))
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated(_) => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Self::Method { allow } => Some((header::ALLOW, allow.parse().ok()?)),
            Self::UnsupportedMediaType(_) => Some((ACCEPT_POST, HeaderValue::from_static(POSTED))),
            // RFC 9110, 15.5.16.
            Self::Encoding(_) => Some((
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )),
            Self::Busy(_) | Self::TooMany(_) => {
                Some((header::RETRY_AFTER, RETRY_AFTER.as_secs().into()))
            }
            Self::RateLimited { wait } => Some((header::RETRY_AFTER, rate::seconds(*wait).into())),
            _ => None,
        }
    }
}

impl From<XmlError> for ApiError {
    fn from(error: XmlError) -> Self {
        match error {
            XmlError::TooLarge { limit } => Self::XmlTooLarge { limit },
            XmlError::Io(error) => Self::Xml(error),
        }
    }
}

type Parts = (StatusCode, &'static str, String);

/// Nothing but frequent mistakes is told: the rest would help who guesses.
fn of_token(error: TokenError) -> &'static str {
    match error {
        TokenError::IsTheKey => {
            "Invalid token: this is the JWT secret itself; sign a token with it \
             (`hooklog token`), and change the secret if it went over an open network"
        }
        TokenError::NotSeconds => {
            "Invalid token: its `exp` is beyond all times; it is in seconds, not in milliseconds"
        }
        TokenError::Missing
        | TokenError::Signature
        | TokenError::Expired
        | TokenError::NotYet
        | TokenError::Revoked
        | TokenError::Subject => "Invalid token",
    }
}

fn rate_limited(wait: Duration) -> Parts {
    let wait = rate::seconds(wait);
    let detail = format!("Too many requests with this token; the next may come in {wait} s");
    (StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Busy { .. } => Self::Busy(error.to_string()),
            // The reason names files of the server: it goes to the log, once, when it happens.
            CommitError::Poisoned { .. } => Self::OutOfService(
                "The log stopped after an error and must be reopened; nothing new is accepted"
                    .to_owned(),
            ),
            CommitError::Closed => Self::OutOfService("The log is closed".to_owned()),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Conflict { .. } | ChangeError::Disabled { .. } => {
                Self::Conflict(error.to_string())
            }
            ChangeError::NotFound { .. } => Self::NotFound,
            ChangeError::Limit { .. } => Self::Refused {
                code: "limit_reached",
                detail: error.to_string(),
            },
            ChangeError::Commit(error) => error.into(),
        }
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::OtherLog { .. } | BackupError::Expired { .. } => {
                Self::Conflict(error.to_string())
            }
            BackupError::Stopped { .. } => {
                Self::OutOfService("The log stopped after an error and must be reopened".to_owned())
            }
            BackupError::Io(_) | BackupError::Engine(_) | BackupError::Damaged { .. } => {
                Self::Backup(error)
            }
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::PayloadTooLarge { limit, .. }
            | AppendError::AppendTooLarge { limit, .. } => Self::BodyTooLarge { limit },
            AppendError::DeliverAt { limit } => {
                Issue::body("deliverAt", publish::deliver_limit(limit)).into()
            }
            AppendError::Keys(error) => error.into(),
            AppendError::Commit(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
