//! Checking what sled recovered: it skips damaged log messages silently, so batches must stand in a
//! row without holes, each with a good checksum and the CRC of the one before it, and each event
//! must be named by its application's index.
//!
//! **Invariant:** every row between the last verified position and the state's end is looked at, and
//! every recent batch, or every batch at all, is read and held against its index.
//! **Next:** `verify/marks.rs`, then `recovery.rs`, which goes on with the journal.

mod marks;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::engine::{Engine, EngineError};
use crate::frame::{self, Batch, FrameError, Kind};
use crate::id::ApplicationId;
use crate::index::{Lookup, Named};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::read::{ReadError, corrupt};
use crate::record;
use crate::state::{Link, State};

/// Up to where an open has verified events and attempts.
pub(crate) type Verified = (Link<Offset>, Link<AttemptSeq>);

/// What does not fit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{what} from {from} to {to} are missing")]
    Hole {
        what: &'static str,
        from: u64,
        to: u64,
    },
    #[error("the batch of {what} at {base} does not follow the one before it")]
    Chain { what: &'static str, base: u64 },
    #[error("the events at {base} are not in the index of application {application}")]
    Index {
        base: u64,
        application: ApplicationId,
    },
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At every batch.
    Whole,
    /// At every row, and at the batches that are recent.
    Recent,
}

/// Checks everything above what was verified before.
pub(crate) fn verify(
    engine: &Engine,
    state: &State,
    depth: Depth,
) -> Result<Verified, VerifyError> {
    let (events, attempts) = (&state.events, &state.attempts);
    let crc = chain(
        engine,
        Family::Log,
        (events.verified.position.get(), events.verified.crc),
        (events.end.get(), events.crc),
        depth,
    )?;
    let attempts_crc = chain(
        engine,
        Family::Attempt,
        (attempts.verified.position.get(), attempts.verified.crc),
        (attempts.end.get(), attempts.crc),
        depth,
    )?;
    let events = Link {
        position: events.end,
        crc,
    };
    let attempts = Link {
        position: attempts.end,
        crc: attempts_crc,
    };
    Ok((events, attempts))
}

/// Checks one chain between two places with their CRCs.
fn chain(
    engine: &Engine,
    family: Family,
    from: (u64, u32),
    to: (u64, u32),
    depth: Depth,
) -> Result<u32, VerifyError> {
    let (mut from, mut crc) = from;
    if depth == Depth::Recent {
        let (_, recent) = marks::walk(engine, family, from..to.0, crc)?;
        (from, crc) = (recent.position, recent.crc);
    }
    let mut index = Lookup::new(engine, Family::AppLog);
    let crc = walk(engine, family, from..to.0, crc, |batch| match family {
        Family::Log => check_index(&mut index, batch),
        _ => Ok(()),
    })?;
    if crc == to.1 {
        Ok(crc)
    } else {
        let (what, base) = (what(family), to.0);
        Err(VerifyError::Chain { what, base })
    }
}

fn what(family: Family) -> &'static str {
    if family == Family::Log {
        "events"
    } else {
        "attempts"
    }
}

/// Walks over the batches of a family; returns the CRC of the last.
fn walk(
    engine: &Engine,
    family: Family,
    range: std::ops::Range<u64>,
    crc: u32,
    mut check: impl FnMut(&Batch) -> Result<(), VerifyError>,
) -> Result<u32, VerifyError> {
    let what = what(family);
    let (mut next, mut previous_crc) = (range.start, crc);
    let mut chunks: Vec<u8> = Vec::new();
    let mut wanted = 0;
    let (low, high) = (keys::batch(range.start, 0), keys::batch(range.end, 0));
    let bounds = (
        Bound::Included(low.as_slice()),
        Bound::Excluded(high.as_slice()),
    );
    engine.scan::<VerifyError>(family, bounds, |key, value| {
        let base = keys::batch_base(key).unwrap_or(u64::MAX);
        let damaged = |error: FrameError| VerifyError::from(corrupt(family, base)(&error));
        if chunks.is_empty() {
            if base != next {
                return Err(VerifyError::Hole {
                    what,
                    from: next,
                    to: base,
                });
            }
            wanted = frame::total_bytes(value).map_err(damaged)?;
        }
        chunks.extend_from_slice(value);
        if chunks.len() < wanted {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut chunks));
        let batch = frame::decode(&bytes).map_err(damaged)?;
        if batch.header.base != base || batch.header.previous_crc != previous_crc {
            return Err(VerifyError::Chain { what, base });
        }
        check(&batch)?;
        next = base + u64::from(batch.header.count);
        previous_crc = batch.crc;
        Ok(())
    })?;
    if next != range.end || !chunks.is_empty() {
        return Err(VerifyError::Hole {
            what,
            from: next,
            to: range.end,
        });
    }
    Ok(previous_crc)
}

/// The index must name every event of a batch under its application, and none besides.
fn check_index(index: &mut Lookup<'_>, batch: &Batch) -> Result<(), VerifyError> {
    if batch.header.kind == Kind::Lost {
        return Ok(());
    }
    let base = batch.header.base;
    let damaged =
        |error: &dyn std::error::Error| VerifyError::from(corrupt(Family::Log, base)(error));
    let count = usize::try_from(batch.header.count).unwrap_or(usize::MAX);
    let (spans, _) =
        record::spans(&batch.body, count).ok_or_else(|| damaged(&FrameError::Short))?;
    let mut expected: BTreeMap<ApplicationId, Vec<Named>> = BTreeMap::new();
    for (offset, span) in (base..).zip(&spans) {
        let record = record::decode(&batch.body, span, Offset::new(offset))
            .map_err(|error| damaged(&error))?;
        let named = expected.entry(record.event.application).or_default();
        Named::push(named, offset..offset + 1, 0);
    }
    index.turn(base..base + u64::from(batch.header.count));
    for (application, expected) in expected {
        if index.check(application.as_bytes(), &expected)?.is_err() {
            return Err(VerifyError::Index { base, application });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
