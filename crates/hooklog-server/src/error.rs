//! The only place where an error becomes a status.
//!
//! **Invariant:** every answer with a status of 400 or above has a JSON body that SDKs parse; the
//! matches are exhaustive, so a new error of storage does not compile until it is placed here. What
//! is inside (paths, causes) is logged and not sent.
//! **Next:** `reply.rs`.

use std::time::Duration;

use hooklog_storage::{AppendError, BackupError, ChangeError, CommitError, ReadError};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::rate;
use crate::reply::{self, Response};
use crate::token::{MintError, TokenError};
use crate::wire::{ErrorOut, Issue, IssuesOut};

/// When a client may try again after a 503. The log's queue empties in milliseconds; a whole second
/// is the smallest number that the header can say.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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

    fn parts(&self) -> Parts {
        use StatusCode as S;
        let (status, code, detail) = match self {
            Self::Unauthenticated(TokenError::IsTheKey) => (
                S::UNAUTHORIZED,
                "authentication_failed",
                "Invalid token: this is the JWT secret itself; sign a token with it \
                 (`hooklog token`), and change the secret if it went over an open network",
            ),
            Self::Unauthenticated(
                TokenError::Missing
                | TokenError::Signature
                | TokenError::Expired
                | TokenError::NotYet
                | TokenError::Revoked
                | TokenError::Subject,
            ) => (S::UNAUTHORIZED, "authentication_failed", "Invalid token"),
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
            Self::BodyTooLarge { limit } => {
                let detail = format!("The body is over the limit of {limit} bytes");
                return (S::PAYLOAD_TOO_LARGE, "payload_too_large", detail);
            }
            Self::BodySilent { limit } => {
                return late(format!("No byte of the body came in {limit:?}"));
            }
            Self::BodyTimeout { limit } => {
                return late(format!("The body was not complete after {limit:?}"));
            }
            Self::BodyBroken(_) => (S::BAD_REQUEST, "generic_error", "The body broke off"),
            Self::Query(detail) | Self::Header(detail) => {
                (S::BAD_REQUEST, "generic_error", *detail)
            }
            Self::NotImplemented(what) => {
                let detail = format!("{what} is not implemented by this server");
                return (S::NOT_IMPLEMENTED, "not_implemented", detail);
            }
            Self::Refused { code, detail } => return (S::BAD_REQUEST, code, detail.clone()),
            Self::RateLimited { wait } => return rate_limited(*wait),
            Self::Busy(detail) => return (S::SERVICE_UNAVAILABLE, "busy", detail.clone()),
            Self::TooMany(detail) => return (S::TOO_MANY_REQUESTS, "too_many", detail.clone()),
            Self::OutOfService(detail) => {
                return (S::SERVICE_UNAVAILABLE, "out_of_service", detail.clone());
            }
            // Answered before, with a list instead of a detail.
            Self::Invalid(_) => (S::UNPROCESSABLE_ENTITY, "validation", "Invalid"),
            Self::Read(_)
            | Self::Backup(_)
            | Self::Json(_)
            | Self::Mint(_)
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

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated(_) => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Self::Method { allow } => Some((header::ALLOW, allow.parse().ok()?)),
            Self::Busy(_) | Self::TooMany(_) => {
                Some((header::RETRY_AFTER, RETRY_AFTER.as_secs().into()))
            }
            Self::RateLimited { wait } => Some((header::RETRY_AFTER, rate::seconds(*wait).into())),
            _ => None,
        }
    }
}

type Parts = (StatusCode, &'static str, String);

fn late(detail: String) -> Parts {
    (StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
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
            ChangeError::Conflict { .. } => Self::Conflict(error.to_string()),
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
            AppendError::Keys(error) => error.into(),
            AppendError::Commit(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
