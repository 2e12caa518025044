//! What the program says on stderr: its log, and the access log if it is wanted.
//!
//! **Invariant:** the access log is on or off by its own option, whatever the filter of the log says.
//! **Next:** `config.rs`.

use std::io::{IsTerminal as _, stderr};

use anyhow::Context as _;
use clap::ValueEnum;
use hooklog::server::{ACCESS_LOG_TARGET, AccessLog};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::Settings;

/// How requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AccessLogForm {
    /// They are not.
    Off,
    /// As lines like all others.
    Text,
    /// As JSON objects, one a line.
    Json,
}

impl From<AccessLogForm> for AccessLog {
    fn from(form: AccessLogForm) -> Self {
        match form {
            AccessLogForm::Off => Self::Off,
            AccessLogForm::Text | AccessLogForm::Json => Self::On,
        }
    }
}

/// Begins to log.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter = match settings.log.as_deref() {
        Some(filter) => EnvFilter::try_new(filter)?,
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
    };
    let level = match settings.access_log {
        AccessLogForm::Off => "off",
        AccessLogForm::Text | AccessLogForm::Json => "info",
    };
    let directive = format!("{ACCESS_LOG_TARGET}={level}").parse();
    let filter = filter.add_directive(directive.context("the access log's filter")?);
    let form = settings.access_log;
    let is_json = move |target: &str| form == AccessLogForm::Json && target == ACCESS_LOG_TARGET;
    let text = fmt::layer()
        .with_writer(stderr)
        // A line that cannot be written (a closed pipe) is else reported by `eprintln!`, which
        // panics.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal())
        .with_filter(filter_fn(move |metadata| !is_json(metadata.target())));
    let json = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(stderr)
        .log_internal_errors(false)
        .with_filter(filter_fn(move |metadata| is_json(metadata.target())));
    tracing_subscriber::registry()
        .with(filter)
        .with(text)
        .with(json)
        .init();
    Ok(())
}
