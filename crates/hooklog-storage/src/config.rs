//! What a caller can choose about a log.
//!
//! **Invariant:** every number has a source beside it.
//! **Next:** `log.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::{Sizes, VALUE_BYTES_MAX};
use crate::event::Event;
use crate::space;

/// How record batches are stored in sled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4 block: 64 KiB batches of GitHub's payloads shrink about tenfold.
    Lz4,
}

/// What an ack means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The event survives power loss: an `fdatasync` of the journal returned before the ack.
    PowerSafe,
    /// The event survives the death of the process (kill -9, a panic), and power loss or a crash of
    /// the system from the next sync on. At most this much time, and the time of one read of the
    /// disk, lies between an ack and the start of its sync, whatever else the log waits for.
    /// What is lost then is the end of the log, never something in its middle.
    ProcessSafe(Duration),
    /// As `ProcessSafe`, but no sync is ever made for an ack: what power loss takes is all since the
    /// last barrier of the database or the last full journal segment. For tests and data that can
    /// be had again.
    None,
}

/// How long events or attempts are kept: what is over any of the limits expires, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Not longer than this. A clock that jumps ahead by more than an hour, or is that far ahead of
    /// the newest event when the log is opened, is believed only after another hour: what would
    /// expire by that is kept so much longer, and a warning is logged.
    pub age: Option<Duration>,
    /// Not more bytes than this, as stored (compressed); the files take about twice as much.
    pub bytes: Option<u64>,
    /// Not more items than this.
    pub count: Option<u64>,
}

impl Keep {
    pub(crate) fn is_limited(&self) -> bool {
        self.age.is_some() || self.bytes.is_some() || self.count.is_some()
    }
}

/// What expires, and when. By default nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// For events with their payloads.
    pub events: Keep,
    /// For attempts.
    pub attempts: Keep,
    /// Events that a consumer, an enabled subscription, or a disabled one that may be enabled again,
    /// has not settled are kept beyond the limits until all events together take this many bytes, as
    /// stored. `None`: the limits hold, and a subscription that is too slow is moved and told so.
    pub undelivered_bytes_max: Option<u64>,
}

impl Retention {
    pub(crate) fn is_limited(&self) -> bool {
        self.events.is_limited() || self.attempts.is_limited()
    }
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
    /// Bytes of a file of record batches; with retention by bytes files are kept smaller than a
    /// sixteenth of that, because only whole files give their space back. So do compaction, restore
    /// and repair with what they write; give them the retention that the log will have.
    pub extent_bytes: u64,
    /// Record batches of at most this many bytes stay in the database itself.
    pub inline_bytes_max: usize,
    /// Longest time between an ack and the barrier that makes it durable in sled.
    pub barrier_interval: Duration,
    /// What an ack means.
    pub durability: Durability,
    /// What expires.
    pub retention: Retention,
    /// How long an idempotency key is known, measured by the times of commits; never longer than its
    /// event is kept. Zero: keys have no effect.
    pub idempotency_age: Duration,
    /// Bytes that are left for this process on the disk that holds a path; `None` if that cannot be
    /// told, and then nothing is refused because of it. It is asked before each group of writes. The
    /// default asks `statvfs`, which knows of no quotas.
    pub free_bytes: fn(&Path) -> Option<u64>,
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
/// However little is kept, files are not smaller: a few batches each.
const EXTENT_BYTES_MIN: u64 = 1 << 20;
/// Room for what belongs to a payload (type, channels, uid, content type) and the frame itself.
const METADATA_BYTES: usize = 64 << 10;

impl Config {
    /// Most bytes of one append: half a journal segment, at most 8 MiB.
    pub(crate) fn append_bytes_max(&self) -> usize {
        let half = usize::try_from(self.journal_segment_bytes / 2).unwrap_or(usize::MAX);
        half.min(APPEND_BYTES_MAX)
    }

    /// How far ahead an event's `deliver_at` may lie: not beyond the time that events are kept.
    pub fn deliver_after_max(&self) -> Duration {
        let kept = self.retention.events.age;
        kept.map_or(Event::DELIVER_AFTER_MAX, |age| {
            age.min(Event::DELIVER_AFTER_MAX)
        })
    }

    /// A barrier at the latest after this many bytes of the journal: a quarter of a segment, so that
    /// few segments wait for one.
    pub(crate) fn barrier_bytes(&self) -> usize {
        usize::try_from(self.journal_segment_bytes / 4).unwrap_or(usize::MAX)
    }

    /// Where batches lie.
    pub(crate) fn sizes(&self) -> Sizes {
        let kept = [self.retention.events.bytes, self.retention.attempts.bytes];
        let kept = kept.into_iter().flatten().min();
        let share = kept.map_or(u64::MAX, |bytes| (bytes / 16).max(EXTENT_BYTES_MIN));
        Sizes {
            extent_bytes: self.extent_bytes.min(share),
            inline_bytes_max: self.inline_bytes_max.min(VALUE_BYTES_MAX),
        }
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
            // A segment: what an open applies again after a crash, in about half a second.
            unapplied_bytes_max: 64 << 20,
            tail_bytes_max: 32 << 20,
            extent_bytes: Sizes::STANDARD.extent_bytes,
            inline_bytes_max: Sizes::STANDARD.inline_bytes_max,
            barrier_interval: Duration::from_secs(1),
            durability: Durability::PowerSafe,
            retention: Retention::default(),
            // What clients of Svix-compatible servers know.
            idempotency_age: Duration::from_hours(12),
            free_bytes: space::free_bytes,
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
