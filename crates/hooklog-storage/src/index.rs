//! Index rows: the positions (offsets of events, numbers of attempts) that belong to one owner, over
//! all batches that were applied together.
//!
//! A row for each owner in each batch would be what an append of many owners costs most: of 100
//! interleaved applications a batch of 64 KiB has 100 rows, and sled pays by the row.
//!
//! ```text
//! key     owner · last position u64                     (keys.rs says which owners there are)
//! value   last − first varint · [tag u16] · step …
//! step    gap varint ≥ 1 · [tag u16]      the position that far behind the one before it
//!         0 · count varint ≥ 1            that many positions, each right behind the one before it
//! ```
//! Tags are in `attempt_by_event` alone, which has no runs. Varints have 7 bits in a byte, the lowest
//! first, and the highest bit of each byte but the last is set. The last position stands in the key, so
//! that a row goes with whatever is above it: it is found by any position up to it, it is within a
//! window that begins in its middle, and it may be removed with the batch of its last position.
//!
//! **Invariant:** rows are written once; of one owner they do not overlap, and all positions in one
//! batch are in the same row. A row is bounded by [`ROW_BYTES`] and one batch, about 32 KiB.
//! **Next:** `plan.rs`, which makes them; `index/lookup.rs`, which finds them again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use crate::bytes::Reader;
use crate::engine::Op;
use crate::keys::{self, Family};
use crate::page::Order;

mod lookup;

pub(crate) use lookup::{Lookup, next_row};

/// A row takes no further batch above this; one batch adds at most as much again (4,096 positions of
/// a gap of two bytes and a tag of two). Far below what sled takes, and little to read for one page.
const ROW_BYTES: usize = 16 << 10;
/// The shortest run that is shorter as a count.
const RUN_MIN: u64 = 3;

/// A row cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a row of the index does not decode")]
pub(crate) struct RowError;

/// What a row says of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// That it belongs to the owner.
    Plain,
    /// And a tag.
    Tagged,
}

impl Form {
    fn of(family: Family) -> Self {
        match family {
            Family::AttemptByEvent => Self::Tagged,
            _ => Self::Plain,
        }
    }

    fn tag(self, reader: &mut Reader<'_>) -> Option<u16> {
        match self {
            Self::Plain => Some(0),
            Self::Tagged => reader.u16(),
        }
    }
}

/// Positions that follow each other and have the same tag (0 where there are none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) positions: Range<u64>,
    pub(crate) tag: u16,
}

impl Named {
    /// Adds positions to a list whose last ones lie below; joins them if they follow.
    pub(crate) fn push(list: &mut Vec<Self>, positions: Range<u64>, tag: u16) {
        match list.last_mut() {
            Some(last) if last.positions.end == positions.start && last.tag == tag => {
                last.positions.end = positions.end;
            }
            _ => list.push(Self { positions, tag }),
        }
    }
}

/// What a row must name of one batch, by owner.
pub(crate) type Expected = BTreeMap<(Family, Vec<u8>), Vec<Named>>;

/// The rows of one index while they are made.
pub(crate) struct Index<K> {
    family: Family,
    open: BTreeMap<K, Open>,
    full: Vec<Op>,
}

impl<K: Ord + AsRef<[u8]>> Index<K> {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            open: BTreeMap::new(),
            full: Vec::new(),
        }
    }

    /// Adds a position, above all earlier ones, of the batch that begins at `base`.
    pub(crate) fn add(&mut self, owner: K, base: u64, position: u64, tag: u16) {
        let form = Form::of(self.family);
        match self.open.entry(owner) {
            Entry::Vacant(entry) => {
                entry.insert(Open::new(form, position, tag));
            }
            Entry::Occupied(mut entry) => {
                let row = entry.get_mut();
                if row.steps.len() < ROW_BYTES || row.last >= base {
                    row.add(form, position, tag);
                    return;
                }
                let full = std::mem::replace(row, Open::new(form, position, tag));
                let op = full.finish(self.family, entry.key().as_ref());
                self.full.push(op);
            }
        }
    }

    /// The writes of all rows.
    pub(crate) fn finish(self) -> impl Iterator<Item = Op> {
        let family = self.family;
        let open = self.open.into_iter();
        let rows = open.map(move |(owner, row)| row.finish(family, owner.as_ref()));
        self.full.into_iter().chain(rows)
    }
}

