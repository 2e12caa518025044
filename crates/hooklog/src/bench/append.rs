//! Durable appends of a program that has the log in it, or of a plain file beside it.
//!
//! **Invariant:** one caller, whose next commit starts when its last one is durable; what opens, fills and
//! closes files does not count.
//! **Next:** `limit/file.rs`, the plain file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hooklog_storage::{ApplicationId, Config, Event, EventLog};
use serde::{Deserialize, Serialize};

use super::latency::{Latencies, Latency, float, median};
use super::limit::file::PlainFile;
use super::load::WINDOWS;
use super::measure::{Memory, Usage, disk_usage};
use super::options::Durability;
use super::payload::Payload;

/// Who appends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum To {
    /// The log.
    Log,
    /// A plain file.
    File,
}

/// What is appended, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) to: To,
    pub(crate) directory: PathBuf,
    pub(crate) payload: Payload,
    pub(crate) per_commit: usize,
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    pub(crate) until: Until,
}

/// When it ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Until {
    /// After a time.
    Time(Duration),
    /// When three times as many payload bytes as are kept have been appended. The log only.
    Turned {
        /// Payload bytes of the window.
        kept: u64,
    },
}

/// What was reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Appended {
    pub(crate) events: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
    pub(crate) per_second: f64,
    /// Of the second half of the time: what is sustained.
    pub(crate) second_half: f64,
    pub(crate) windows: Vec<f64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) used: Option<Usage>,
    pub(crate) memory: Option<Memory>,
    /// Disk used ÷ payload bytes kept, taken while the window turned.
    pub(crate) disk: Vec<f64>,
}

/// Commits events of the next payloads, and says how many bytes they had.
type Commit<'a> = Box<dyn FnMut(usize) -> anyhow::Result<usize> + 'a>;

pub(crate) fn run(append: &Append) -> anyhow::Result<Appended> {
    let payloads = append.payload.binary()?;
    let bytes: usize = payloads.iter().map(Bytes::len).sum();
    // Of all payloads as often as they lie in the window.
    let average = float(bytes as u64) / float(payloads.len() as u64);
    match append.to {
        To::File => {
            let slices = payloads.iter().map(Bytes::as_ref);
            let sync = append.durability == Durability::PowerSafe;
            let mut file = PlainFile::create(&append.directory, slices, sync)?;
            measure(
                append,
                Box::new(move |count| Ok(file.commit(count)?)),
                &|| None,
            )
        }
        To::Log => {
            let mut config = Config::new(&append.directory);
            config.durability = append.durability.into();
            config.journal_segment_bytes = append.segment_bytes;
            if let Until::Turned { kept } = append.until {
                config.retention.events.count = Some(events_of(kept, average));
            }
            let log = EventLog::open(config)?;
            let mut events = Events::new(payloads)?;
            let commit = |count| {
                let (batch, bytes) = events.take(count);
                log.append_blocking(batch)?;
                Ok(bytes)
            };
            let disk = || {
                let kept = log.low().events;
                let kept = log.end().get().saturating_sub(kept.get());
                (kept > 0).then(|| float(disk_usage(&append.directory)) / (float(kept) * average))
            };
            let appended = measure(append, Box::new(commit), &disk);
            log.close()?;
            appended
        }
    }
}

/// How many events have so many bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a quotient of positive numbers"
)]
fn events_of(bytes: u64, average: f64) -> u64 {
    (float(bytes) / average.max(1.0)) as u64 + 1
}

fn measure(
    append: &Append,
    mut commit: Commit<'_>,
    disk: &dyn Fn() -> Option<f64>,
) -> anyhow::Result<Appended> {
    let mut latencies = Latencies::new()?;
    let (mut events, mut bytes) = (0, 0);
    let (mut marks, mut sampled) = (vec![(Duration::ZERO, 0)], Vec::new());
    let before = Usage::own();
    let start = Instant::now();
    let mut last = Duration::ZERO;
    loop {
        bytes += commit(append.per_commit)? as u64;
        events += append.per_commit as u64;
        let now = start.elapsed();
        latencies.record(now.saturating_sub(last));
        last = now;
        let (done, parts) = match append.until {
            Until::Time(time) => (now.as_secs_f64() / time.as_secs_f64(), WINDOWS),
            Until::Turned { kept } => (float(bytes) / (3.0 * float(kept)), WINDOWS),
        };
        if done * float(parts as u64) >= float(marks.len() as u64) || done >= 1.0 {
            marks.push((now, events));
            // The first turn fills the window; until the end of the second one it is not steady yet.
            if matches!(append.until, Until::Turned { .. }) && done > 0.66 {
                sampled.extend(disk());
            }
        }
        if done >= 1.0 {
            break;
        }
    }
    let used = Usage::own()
        .zip(before)
        .map(|(now, before)| now.since(&before));
    let rates: Vec<f64> = marks
        .iter()
        .zip(marks.iter().skip(1))
        .filter(|((from, _), (to, _))| to > from)
        .map(|((from, first), (to, last))| {
            float(last - first) / to.saturating_sub(*from).as_secs_f64()
        })
        .collect();
    let half = rates.get(rates.len() / 2..).unwrap_or_default();
    Ok(Appended {
        events,
        bytes,
        per_second: float(events) / last.as_secs_f64(),
        second_half: median(half).context("a run without time")?,
        windows: rates,
        latency: latencies.told(None),
        used,
        memory: Memory::own(),
        disk: sampled,
    })
}

/// Events in turns, without end.
pub(crate) struct Events {
    pool: Vec<Event>,
    next: usize,
}

impl Events {
    /// The payloads as events of one application.
    pub(crate) fn new(payloads: Vec<Bytes>) -> anyhow::Result<Self> {
        Self::of(ApplicationId::from_bytes([1; 20]), payloads)
    }

    /// The payloads as events of this application.
    pub(crate) fn of(application: ApplicationId, payloads: Vec<Bytes>) -> anyhow::Result<Self> {
        let mut pool = Vec::new();
        for payload in payloads {
            pool.push(Event::new(application, EVENT_TYPE.parse()?, payload));
        }
        Ok(Self { pool, next: 0 })
    }

    /// The next `count` events and the bytes of their payloads. Their making counts as a part of the
    /// append: a publisher makes its events, too.
    pub(crate) fn take(&mut self, count: usize) -> (Vec<Event>, usize) {
        let events = self.pool.iter().cycle().skip(self.next).take(count);
        let events: Vec<Event> = events.cloned().collect();
        self.next = (self.next + count) % self.pool.len().max(1);
        let bytes = events.iter().map(|event| event.payload.len()).sum();
        (events, bytes)
    }
}

/// The type of every event of which nothing else is said.
pub(crate) const EVENT_TYPE: &str = "bench.made";
