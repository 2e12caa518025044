//! A log that grows, and how it is opened and read at its size.
//!
//! **Invariant:** its events go to a hundred applications in turns, so that one of them is read past all
//! the others; what fills it need not be durable before it is closed.
//! **Next:** `scenario/curve/log_size.rs`, which asks for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hooklog_storage::{ApplicationId, Config, Durability, Event, EventLog, Limit, Offset, Order};
use serde::{Deserialize, Serialize};

use super::append::EVENT_TYPE;
use super::latency::float;
use super::payload::Payload;

/// Applications of the log.
const APPLICATIONS: u8 = 100;
/// Events of an append.
const BATCH: usize = 1024;
/// What is asked for at a time, as by a page of the API.
const PAGE: Limit = Limit {
    items: 250,
    bytes: 1 << 20,
};
/// Payload bytes that are written before the log is killed: as much as may be acked before it is in the
/// database, so that the journal that is read again at the next start is as long as it gets.
pub(crate) const KILLED_BYTES: u64 = 64 << 20;
/// Of the places that are read.
const SEED: u64 = 5;

/// How large a log shall be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grow {
    pub(crate) directory: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) payload: Payload,
    /// Payload bytes that are added.
    pub(crate) bytes: u64,
}

/// What was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grown {
    /// Payload bytes that were added.
    pub(crate) bytes: u64,
}

/// What is looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) directory: PathBuf,
    pub(crate) segment_bytes: u64,
    /// How long one application is read; zero for not at all.
    pub(crate) time: Duration,
    /// Written behind it before it says what it found and waits to be killed.
    pub(crate) killed: Option<Payload>,
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Looked {
    /// Until the log was open.
    pub(crate) open_seconds: f64,
    /// Events of one application that were read.
    pub(crate) events: u64,
    /// Of them in a second.
    pub(crate) per_second: Option<f64>,
}

/// Events of all applications in turns.
fn events(payload: &Payload) -> anyhow::Result<Vec<Event>> {
    let payloads = payload.binary()?;
    // As many as give each application its turn in each round.
    let turns = payloads.len().next_multiple_of(usize::from(APPLICATIONS));
    let owners = (0..APPLICATIONS).cycle();
    let events = payloads.iter().cycle().take(turns).zip(owners);
    events
        .map(|(payload, owner)| {
            let event_type = EVENT_TYPE.parse()?;
            Ok(Event::new(application(owner), event_type, payload.clone()))
        })
        .collect()
}

fn application(number: u8) -> ApplicationId {
    ApplicationId::from_bytes([number; 20])
}

/// Appends so many payload bytes; gives how many they were.
fn fill(log: &EventLog, payload: &Payload, bytes: u64) -> anyhow::Result<u64> {
    let events = events(payload)?;
    let largest = payload.binary()?.iter().map(Bytes::len).max();
    // Far below the limit of an append.
    let batch = ((1 << 20) / largest.unwrap_or(1).max(1)).clamp(1, BATCH);
    let (mut next, mut written) = (0, 0);
    while written < bytes {
        let batch: Vec<Event> = events
            .iter()
            .cycle()
            .skip(next)
            .take(batch)
            .cloned()
            .collect();
        next = (next + batch.len()) % events.len().max(1);
        let sizes = batch.iter().map(|event| event.payload.len() as u64);
        written += sizes.sum::<u64>();
        log.append_blocking(batch)?;
    }
    Ok(written)
}

pub(crate) fn grow(part: &Grow) -> anyhow::Result<Grown> {
    let mut config = Config::new(&part.directory);
    config.durability = Durability::None;
    config.journal_segment_bytes = part.segment_bytes;
    let log = EventLog::open(config)?;
    let bytes = fill(&log, &part.payload, part.bytes)?;
    log.close()?;
    Ok(Grown { bytes })
}

pub(crate) fn look(
    part: &Look,
    say: &mut dyn FnMut(Looked) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut config = Config::new(&part.directory);
    config.durability = Durability::None;
    config.journal_segment_bytes = part.segment_bytes;
    let started = Instant::now();
    let log = EventLog::open(config)?;
    let open_seconds = started.elapsed().as_secs_f64();
    let (events, per_second) = read(&log, part.time)?;
    if let Some(payload) = &part.killed {
        fill(&log, payload, KILLED_BYTES)?;
    }
    say(Looked {
        open_seconds,
        events,
        per_second,
    })?;
    if part.killed.is_some() {
        // Until it is killed: an orderly end is what shall not be.
        loop {
            std::thread::park();
        }
    }
    log.close().context("the log cannot be closed")
}

/// Reads pages of one application from places anywhere in the log, for a time.
fn read(log: &EventLog, time: Duration) -> anyhow::Result<(u64, Option<f64>)> {
    let (low, end) = (log.low().events.get(), log.end().get());
    if low >= end || time.is_zero() {
        return Ok((0, None));
    }
    let mut rng = fastrand::Rng::with_seed(SEED);
    let (mut events, started) = (0, Instant::now());
    while started.elapsed() < time {
        let from = Offset::new(rng.u64(low..end));
        let owner = application(rng.u8(..APPLICATIONS));
        let range = from..log.end();
        let page = log.read_application(owner, range, Order::Ascending, PAGE)?;
        events += page.records.len() as u64;
    }
    let per_second = float(events) / started.elapsed().as_secs_f64();
    Ok((events, (events > 0).then_some(per_second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_grows_and_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let payload = Payload::Bytes(4096);
        let part = Grow {
            directory: directory.path().to_owned(),
            segment_bytes: 64 << 20,
            payload,
            bytes: 4 << 20,
        };
        for _ in 0..2 {
            let grown = grow(&part).unwrap();
            assert!((4 << 20..6 << 20).contains(&grown.bytes), "{grown:?}");
        }
        let mut found = None;
        let part = Look {
            directory: directory.path().to_owned(),
            segment_bytes: 64 << 20,
            time: Duration::from_millis(20),
            killed: None,
        };
        let mut say = |looked: Looked| {
            found = Some(looked);
            Ok(())
        };
        look(&part, &mut say).unwrap();
        let found = found.unwrap();
        assert!(
            found.events > 0 && found.per_second.unwrap() > 0.0,
            "{found:?}"
        );
        assert!(found.open_seconds > 0.0);
    }
}
