//! What a consumer shares with the acks of its deliveries: how far they are, and what of it is written.
//!
//! **Invariant:** what is written never passes [`Acks::cursor`]; at most one write is under way that
//! nobody waits for, so acks cost the queue no more than the journal takes.
//! **Next:** `reader.rs`.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot::error::TryRecvError;

use crate::change::ChangeError;
use crate::commit_error::CommitError;
use crate::consumer::acks::Acks;
use crate::consumer::open::Written;
use crate::consumer::{ConsumeError, ConsumerCursor, ConsumerKey};
use crate::event::Record;
use crate::log::EventLog;
use crate::offset::Offset;
use crate::request::{ConsumerWrite, Sync};
use crate::time::Timestamp;

/// A cursor that only passed what the filter left out is written after so many offsets: to look at
/// them again is quick, and a write for each would double the commits of a busy log.
const SKIPPED_MAX: u64 = 4096;

/// What a consumer shares with the acks of its deliveries.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(super) log: EventLog,
    pub(super) key: ConsumerKey,
    pub(super) created: Timestamp,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(super) acks: Acks,
    /// What was handed to the committer last.
    pub(super) written: Offset,
    /// Something was acknowledged since.
    pub(super) acked: bool,
    /// A write that nobody waits for.
    pub(super) under_way: Option<Written>,
    /// A write that failed, for whoever asks next.
    pub(super) failed: Option<ConsumeError>,
    /// The consumer is gone, and its name may be another's: acks that come now have no effect.
    pub(super) ended: bool,
}

/// When a cursor is written that nobody waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// Unless such a write is under way, or only a few events were left out since the last.
    IfDue,
    /// The consumer ends: whatever it is.
    Last,
}

impl Cell {
    /// For a consumer that stands at `row`.
    pub(super) fn new(log: EventLog, key: ConsumerKey, row: ConsumerCursor, limit: usize) -> Self {
        let state = State {
            acks: Acks::new(row.cursor, limit),
            written: row.cursor,
            acked: false,
            under_way: None,
            failed: None,
            ended: false,
        };
        Self {
            log,
            key,
            created: row.created,
            state: Mutex::new(state),
        }
    }

    /// Writes the cursor, if there is reason to, and waits for nothing.
    pub(super) fn flush(&self, state: &mut State, flush: Flush) {
        if let Some(answer) = &mut state.under_way {
            let error = match answer.try_recv() {
                Ok(Err(error)) => Some(self.because(error)),
                Err(TryRecvError::Closed) => Some(self.log.handle.gone().into()),
                Err(TryRecvError::Empty) if flush == Flush::IfDue => return,
                Ok(Ok(())) | Err(TryRecvError::Empty) => None,
            };
            state.under_way = None;
            // That the log is closed is told when all is yielded.
            state.failed = error.filter(|error| !error.is_closed());
        }
        let passed = state.acks.cursor().since(state.written);
        let due = state.acked || passed >= SKIPPED_MAX || flush == Flush::Last;
        if !due || state.acks.cursor() == state.written {
            return;
        }
        match self.write(state, Sync::Later) {
            Ok(written) => state.under_way = Some(written),
            // The next ack, or the next look, tries again.
            Err(CommitError::Busy { .. } | CommitError::Closed) => {}
            Err(error @ CommitError::Poisoned { .. }) => state.failed = Some(error.into()),
        }
    }

    /// The write that is under way, if there is more to write behind it.
    pub(super) fn overtaken(&self) -> Option<Written> {
        let mut state = self.state.lock();
        if state.acks.cursor() == state.written || !state.acked {
            return None;
        }
        state.under_way.take()
    }

    pub(super) async fn commit(&self, next: Offset, durability: Sync) -> Result<(), ConsumeError> {
        let written = {
            let mut state = self.state.lock();
            state.acks.commit(next);
            self.write(&mut state, durability)?
        };
        self.answer(written).await
    }

    /// Hands the cursor to the committer; the order of calls is the order in the journal.
    pub(super) fn write(
        &self,
        state: &mut State,
        durability: Sync,
    ) -> Result<Written, CommitError> {
        let cursor = state.acks.cursor();
        let created = self.created;
        let row = ConsumerCursor { cursor, created };
        let write = ConsumerWrite::Put(self.key.clone(), row, durability);
        let written = self.log.write_consumer(write)?;
        (state.written, state.acked) = (cursor, false);
        Ok(written)
    }

    pub(super) async fn answer(&self, written: Written) -> Result<(), ConsumeError> {
        match written.await {
            Ok(result) => result.map_err(|error| self.because(error)),
            Err(_) => Err(self.log.handle.gone().into()),
        }
    }

    fn because(&self, error: ChangeError) -> ConsumeError {
        match error {
            ChangeError::Commit(error) => error.into(),
            ChangeError::NotFound { .. }
            | ChangeError::Conflict { .. }
            | ChangeError::Disabled { .. }
            | ChangeError::Limit { .. } => ConsumeError::Deleted {
                key: self.key.clone(),
            },
        }
    }
}

/// An event that a consumer yielded, to be acknowledged once it is dealt with.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event.
    pub record: Record,
    acker: Acker,
}

impl Delivery {
    pub(super) fn new(record: Record, cell: &Arc<Cell>) -> Self {
        let acker = Acker::new(cell);
        Self { record, acker }
    }

    /// Settles this event. The cursor moves when all events before it are settled, too. It returns
    /// at once, and has no effect when the consumer is gone or has been moved.
    pub fn ack(&self) {
        self.acker.ack(self.record.offset);
    }
}

impl Deref for Delivery {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// Settles events of a consumer, from any thread.
#[derive(Clone, Debug)]
pub struct Acker(Weak<Cell>);

impl Acker {
    pub(super) fn new(cell: &Arc<Cell>) -> Self {
        Self(Arc::downgrade(cell))
    }

    /// As [`Delivery::ack`].
    pub fn ack(&self, offset: Offset) {
        let Some(cell) = self.0.upgrade() else { return };
        let mut state = cell.state.lock();
        if !state.ended {
            state.acks.ack(offset);
            state.acked = true;
            cell.flush(&mut state, Flush::IfDue);
        }
    }
}
