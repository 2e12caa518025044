//! What a caller can choose about a log.
//!
//! **Invariant:** every number has a source beside it.
//! **Next:** `log.rs`.

use std::path::PathBuf;
use std::time::Duration;

/// How record batches are stored in sled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4 block: 64 KiB batches of GitHub's payloads shrink about tenfold.
    Lz4,
}

/// Settings of a log; see [`Config::new`] for the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory; created if absent. One process at a time.
    pub directory: PathBuf,
    /// Bytes of a journal segment; an existing directory keeps what it was created with.
    pub journal_segment_bytes: u64,
    /// Most bytes of one event's payload.
    pub payload_bytes_max: usize,
    /// Most bytes of events waiting for the committer; above it, publishing is refused as busy.
    pub queue_bytes_max: usize,
    /// Most bytes acked but not yet in sled; at it the committer waits for the applier.
    pub unapplied_bytes_max: usize,
    /// Bytes of recent events kept in memory for readers at the tail.
    pub tail_bytes_max: usize,
    /// Longest time between an ack and the barrier that makes it durable in sled.
    pub barrier_interval: Duration,
    /// How record batches are stored.
    pub compression: Compression,
    /// Most applications of an organisation.
    pub applications_max: usize,
    /// Most event types of an organisation.
    pub event_types_max: usize,
    /// Most subscriptions of an application.
    pub subscriptions_max: usize,
}

/// Most bytes of one append, whatever the segments: an fdatasync of it stays within milliseconds.
const APPEND_BYTES_MAX: usize = 8 << 20;
/// Room for what belongs to a payload (type, channels, uid, content type) and the frame itself.
const METADATA_BYTES: usize = 64 << 10;

impl Config {
    /// Most bytes of one append: half a journal segment, at most 8 MiB.
    pub(crate) fn append_bytes_max(&self) -> usize {
        let half = usize::try_from(self.journal_segment_bytes / 2).unwrap_or(usize::MAX);
        half.min(APPEND_BYTES_MAX)
    }

    /// The highest `payload_bytes_max` that these settings allow.
    pub fn payload_bytes_limit(&self) -> usize {
        self.append_bytes_max().saturating_sub(METADATA_BYTES)
    }

    /// The defaults for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            // Large enough that a recycled segment costs a rotation every few seconds at full load.
            journal_segment_bytes: 64 << 20,
            // The body limit of the HTTP API. May be raised to half a journal segment, at most 8 MiB.
            payload_bytes_max: 2 << 20,
            queue_bytes_max: 64 << 20,
            // Two segments: about a second of full load.
            unapplied_bytes_max: 128 << 20,
            tail_bytes_max: 32 << 20,
            barrier_interval: Duration::from_secs(1),
            compression: Compression::Lz4,
            // The registry lives in memory. A small value takes about 1 KiB there, a subscription
            // with all its texts at their limits about 12: these keep one tenant, and one customer
            // of a tenant, from filling it, and are far above what either uses.
            applications_max: 100_000,
            event_types_max: 10_000,
            subscriptions_max: 10_000,
        }
    }
}
