//! How what is left of a damaged log is put together again.
//!
//! **Invariant:** positions only grow, and one that no source has becomes part of a `Lost` batch. An
//! event that may still wait for its time has its rows.
//! **Next:** `../check.rs`.

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
use crate::frame::{self, Header, Kind};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset, Sequence};
use crate::plan::{PlanError, Waiting};
use crate::state::{Chain, Link, RowSum, State};
use crate::time::Timestamp;
use crate::transfer::repair::Source;
use crate::transfer::rows::{Row, Rows, Window, families};

/// The new log while it is written.
pub(super) struct Rebuild {
    pub(super) applier: Applier,
    compression: Compression,
    /// What the old log had applied; the new one's journal goes on behind it.
    applied: Option<Sequence>,
    /// Whether the positions below the first item are known to have expired, not lost.
    is_start_known: bool,
    /// Events below it that wait for a time have rows in the old database, which are copied.
    shown_end: Offset,
    /// Events whose rows were made because it cannot be told whether they still wait.
    pub(super) waiting_again: u64,
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
            shown_end: shown_end(source),
            waiting_again: 0,
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
    pub(super) fn events(
        &mut self,
        records: impl Iterator<Item = Record>,
    ) -> Result<(), PlanError> {
        let end = self.applier.state.events.end;
        let records: Vec<Record> = records.filter(|record| record.offset >= end).collect();
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
        let shown = records.partition_point(|record| record.offset < self.shown_end);
        let (shown, others) = records.split_at(shown);
        self.apply(shown.into(), Vec::new(), Waiting::Copied)?;
        let waiting = others.iter().filter(|r| r.event.deliver_at.is_some());
        self.waiting_again += waiting.count() as u64;
        self.apply(others.into(), Vec::new(), Waiting::New)
    }

    /// Adds attempts that are not there yet.
    pub(super) fn attempts(
        &mut self,
        found: impl Iterator<Item = StoredAttempt>,
    ) -> Result<(), PlanError> {
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
        self.apply(Arc::default(), entries, Waiting::Copied)
    }

    fn apply(
        &mut self,
        records: Arc<[Record]>,
        entries: Vec<Entry>,
        waiting: Waiting,
    ) -> Result<(), PlanError> {
        if records.is_empty() && entries.is_empty() {
            return Ok(());
        }
        let commit = Committed {
            sequence: self.applied.unwrap_or_default(),
            base: self.applier.state.events.end,
            records,
            entries,
            bytes: 0,
            crc: 0,
            epoch: 0,
        };
        self.applier.waiting = waiting;
        let applied = self.applier.apply(&[Arc::new(commit)]);
        self.applier.waiting = Waiting::New;
        applied
    }

    /// Adds rows of the summed families.
    pub(super) fn put_rows(&mut self, rows: Vec<Row>) -> Result<(), PlanError> {
        let mut ops = Vec::new();
        for row in rows {
            let old = match row.family {
                // The only ones that may have been made already.
                Family::Delayed => self.applier.engine.get(row.family, &row.key)?,
                _ => None,
            };
            let sum = &mut self.applier.state.sum;
            if let Some(old) = old {
                sum.remove(row.family, &row.key, &old);
            }
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

/// Up to which offset the old database shows what waits for a time and what does not: as far as it had
/// applied events, if it shows every row that it should.
fn shown_end(source: &Source) -> Offset {
    let (Some(engine), Some(state)) = (&source.engine, &source.state) else {
        return Offset::ZERO;
    };
    let mut sum = RowSum::default();
    let mut rows = Rows::new(families(false), Window::of(&State::default()));
    loop {
        match rows.next(engine) {
            Ok(Some(page)) => {
                for row in page {
                    sum.add(row.family, &row.key, &row.value);
                }
            }
            Ok(None) if sum == state.sum => return state.events.end,
            Ok(None) | Err(_) => return Offset::ZERO,
        }
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
