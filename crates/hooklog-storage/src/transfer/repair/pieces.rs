//! Where events and attempts of a damaged log are found.
//!
//! **Invariant:** positions only grow: each is taken from the first source that has it.
//! **Next:** `rebuild.rs`, where they are put together again.

use crate::entry::StoredAttempt;
use crate::event::Record;
use crate::frame::{self, Batch, Kind};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset, Sequence};
use crate::plan::PlanError;
use crate::transfer::raw::{Raw, RawBatch};
use crate::transfer::repair::Source;
use crate::transfer::repair::rebuild::Rebuild;
use crate::transfer::survey::{self, Piece as Found};

/// A run of positions and where it is stored. The order of origins is the order of belief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    base: u64,
    origin: Origin,
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// A batch of the database.
    Database,
    /// A frame of the journal.
    Journal(Sequence),
    /// A batch in the database's file, by its place in the list of those.
    File(usize),
}

/// All pieces, each list by base.
pub(super) struct Pieces {
    events: Vec<Piece>,
    attempts: Vec<Piece>,
}

impl Pieces {
    pub(super) fn collect(source: &Source) -> Self {
        let mut events = of_database(source, Family::Log, Kind::Events);
        let mut attempts = of_database(source, Family::Attempt, Kind::Attempts);
        let raw = source.raw.as_ref().map_or(&[][..], |raw| &raw.batches);
        for (at, batch) in raw.iter().enumerate() {
            let piece = Piece {
                base: batch.base,
                origin: Origin::File(at),
                end: batch.base + u64::from(batch.count),
            };
            match batch.kind {
                Kind::Events => events.push(piece),
                Kind::Attempts => attempts.push(piece),
                Kind::Lost => {}
            }
        }
        for (sequence, base, end) in source.journal.records() {
            let origin = Origin::Journal(sequence);
            if end > base {
                events.push(Piece { base, origin, end });
            }
        }
        for pieces in [&mut events, &mut attempts] {
            // Taken from the back.
            pieces.sort_by(|a, b| b.cmp(a));
        }
        Self { events, attempts }
    }

    /// Writes everything below these positions.
    pub(super) fn cover(
        &mut self,
        source: &Source,
        rebuild: &mut Rebuild,
        upto: (Offset, AttemptSeq),
    ) -> Result<(), PlanError> {
        let (events, attempts) = (upto.0.get(), upto.1.get());
        while let Some(piece) = self.events.pop_if(|piece| piece.base < events) {
            let records = load_events(source, &piece);
            rebuild.events(records.into_iter().filter(|r| r.offset.get() < events))?;
        }
        while let Some(piece) = self.attempts.pop_if(|piece| piece.base < attempts) {
            let found = load_attempts(source, &piece);
            rebuild.attempts(found.into_iter().filter(|a| a.id.seq().get() < attempts))?;
        }
        let known = |end: u64, upto: u64| if upto == u64::MAX { end } else { upto };
        let (end, attempts_end) = rebuild.ends();
        rebuild.lose_up_to(
            Offset::new(known(end.get(), events)),
            AttemptSeq::new(known(attempts_end.get(), attempts)),
        )
    }
}

fn of_database(source: &Source, family: Family, kind: Kind) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let Some(engine) = &source.engine else {
        return pieces;
    };
    survey::walk(engine, family, 0, &mut |found| {
        if let Found::Batch(Batch { header, .. }) = found
            && header.kind == kind
        {
            pieces.push(Piece {
                base: header.base,
                origin: Origin::Database,
                end: header.base + u64::from(header.count),
            });
        }
    });
    pieces
}

fn load(source: &Source, family: Family, piece: &Piece) -> Option<Batch> {
    match piece.origin {
        Origin::Database => {
            let engine = source.engine.as_ref()?;
            let (mut bytes, mut total) = (Vec::new(), None);
            for chunk in 0..=u16::MAX {
                if total.is_some_and(|total| bytes.len() >= total) {
                    break;
                }
                let key = keys::batch(piece.base, chunk);
                bytes.extend_from_slice(&engine.get(family, &key).ok()??);
                total = total.or(frame::total_bytes(&bytes).ok());
            }
            frame::decode(&bytes.into()).ok()
        }
        Origin::File(at) => {
            let raw: &Raw = source.raw.as_ref()?;
            let batch: &RawBatch = raw.batches.get(at)?;
            raw.load(batch).ok()?
        }
        Origin::Journal(_) => None,
    }
}

fn load_events(source: &Source, piece: &Piece) -> Vec<Record> {
    let found = match piece.origin {
        Origin::Journal(sequence) => source
            .journal
            .load(sequence)
            .map(|commit| commit.records.to_vec()),
        Origin::Database | Origin::File(_) => {
            load(source, Family::Log, piece).and_then(|batch| survey::events(&batch))
        }
    };
    found.unwrap_or_default()
}

fn load_attempts(source: &Source, piece: &Piece) -> Vec<StoredAttempt> {
    load(source, Family::Attempt, piece)
        .and_then(|batch| survey::attempts(&batch))
        .unwrap_or_default()
}
