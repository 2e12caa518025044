//! Checking the batches of one kind: each by itself, each behind the one before it, and the index
//! rows against them in both directions.
//!
//! **Invariant:** what is read once is compared with every row that speaks of it; a row that speaks
//! of nothing is found by counting, and then by looking.
//! **Next:** `repair.rs`.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use crate::engine::{Edge, Engine, EngineError};
use crate::frame::{Batch, Kind};
use crate::index::{self, Expected, Lookup, Named, RowError};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::page::Order;
use crate::plan::expire::Stored;
use crate::state::{Chain, State};
use crate::transfer::check::{ChainReport, CheckReport};
use crate::transfer::rows::{Row, Rows, Window};
use crate::transfer::survey::{self, Piece};
use crate::transfer::{Stage, Transferred};

/// What is checked, and how far it is.
struct Walk<'a> {
    engine: &'a Engine,
    what: &'static str,
    family: Family,
    report: &'a mut CheckReport,
    chain: ChainReport,
    next: u64,
    /// CRC of the batch before; `None` behind damage.
    crc: Option<u32>,
    /// The indexes.
    lookups: BTreeMap<Family, Lookup<'a>>,
    /// How many positions each of them must name.
    positions: u64,
}

/// Checks the batches of a kind with their indexes.
pub(super) fn check(
    engine: &Engine,
    state: &State,
    kind: Kind,
    report: &mut CheckReport,
    progress: &mut dyn FnMut(Transferred),
) {
    let (what, family) = match kind {
        Kind::Attempts => ("attempts", Family::Attempt),
        Kind::Events | Kind::Lost => ("events", Family::Log),
    };
    let (first, end) = match family {
        Family::Attempt => ends(&state.attempts, AttemptSeq::get),
        _ => ends(&state.events, Offset::get),
    };
    let total = match family {
        Family::Attempt => state.attempts.bytes,
        _ => state.events.bytes,
    };
    let mut walk = Walk {
        engine,
        what,
        family,
        report,
        chain: ChainReport {
            first: first.0,
            end: end.0,
            ..ChainReport::default()
        },
        next: first.0,
        crc: Some(first.1),
        lookups: index_families(family)
            .iter()
            .map(|family| (*family, Lookup::new(engine, *family)))
            .collect(),
        positions: 0,
    };
    let mut done = 0;
    survey::walk(engine, family, first.0, &mut |piece| {
        if let Piece::Batch(batch) = &piece {
            done += batch.stored_bytes as u64;
            progress(Transferred {
                stage: Stage::Verify,
                bytes: done,
                total,
            });
        }
        walk.piece(piece);
    });
    walk.finish(end, state);
}

/// Where a chain begins and ends, with the CRCs there.
fn ends<P: Copy>(chain: &Chain<P>, number: impl Fn(P) -> u64) -> ((u64, u32), (u64, u32)) {
    let first = &chain.first;
    (
        (number(first.position), first.crc),
        (number(chain.end), chain.crc),
    )
}

