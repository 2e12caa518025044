//! Where events and attempts of a damaged log are found, and how they are put together again.
//!
//! **Invariant:** positions only grow: each is taken from the first source that has it, and a
//! position that no source has becomes part of a `Lost` batch.
//! **Next:** `check.rs`.

use std::ops::Range;
use std::sync::Arc;

use crate::apply::Applier;
use crate::attempt::Cursor;
use crate::codec;
use crate::config::Compression;
use crate::engine::{Engine, EngineError, Op};
use crate::entry::{Committed, Entry, StoredAttempt};
use crate::event::Record;
use crate::expunged;
use crate::frame::{self, Batch, Header, Kind};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset, Sequence};
use crate::plan::{PlanError, Waiting};
use crate::state::{Chain, Link, State};
use crate::time::Timestamp;
use crate::transfer::raw::{Raw, RawBatch};
use crate::transfer::repair::Source;
use crate::transfer::rows::Row;
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

/// The new log while it is written.
pub(super) struct Rebuild {
    pub(super) applier: Applier,
    compression: Compression,
    /// What the old log had applied; the new one's journal goes on behind it.
    applied: Option<Sequence>,
    /// Whether the positions below the first item are known to have expired, not lost.
    is_start_known: bool,
    /// Cursors and parked deliveries speak of events below this: were their offsets given away again,
    /// new events would pass for delivered ones.
    pub(super) seen_end: Offset,
    events_lost: Vec<Range<u64>>,
    attempts_lost: Vec<Range<u64>>,
}

impl Rebuild {
    pub(super) fn new(engine: Engine, source: &Source, compression: Compression) -> Self {
        let mut state = State::default();
        if let Some(old) = &source.state {
            state.mark = old.mark;
            state.last_timestamp = old.last_timestamp;
            state.events = fresh(&old.events, old.events.first.position);
            state.attempts = fresh(&old.attempts, old.attempts.first.position);
        }
        let last = source.journal.sequences().last();
        Self {
            applier: Applier::new(Arc::new(engine), state, compression),
            compression,
            applied: last.max(source.state.as_ref().and_then(|state| state.applied)),
            is_start_known: source.state.is_some(),
            seen_end: source
                .state
                .as_ref()
                .map_or(Offset::ZERO, |state| state.mark),
            events_lost: Vec::new(),
            attempts_lost: Vec::new(),
        }
    }

    /// One past the last event and attempt.
    pub(super) fn ends(&self) -> (Offset, AttemptSeq) {
        let state = &self.applier.state;
        (state.events.end, state.attempts.end)
    }

    /// Adds events that are not there yet.
    fn events(&mut self, records: impl Iterator<Item = Record>) -> Result<(), PlanError> {
        let end = self.applier.state.events.end;
        let records: Arc<[Record]> = records.filter(|record| record.offset >= end).collect();
        let Some(first) = records.first().map(|record| record.offset) else {
            return Ok(());
        };
        let events = &mut self.applier.state.events;
        if !self.is_start_known && events.end == Offset::ZERO {
            // Whether older ones expired or are lost cannot be told any more.
            *events = fresh(events, first);
            events.low = first;
        }
        self.lose_events(first)?;
        self.apply(records, Vec::new())
    }

    /// Adds attempts that are not there yet.
    fn attempts(&mut self, found: impl Iterator<Item = StoredAttempt>) -> Result<(), PlanError> {
        let end = self.applier.state.attempts.end;
        let found: Vec<_> = found.filter(|stored| stored.id.seq() >= end).collect();
        let Some(first) = found.first().map(|stored| stored.id.seq()) else {
            return Ok(());
        };
        let attempts = &mut self.applier.state.attempts;
        if !self.is_start_known && attempts.end == AttemptSeq::ZERO {
            *attempts = fresh(attempts, first);
            attempts.low = first;
        }
        self.lose_attempts(first)?;
        let entries = found.into_iter().map(Entry::Attempt).collect();
        self.apply(Arc::default(), entries)
    }

    fn apply(&mut self, records: Arc<[Record]>, entries: Vec<Entry>) -> Result<(), PlanError> {
        let commit = Committed {
            sequence: self.applied.unwrap_or_default(),
            base: self.applier.state.events.end,
            records,
            entries,
            bytes: 0,
            crc: 0,
            epoch: 0,
        };
        // What waits has rows, which are copied.
        self.applier.waiting = Waiting::Copied;
        let applied = self.applier.apply(&[Arc::new(commit)]);
        self.applier.waiting = Waiting::New;
        applied
    }

