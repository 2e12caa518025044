//! `hooklog compact`: makes a data directory as small as what is in it.
//!
//! **Invariant:** no server has the directory open; whatever interrupts it, the next start finds a
//! whole log.
//! **Next:** `backup.rs`.

use std::path::PathBuf;

use clap::Args;
use hooklog::storage;
use serde::Serialize;

use crate::bar::{Bar, human};
use crate::config::Settings;
use crate::output;
use crate::storage_options::retention;

/// Give the disk space of expired events back, while the server is stopped.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Data directory to compact [default: ./hooklog-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
}

const HELP: &str = "\
A running server uses the space of expired events again, but its database file does not shrink. This
copies what is left into a new file, verifies it and puts it in place of the old one. It needs free
space for that copy, and may be interrupted at any time: the next start finds a whole log.

Example:
  systemctl stop hooklog && hooklog compact --data-dir /var/lib/hooklog && systemctl start hooklog";

/// Compacts the directory and says what it was worth.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut bar = Bar::new("copying");
    let done = storage::compact(copy_config(settings), |step| bar.update(step));
    bar.finish();
    let done = done?;
    output::line(format_args!(
        "compacted {}: {} before, {} now ({} rows)",
        settings.data_dir.display(),
        human(done.bytes_before),
        human(done.bytes_after),
        done.rows
    ))
}

/// How a command writes a log that a server will open: into files of the size that its retention asks
/// for. Nothing expires meanwhile.
pub(crate) fn copy_config(settings: &Settings) -> storage::Config {
    storage::Config {
        retention: retention(settings),
        ..log_config(settings)
    }
}

/// How a command opens a log that it publishes nothing into, and that keeps what it has.
pub(crate) fn log_config(settings: &Settings) -> storage::Config {
    let mut config = storage::Config::new(&settings.data_dir);
    if let Ok(bytes) = u64::try_from(settings.journal_segment.0) {
        config.journal_segment_bytes = bytes;
    }
    // A directory with small segments would be refused for payloads that nobody publishes.
    config.payload_bytes_max = 1;
    // What is older is left out of the index of keys, and a server would not find it any more.
    config.idempotency_age = settings.idempotency_age.0;
    config
}