impl Walk<'_> {
    fn bad(&mut self, position: u64, what: impl Into<String>) {
        self.chain.first_bad = Some(self.chain.first_bad.unwrap_or(position).min(position));
        self.report.add(self.what, Some(position), what);
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Damaged { base, reason } => {
                self.bad(base.max(self.next), reason);
                self.crc = None;
            }
            Piece::Batch(batch) => self.batch(&batch),
        }
    }

    fn batch(&mut self, batch: &Batch) {
        let header = &batch.header;
        let (base, end) = (header.base, header.base + u64::from(header.count));
        if base > self.next {
            self.bad(self.next, format!("{} up to {base} are missing", self.what));
            self.crc = None;
        } else if base < self.next {
            self.bad(base, "a batch overlaps the one before it");
        }
        if self.crc.is_some_and(|crc| crc != header.previous_crc) {
            self.bad(base, "the batch does not follow the one before it");
        }
        (self.next, self.crc) = (end, Some(batch.crc));
        self.chain.batches += 1;
        self.chain.bytes += batch.body.len() as u64;
        if header.kind == Kind::Lost {
            self.chain.marked_lost.push((base, end));
            return;
        }
        let Some(expected) = expected_of(self.family, batch) else {
            self.bad(base, "the batch's contents do not decode");
            return;
        };
        self.chain.read(base, end);
        self.positions += end - base;
        for lookup in self.lookups.values_mut() {
            lookup.turn(base..end);
        }
        for ((family, owner), expected) in expected {
            let Some(lookup) = self.lookups.get_mut(&family) else {
                continue;
            };
            let problem = match lookup.check(&owner, &expected) {
                Ok(Ok(())) => continue,
                Ok(Err(misfit)) => misfit.to_string(),
                Err(error) => error.to_string(),
            };
            self.report.add(name(family), Some(base), problem);
        }
    }

    fn finish(mut self, end: (u64, u32), state: &State) {
        if self.next != end.0 {
            let what = if self.next < end.0 {
                format!("{} up to {} are missing", self.what, end.0)
            } else {
                format!("there are {} behind the end {}", self.what, end.0)
            };
            self.bad(self.next.min(end.0), what);
        } else if self.crc.is_some_and(|crc| crc != end.1) {
            self.bad(end.0, "the last batch is not the one that the state names");
        }
        for family in index_families(self.family) {
            if let Err(error) = self.orphans(*family, state) {
                self.report.add(name(*family), None, error.to_string());
            }
        }
        match self.family {
            Family::Attempt => self.report.attempts = self.chain,
            _ => self.report.events = self.chain,
        }
    }

    /// Positions that an index names and that are not its owner's. Counting tells whether there are
    /// any; only then they are looked for.
    fn orphans(&mut self, family: Family, state: &State) -> Result<(), EngineError> {
        let (chain, mut found) = (self.family, 0_u64);
        rows(self.engine, (chain, family), state, |row, named| {
            match named {
                Ok(named) => found = found.saturating_add(positions(&named)),
                Err(error) => {
                    let last = keys::last_number(&row.key);
                    self.report.add(name(family), last, error.to_string());
                }
            }
            true
        })?;
        if found > self.positions {
            let (mut orphan, mut batch) = (None, None);
            rows(self.engine, (chain, family), state, |row, named| {
                let owner = (family, keys::owner_of(&row.key).to_vec());
                orphan = self.first_orphan(&owner, named.unwrap_or_default(), &mut batch);
                orphan.is_none()
            })?;
            let more = found - self.positions;
            let what = format!("{more} positions belong to nothing that is stored");
            self.report.add(name(family), orphan, what);
        }
        Ok(())
    }

    /// The first position that no batch has for this owner. `last` is the batch that was looked at
    /// last.
    fn first_orphan(
        &self,
        owner: &(Family, Vec<u8>),
        named: Vec<Named>,
        last: &mut Option<(Range<u64>, Expected)>,
    ) -> Option<u64> {
        let is_owned = |at: u64, (range, expected): &(Range<u64>, Expected)| {
            let of_owner = expected.get(owner);
            let holds = |named: &Named| named.positions.contains(&at);
            range.contains(&at) && of_owner.is_some_and(|list| list.iter().any(holds))
        };
        index::in_order(named, Order::Ascending).find(|at| {
            if last.as_ref().is_none_or(|(range, _)| !range.contains(at)) {
                *last = self.expected_at(*at);
            }
            !last.as_ref().is_some_and(|batch| is_owned(*at, batch))
        })
    }

    /// The batch that holds a position, as the indexes must name it.
    fn expected_at(&self, position: u64) -> Option<(Range<u64>, Expected)> {
        let high = keys::batch(position, u16::MAX);
        let bounds = (Bound::Unbounded, Bound::Included(high.as_slice()));
        let (key, _) = self.engine.edge(self.family, bounds, Edge::Last).ok()??;
        let stored = Stored::read(self.engine, self.family, keys::batch_base(&key)?).ok()??;
        let expected = expected_of(self.family, &stored.batch)?;
        Some((stored.batch.header.base..stored.end(), expected))
    }
}

/// Hands the rows of an index, and what each names of a chain that is stored, to `visit` until that has
/// seen enough.
fn rows(
    engine: &Engine,
    (chain, index): (Family, Family),
    state: &State,
    mut visit: impl FnMut(&Row, Result<Vec<Named>, RowError>) -> bool,
) -> Result<(), EngineError> {
    let window = Window::of(state);
    let range = match chain {
        Family::Attempt => window.attempts.clone(),
        _ => window.events.clone(),
    };
    let mut pages = Rows::new([index], window);
    while let Some(page) = pages.next(engine)? {
        for row in page {
            let last = keys::last_number(&row.key).unwrap_or_default();
            let named = index::named(index, last, &row.value, &range);
            if !visit(&row, named) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How many positions these are.
fn positions(named: &[Named]) -> u64 {
    let lengths = named.iter().map(|n| n.positions.end - n.positions.start);
    lengths.fold(0, u64::saturating_add)
}

fn index_families(family: Family) -> &'static [Family] {
    match family {
        Family::Attempt => &[Family::AttemptByEvent, Family::AttemptBySubscription],
        _ => &[Family::AppLog],
    }
}

fn name(family: Family) -> &'static str {
    let found = Family::ALL.iter().find(|(known, _)| *known == family);
    found.map_or("", |(_, name)| name)
}

/// What the indexes must name of a batch.
fn expected_of(family: Family, batch: &Batch) -> Option<Expected> {
    let mut expected = Expected::new();
    let mut add = |family, owner: &[u8], at: u64, tag| {
        let named = expected.entry((family, owner.to_vec())).or_default();
        Named::push(named, at..at + 1, tag);
    };
    if family == Family::Attempt {
        for stored in survey::attempts(batch)? {
            let (attempt, at) = (&stored.attempt, stored.id.seq().get());
            let subscription = attempt.subscription.as_bytes();
            add(Family::AttemptBySubscription, subscription, at, 0);
            let offset = attempt.event.offset();
            let (block, tag) = (keys::block(offset), keys::in_block(offset));
            add(Family::AttemptByEvent, &block, at, tag);
        }
    } else {
        for record in survey::events(batch)? {
            let application = record.event.application;
            add(
                Family::AppLog,
                application.as_bytes(),
                record.offset.get(),
                0,
            );
        }
    }
    Some(expected)
}
