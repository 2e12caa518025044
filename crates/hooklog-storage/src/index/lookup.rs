//! Finding index rows again: for a reader by range, for a check batch by batch.
//!
//! **Invariant:** a reader is handed each row of a range once; a check finds every position between
//! the first and the last batch that it is shown, and none besides.
//! **Next:** `../read_application.rs`, `../attempts.rs`; `../verify.rs`.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bytes::Bytes;

use super::{Named, RowError, first, named};
use crate::engine::{Edge, Engine, EngineError};
use crate::keys::{self, Family};
use crate::page::Order;
use crate::read::{ReadError, corrupt};

/// Rows that are kept at least before those that are used up are looked for.
const ROWS_MIN: usize = 256;

/// The part of an index row that lies within a range.
pub(crate) struct Found {
    /// Every position of the owner that the row speaks of; it reaches over the range's ends.
    pub(crate) span: Range<u64>,
    /// What it names within the range; that may be nothing.
    pub(crate) named: Vec<Named>,
}

/// The next row of an owner that has something to do with a range. Who goes on behind its span (or
/// below it) meets each row once.
pub(crate) fn next_row(
    engine: &Engine,
    family: Family,
    owner: &[u8],
    range: &Range<u64>,
    order: Order,
) -> Result<Option<Found>, ReadError> {
    let edge = |low: u64, high: Bound<u64>, edge: Edge| {
        let low = keys::owned(owner, low);
        let high = high.map(|high| keys::owned(owner, high));
        let bounds = (
            Bound::Included(low.as_slice()),
            high.as_ref().map(Vec::as_slice),
        );
        engine.edge(family, bounds, edge)
    };
    let found = |row: Option<(Vec<u8>, Bytes)>| {
        row.and_then(|(key, row)| Some((keys::last_number(&key)?, row)))
            .map(|(last, row)| find(family, last, &row, range))
            .transpose()
            .map(|found| found.filter(|found| found.span.start < range.end))
    };
    if range.is_empty() {
        return Ok(None);
    }
    let above = |start| edge(start, Bound::Included(u64::MAX), Edge::First);
    match order {
        Order::Ascending => found(above(range.start)?),
        // The row that holds `end` may begin below it.
        Order::Descending => match found(above(range.end)?)? {
            Some(row) => Ok(Some(row)),
            None => found(edge(range.start, Bound::Excluded(range.end), Edge::Last)?),
        },
    }
}

fn find(family: Family, last: u64, row: &[u8], range: &Range<u64>) -> Result<Found, ReadError> {
    let damaged = |error: RowError| corrupt(family, last)(&error);
    Ok(Found {
        span: first(last, row).map_err(damaged)?..last.saturating_add(1),
        named: named(family, last, row, range).map_err(damaged)?,
    })
}

/// How a row does not fit its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("an index row is missing")]
    Missing,
    #[error("an index row does not decode")]
    Damaged,
    #[error("an index row names other positions")]
    Other,
}

/// Index rows while batches are walked over, from below: each is read once.
pub(crate) struct Lookup<'a> {
    engine: &'a Engine,
    family: Family,
    /// Rows that name something above the last batch: at most those of one apply, and what a first
    /// look at each owner finds.
    rows: BTreeMap<Vec<u8>, Row>,
    /// How many rows there may be before it is looked for used ones.
    rows_max: usize,
    /// Nothing is known of what lies below.
    known: u64,
    batch: Range<u64>,
}

struct Row {
    last: u64,
    bytes: Bytes,
    /// Up to here it was compared.
    seen: u64,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(engine: &'a Engine, family: Family) -> Self {
        Self {
            engine,
            family,
            rows: BTreeMap::new(),
            rows_max: ROWS_MIN,
            known: 0,
            batch: 0..0,
        }
    }

    /// Goes on to the next batch that can be compared.
    pub(crate) fn turn(&mut self, batch: Range<u64>) {
        if self.batch.end != batch.start {
            self.known = batch.start;
        }
        self.batch = batch;
        if self.rows.len() >= self.rows_max {
            self.rows.retain(|_, row| row.last >= self.batch.start);
            self.rows_max = ROWS_MIN.max(2 * self.rows.len());
        }
    }

    /// Compares what the index names of the batch's positions with what it must name.
    pub(crate) fn check(
        &mut self,
        owner: &[u8],
        expected: &[Named],
    ) -> Result<Result<(), Misfit>, EngineError> {
        let row = self.rows.get(owner).filter(|r| r.last >= self.batch.start);
        if row.is_none() {
            let Some(row) = self.load(owner)? else {
                return Ok(Err(Misfit::Missing));
            };
            self.rows.insert(owner.to_vec(), row);
        }
        let (family, known, end) = (self.family, self.known, self.batch.end);
        let Some(row) = self.rows.get_mut(owner) else {
            return Ok(Err(Misfit::Missing));
        };
        // From where it was last compared: a position of a batch without this owner is told as well.
        let unseen = row.seen.max(known)..end;
        row.seen = end;
        Ok(match named(family, row.last, &row.bytes, &unseen) {
            Err(RowError) => Err(Misfit::Damaged),
            Ok(found) if found == expected => Ok(()),
            Ok(found) if found.is_empty() => Err(Misfit::Missing),
            Ok(_) => Err(Misfit::Other),
        })
    }

    /// The row that must name an owner's positions in the batch: the lowest that reaches it.
    fn load(&self, owner: &[u8]) -> Result<Option<Row>, EngineError> {
        let low = keys::owned(owner, self.batch.start);
        let high = keys::owned(owner, u64::MAX);
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        let row = self.engine.edge(self.family, bounds, Edge::First)?;
        Ok(row.and_then(|(key, bytes)| {
            Some(Row {
                last: keys::last_number(&key)?,
                bytes,
                seen: 0,
            })
        }))
    }
}
