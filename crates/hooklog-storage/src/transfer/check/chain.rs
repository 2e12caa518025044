//! Checking the batches of one kind: each by itself, each behind the one before it, and the index
//! rows against them in both directions.
//!
//! **Invariant:** what is read once is compared with every row that speaks of it; a row that speaks
//! of nothing is found by counting, and then by looking.
//! **Next:** `repair.rs`.

use std::collections::BTreeMap;

use crate::engine::{Engine, EngineError};
use crate::frame::{Batch, Kind};
use crate::keys::{self, Family, Place};
use crate::offset::{AttemptSeq, Offset};
use crate::state::{Chain, State};
use crate::transfer::check::{ChainReport, CheckReport};
use crate::transfer::rows::{Rows, Window};
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
    /// Index rows that must be there, by family.
    rows: BTreeMap<Family, u64>,
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
        rows: BTreeMap::new(),
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
        let expected = match self.family {
            Family::Attempt => expected_of_attempts(batch),
            _ => expected_of_events(batch),
        };
        let Some(expected) = expected else {
            self.bad(base, "the batch's contents do not decode");
            return;
        };
        self.chain.read(base, end);
        for ((family, key), value) in expected {
            *self.rows.entry(family).or_default() += 1;
            let problem = match self.engine.get(family, &key) {
                Ok(Some(found)) if found == value => continue,
                Ok(Some(_)) => "an index row names other positions".to_owned(),
                Ok(None) => "an index row is missing".to_owned(),
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

    /// Rows of an index that belong to no batch.
    fn orphans(&mut self, family: Family, state: &State) -> Result<(), EngineError> {
        let window = Window::of(state);
        let mut pages = Rows::new([family], window);
        let mut found = 0_u64;
        let mut orphan = None;
        while let Some(page) = pages.next(self.engine)? {
            for row in page {
                found += 1;
                let position = match row.family.place(&row.key) {
                    Place::Event(position) | Place::Attempt(position) => position,
                    Place::Alone => u64::MAX,
                };
                if orphan.is_none() {
                    let batch = self.engine.get(self.family, &keys::batch(position, 0))?;
                    orphan = batch.is_none().then_some(position);
                }
            }
        }
        let expected = self.rows.get(&family).copied().unwrap_or_default();
        if found > expected {
            let more = found - expected;
            let what = format!("{more} index rows belong to nothing that is stored");
            self.report.add(name(family), orphan, what);
        }
        Ok(())
    }
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

type Expected = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

/// The index rows that a batch of events must have.
fn expected_of_events(batch: &Batch) -> Option<Expected> {
    let base = batch.header.base;
    let mut rows = Expected::new();
    for (position, record) in (0_u16..).zip(survey::events(batch)?) {
        let application = record.event.application;
        let key = (Family::AppLog, keys::owned(application.as_bytes(), base));
        rows.entry(key).or_default().extend(position.to_be_bytes());
    }
    Some(rows)
}

/// The index rows that a batch of attempts must have.
fn expected_of_attempts(batch: &Batch) -> Option<Expected> {
    let base = batch.header.base;
    let mut rows = Expected::new();
    for (position, stored) in (0_u16..).zip(survey::attempts(batch)?) {
        let attempt = &stored.attempt;
        let owner = keys::owned(attempt.subscription.as_bytes(), base);
        let row = rows.entry((Family::AttemptBySubscription, owner));
        row.or_default().extend(position.to_be_bytes());
        let offset = attempt.event.offset();
        let key = (Family::AttemptByEvent, keys::attempt_by_event(offset, base));
        let row = rows.entry(key).or_default();
        row.extend(keys::in_block(offset).to_be_bytes());
        row.extend(position.to_be_bytes());
    }
    Some(rows)
}