/// A row that may still grow.
struct Open {
    first: u64,
    last: u64,
    /// Positions up to the last one that are not among the steps yet, each behind the one before it.
    run: u64,
    /// The tag of the first position, and the steps.
    steps: Vec<u8>,
}

impl Open {
    fn new(form: Form, position: u64, tag: u16) -> Self {
        let mut row = Self {
            first: position,
            last: position,
            run: 0,
            steps: Vec::new(),
        };
        row.tag(form, tag);
        row
    }

    fn add(&mut self, form: Form, position: u64, tag: u16) {
        let gap = position.saturating_sub(self.last);
        self.last = position;
        if gap == 1 && form == Form::Plain {
            self.run += 1;
            return;
        }
        self.end_run();
        put_varint(&mut self.steps, gap);
        self.tag(form, tag);
    }

    fn tag(&mut self, form: Form, tag: u16) {
        if form == Form::Tagged {
            self.steps.extend(tag.to_be_bytes());
        }
    }

    fn end_run(&mut self) {
        match std::mem::take(&mut self.run) {
            0 => {}
            run if run < RUN_MIN => (0..run).for_each(|_| self.steps.push(1)),
            run => {
                self.steps.push(0);
                put_varint(&mut self.steps, run);
            }
        }
    }

    fn finish(mut self, family: Family, owner: &[u8]) -> Op {
        self.end_run();
        let mut value = Vec::with_capacity(self.steps.len() + 4);
        put_varint(&mut value, self.last - self.first);
        value.extend(self.steps);
        Op {
            family,
            key: keys::owned(owner, self.last),
            value: Some(value),
        }
    }
}

/// The first position of a row.
fn first(last: u64, row: &[u8]) -> Result<u64, RowError> {
    let span = varint(&mut Reader::new(row));
    span.and_then(|span| last.checked_sub(span)).ok_or(RowError)
}

/// What a row with this last position names within a range, ascending. Takes memory by the bytes of
/// the row, whatever it says.
pub(crate) fn named(
    family: Family,
    last: u64,
    row: &[u8],
    within: &Range<u64>,
) -> Result<Vec<Named>, RowError> {
    let mut list = Vec::new();
    let is_whole = walk(Form::of(family), last, row, |positions, tag| {
        let start = positions.start.max(within.start);
        let end = positions.end.min(within.end);
        if start < end {
            Named::push(&mut list, start..end, tag);
        }
    });
    is_whole.map(|()| list).ok_or(RowError)
}

/// Hands on what a row names; `None` if it does not end with its last position.
fn walk(form: Form, last: u64, row: &[u8], mut visit: impl FnMut(Range<u64>, u16)) -> Option<()> {
    let mut reader = Reader::new(row);
    let mut at = last.checked_sub(varint(&mut reader)?)?;
    last.checked_add(1)?;
    visit(at..at + 1, form.tag(&mut reader)?);
    while !reader.is_empty() {
        let gap = varint(&mut reader)?;
        let count = if gap == 0 { varint(&mut reader)? } else { gap };
        let next = at.checked_add(count).filter(|next| *next <= last)?;
        match (gap, form) {
            (0, Form::Tagged) => return None,
            (0, Form::Plain) if count == 0 => return None,
            (0, Form::Plain) => visit(at + 1..next + 1, 0),
            _ => visit(next..next + 1, form.tag(&mut reader)?),
        }
        at = next;
    }
    (at == last).then_some(())
}

/// Single positions, lowest or highest first.
pub(crate) fn in_order(mut named: Vec<Named>, order: Order) -> impl Iterator<Item = u64> {
    if order == Order::Descending {
        named.reverse();
    }
    named.into_iter().flat_map(move |named| {
        let Range { start, end } = named.positions;
        // Counted from the near end.
        (0..end - start).map(move |at| match order {
            Order::Ascending => start + at,
            Order::Descending => end - 1 - at,
        })
    })
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        // The lowest seven bits always fit.
        let low = u8::try_from(number & 0x7f).unwrap_or(0x7f);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn varint(reader: &mut Reader<'_>) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = reader.u8()?;
        let low = u64::from(byte & 0x7f);
        // What is shifted out would be another number.
        if (low << shift) >> shift != low {
            return None;
        }
        number |= low << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
