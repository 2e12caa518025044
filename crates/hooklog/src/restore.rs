//! `hooklog restore`: a new data directory out of backups.
//!
//! **Invariant:** the directory is there whole and verified, or not at all.
//! **Next:** `check.rs`.

use std::path::PathBuf;

use clap::Args;
use hooklog::storage;
use serde::Serialize;

use crate::bar::Bar;
use crate::compact::copy_config;
use crate::config::Settings;
use crate::output;

/// Make a new data directory out of a full backup and those that were made since it.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Data directory to make; must not exist or be empty [default: ./hooklog-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// The full backup, then each later one in the order they were made in.
    #[arg(required = true, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) files: Vec<PathBuf>,
}

const HELP: &str = "\
Every checksum of every file is verified, and the new log is read through as a start would. Until
that is done the directory is called DIR.restoring. Put the `jwt-secret` of the old data directory
into the new one, or set HOOKLOG_JWT_SECRET: tokens in use go on working only with it.

Example:
  hooklog restore monday.hlb tuesday.hlb --data-dir restored";

/// Restores and says what the new log holds.
pub(crate) fn run(settings: &Settings, files: &[PathBuf]) -> anyhow::Result<()> {
    let mut bar = Bar::new("writing");
    let done = storage::restore(&copy_config(settings), files, |step| bar.update(step));
    bar.finish();
    let done = done?;
    output::line(format_args!(
        "restored {}: events {}..{}, {} attempts, {} applications, {} endpoints, {} event types",
        settings.data_dir.display(),
        done.low,
        done.end,
        done.attempts_end,
        done.applications,
        done.subscriptions,
        done.event_types,
    ))
}
