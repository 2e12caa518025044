//! The options of `serve` about how clients come in: addresses, TLS.
//!
//! **Invariant:** each option here changes what the server does; none is only stored.
//! **Next:** `serve.rs`, which hands them to the service.

use std::path::PathBuf;

use clap::Args;
use hooklog::server::{Address, TlsFiles};
use serde::Serialize;

use crate::cli::Usage;
use crate::config::Settings;

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
