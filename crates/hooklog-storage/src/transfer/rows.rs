//! Reading the rows of a log page by page.
//!
//! **Invariant:** a page is bounded in bytes; rows come family by family in the order of keys, each
//! once, and only those that belong to the window.
//! **Next:** `writer.rs`, where they go.

use std::ops::{Bound, Range};

use bytes::Bytes;

use crate::engine::{Engine, EngineError};
use crate::keys::{self, Family, Place};
use crate::state::State;

/// A page ends at this many bytes: a few batches, small beside every buffer on the way.
const PAGE_BYTES: usize = 256 << 10;
/// A page ends after this many rows that were looked at, wanted or not.
const PAGE_ROWS: usize = 16 << 10;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) family: Family,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Bytes,
}

impl Row {
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Which batches are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) events: Range<u64>,
    pub(crate) attempts: Range<u64>,
}

impl Window {
    /// Everything that is stored.
    pub(crate) fn of(state: &State) -> Self {
        Self {
            events: state.events.first.position.get()..state.events.end.get(),
            attempts: state.attempts.first.position.get()..state.attempts.end.get(),
        }
    }

    pub(crate) fn wants(&self, place: Place) -> bool {
        match place {
            Place::Event(position) => self.events.contains(&position),
            Place::Attempt(position) => self.attempts.contains(&position),
            Place::Alone => true,
        }
    }

    /// Where the rows of a family may lie.
    fn bounds(&self, family: Family) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let range = match family {
            Family::Log => &self.events,
            Family::Attempt => &self.attempts,
            _ => return (Bound::Unbounded, Bound::Unbounded),
        };
        (
            Bound::Included(keys::batch(range.start, 0)),
            Bound::Excluded(keys::batch(range.end, 0)),
        )
    }
}

/// The families whose rows are written with batches; the small ones; `state` is in neither.
pub(crate) fn families(batched: bool) -> impl Iterator<Item = Family> {
    Family::ALL
        .into_iter()
        .map(|(family, _)| family)
        .filter(move |family| *family != Family::State && family.is_batched() == batched)
}

/// Walks over the rows of some families.
#[derive(Debug)]
pub(crate) struct Rows {
    families: Vec<Family>,
    window: Window,
    /// The last key of the family that was looked at.
    after: Option<Vec<u8>>,
}

/// Why a scan stopped.
enum Stop {
    Full,
    Engine(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl Rows {
    pub(crate) fn new(families: impl IntoIterator<Item = Family>, window: Window) -> Self {
        let mut families: Vec<_> = families.into_iter().collect();
        families.reverse();
        Self {
            families,
            window,
            after: None,
        }
    }

    /// The next page; it may be empty when rows were skipped. `None` at the end.
    pub(crate) fn next(&mut self, engine: &Engine) -> Result<Option<Vec<Row>>, EngineError> {
        let Some(family) = self.families.last().copied() else {
            return Ok(None);
        };
        let (low, high) = self.window.bounds(family);
        let low = self.after.take().map_or(low, Bound::Excluded);
        let bounds = (as_slice(&low), as_slice(&high));
        let (mut page, mut bytes, mut looked) = (Vec::new(), 0, 0);
        let mut last = None;
        let scanned = engine.scan::<Stop>(family, bounds, |key, value| {
            if bytes >= PAGE_BYTES || looked >= PAGE_ROWS {
                return Err(Stop::Full);
            }
            looked += 1;
            last = Some(key.to_vec());
            if self.window.wants(family.place(key)) {
                bytes += key.len() + value.len();
                page.push(Row {
                    family,
                    key: key.to_vec(),
                    value: Bytes::copy_from_slice(value),
                });
            }
            Ok(())
        });
        match scanned {
            Ok(()) => drop(self.families.pop()),
            Err(Stop::Full) => self.after = last,
            Err(Stop::Engine(error)) => return Err(error),
        }
        Ok(Some(page))
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}
