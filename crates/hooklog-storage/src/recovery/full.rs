//! An open that fails because the disk is full says so, and how much it needs.
//!
//! **Invariant:** only an error of the system that says so is told as a full disk.
//! **Next:** `load.rs`.

use std::fs;

use super::OpenErrorKind;
use crate::config::Config;
use crate::directory::{DirectoryError, read_manifest};
use crate::engine::EngineError;
use crate::space::{self, RESERVE_BYTES};

/// Makes an error that a full disk caused one that says what helps; leaves others as they are.
pub(crate) fn explain(config: &Config, error: OpenErrorKind) -> OpenErrorKind {
    if !is_full(&error) {
        return error;
    }
    OpenErrorKind::NoSpace {
        directory: config.directory.clone(),
        needed: needed(config),
        free: (config.free_bytes)(&config.directory).unwrap_or(0),
        reason: error.to_string(),
    }
}

fn is_full(error: &OpenErrorKind) -> bool {
    match error {
        OpenErrorKind::Directory(DirectoryError::Io(error)) => space::is_full(&error.source),
        OpenErrorKind::Engine(
            EngineError::Failed { reason, .. }
            | EngineError::Panicked { reason, .. }
            | EngineError::Extent { reason }
            | EngineError::Sync { reason, .. },
        ) => space::says_full(reason),
        _ => false,
    }
}

/// What the database takes, two whole segments of the journal, and as many bytes of batches as the
/// journal may have that are not in the database.
fn needed(config: &Config) -> u64 {
    let manifest = read_manifest(&config.directory);
    let segment = manifest.map_or(config.journal_segment_bytes, |found| {
        found.journal_segment_bytes
    });
    let files = fs::read_dir(config.directory.join("journal"));
    let lengths = files.into_iter().flatten().filter_map(|file| {
        let data = file.ok()?.metadata().ok()?;
        data.is_file().then_some(data.len())
    });
    let lengths: Vec<u64> = lengths.collect();
    let missing = 2_usize.saturating_sub(lengths.len()) as u64 * segment;
    let short: u64 = lengths
        .iter()
        .map(|have| segment.saturating_sub(*have))
        .sum();
    let journal: u64 = lengths.iter().sum();
    let unapplied = u64::try_from(config.unapplied_bytes_max).unwrap_or(u64::MAX);
    RESERVE_BYTES + missing + short + journal.min(unapplied)
}