    /// Adds rows of the summed families.
    pub(super) fn put_rows(&mut self, rows: Vec<Row>) -> Result<(), PlanError> {
        let mut ops = Vec::new();
        for row in rows {
            let sum = &mut self.applier.state.sum;
            sum.add(row.family, &row.key, &row.value);
            self.seen_end = self.seen_end.max(end_seen_by(&row));
            ops.push(Op {
                family: row.family,
                key: row.key,
                value: Some(row.value.into()),
            });
        }
        self.write(&ops)?;
        Ok(())
    }

    /// Marks what is missing below these positions as lost.
    pub(super) fn lose_up_to(
        &mut self,
        events: Offset,
        attempts: AttemptSeq,
    ) -> Result<(), PlanError> {
        self.lose_events(events)?;
        self.lose_attempts(attempts)
    }

    fn lose_events(&mut self, upto: Offset) -> Result<(), PlanError> {
        let events = &self.applier.state.events;
        let lost = events.end.get()..upto.get();
        let chain = (events.crc, events.bytes);
        if lost.is_empty() {
            return Ok(());
        }
        let (crc, bytes) = self.lose(Family::Log, &lost, chain)?;
        let events = &mut self.applier.state.events;
        (events.end, events.crc, events.bytes) = (upto, crc, bytes);
        self.events_lost.push(lost);
        Ok(())
    }

    fn lose_attempts(&mut self, upto: AttemptSeq) -> Result<(), PlanError> {
        let attempts = &self.applier.state.attempts;
        let lost = attempts.end.get()..upto.get();
        let chain = (attempts.crc, attempts.bytes);
        if lost.is_empty() {
            return Ok(());
        }
        let (crc, bytes) = self.lose(Family::Attempt, &lost, chain)?;
        let attempts = &mut self.applier.state.attempts;
        (attempts.end, attempts.crc, attempts.bytes) = (upto, crc, bytes);
        self.attempts_lost.push(lost);
        Ok(())
    }

    /// Writes `Lost` batches for a range; returns the chain behind them.
    fn lose(
        &mut self,
        family: Family,
        lost: &Range<u64>,
        chain: (u32, u64),
    ) -> Result<(u32, u64), EngineError> {
        let (mut crc, mut bytes) = chain;
        let time: Timestamp = self.applier.state.last_timestamp;
        let mut base = lost.start;
        let mut ops = Vec::new();
        while base < lost.end {
            let count = u32::try_from(lost.end - base).unwrap_or(u32::MAX);
            let header = Header {
                kind: Kind::Lost,
                base,
                count,
                first: time,
                last: time,
                previous_crc: crc,
            };
            let (value, next) = frame::encode(&header, &[], self.compression);
            (crc, bytes) = (next, bytes + value.len() as u64);
            ops.push(Op {
                family,
                key: keys::batch(base, 0),
                value: Some(value),
            });
            base += u64::from(count);
        }
        self.write(&ops)?;
        Ok((crc, bytes))
    }

    fn write(&mut self, ops: &[Op]) -> Result<(), EngineError> {
        self.applier.engine.commit(ops)?;
        self.applier.engine.barrier()
    }

    /// Writes the state and closes the database; returns what is lost.
    pub(super) fn finish(mut self) -> Result<Lost, PlanError> {
        let state = &mut self.applier.state;
        state.applied = self.applied;
        (state.journal_crc, state.journal_epoch) = (0, 0);
        self.applier.apply(&[])?;
        self.applier.barrier()?;
        Ok((self.events_lost, self.attempts_lost))
    }
}

/// One past the last offset that a row speaks of.
pub(crate) fn end_seen_by(row: &Row) -> Offset {
    let end = match row.family {
        Family::Cursor => codec::decode::<Cursor>(&row.value).ok().map(|cursor| {
            let settled = cursor.settled.last().copied();
            settled.map_or(Offset::ZERO, Offset::next).max(cursor.floor)
        }),
        Family::Retry => keys::last_number(&row.key).map(|offset| Offset::new(offset).next()),
        Family::Delayed => keys::delayed_offset(&row.key).map(Offset::next),
        Family::Registry => expunged::end_of_row(&row.key, &row.value),
        _ => None,
    };
    end.unwrap_or_default()
}

type Lost = (Vec<Range<u64>>, Vec<Range<u64>>);

/// An empty chain that begins at a position.
fn fresh<P: Copy>(old: &Chain<P>, position: P) -> Chain<P> {
    let first = position;
    let link = Link { position, crc: 0 };
    Chain {
        low: old.low,
        first: link,
        verified: link,
        end: first,
        crc: 0,
        bytes: 0,
    }
}
