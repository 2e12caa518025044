//! The options of `serve` about how clients come in: addresses, TLS, the access log,
//! rate limits.
//!
//! **Invariant:** each option here changes what the server does; none is only stored.
//! **Next:** `serve.rs`, which hands them to the service.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use hooklog::server::{Address, RateLimit, RateLimitError, TlsFiles};
use serde::{Deserialize, Serialize};

use crate::cli::Usage;
use crate::config::Settings;
use crate::logging::AccessLogForm;

/// Part of the flags of `serve`.
#[derive(Args, Serialize)]
pub(crate) struct DoorFlags {
    /// Address and port of the HTTP API (port 0 picks a free one), or a Unix socket as
    /// `unix:/run/hooklog.sock`; may be given several times [default: 127.0.0.1:8071].
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen: Vec<Address>,
    /// Speak TLS with this certificate and those that lead to its root, in PEM form; read again when
    /// the file changes. Unix sockets stay without TLS.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM form; read again when the file changes.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
    /// Log each request to stderr: id, remote address, subject of the token, method, route, status,
    /// bytes, duration; as `text`, or as `json`, one object a line [default: off].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    access_log: Option<AccessLogForm>,
    /// Requests that the tokens of an application may make together, for reading and for changing
    /// things each, as 100/s or 600/m, and how many at once after a comma; more are answered 429. Or
    /// `none` [default: 100/s,200].
    #[arg(long, value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    app_rate_limit: Option<Rate>,
    /// The same for the tokens of an organisation, publishing apart [default: none].
    #[arg(long, value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<Rate>,
}

/// A rate limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Rate(pub(crate) Option<RateLimit>);

const NONE: &str = "none";

impl FromStr for Rate {
    type Err = RateLimitError;

    fn from_str(text: &str) -> Result<Self, RateLimitError> {
        if text == NONE {
            return Ok(Self(None));
        }
        text.parse().map(|limit| Self(Some(limit)))
    }
}

impl TryFrom<String> for Rate {
    type Error = RateLimitError;

    fn try_from(text: String) -> Result<Self, RateLimitError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.0
            .map_or_else(|| NONE.to_owned(), |limit| limit.to_string())
    }
}

/// The files of TLS, if it is wanted.
pub(crate) fn tls(settings: &Settings) -> anyhow::Result<Option<TlsFiles>> {
    match (&settings.tls_cert, &settings.tls_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        (Some(_), None) => Err(Usage("--tls-cert needs --tls-key").into()),
        (None, Some(_)) => Err(Usage("--tls-key needs --tls-cert").into()),
    }
}
