//! A consumer as a program holds it: yields events in offset order, takes acks, keeps the cursor.
//!
//! **Invariant:** what it writes never passes [`Acks::cursor`]; at most one write of it is under way
//! that nobody waits for, so acks cost the queue no more than the journal takes.
//! **Next:** `stream.rs`, the same as a stream.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::watch;

use crate::change::ChangeError;
use crate::commit_error::CommitError;
use crate::consumer::acks::Acks;
use crate::consumer::open::{Lease, Written};
use crate::consumer::{ConsumeError, ConsumerCursor, ConsumerKey, ConsumerOptions, ConsumerScope};
use crate::event::Record;
use crate::log::EventLog;
use crate::offset::{Offset, Sequence};
use crate::page::{Limit, Order};
use crate::request::{ConsumerWrite, Durability};
use crate::subscription::Filter;
use crate::time::Timestamp;
use crate::wait::{wait, wait_until};

/// What is read at a time: as a tail does.
const READ: Limit = Limit {
    items: 1024,
    bytes: 1 << 20,
};
/// A cursor that only passed what the filter left out is written after so many offsets: to look at
/// them again is quick, and a write for each would double the commits of a busy log.
const SKIPPED_MAX: u64 = 4096;

/// A named reader with a cursor of its own in the log; see [`EventLog::consumer`].
///
/// Each event is yielded once while the consumer is open, in offset order. What was not acknowledged
/// when it is dropped, or when the process dies, is yielded again to the next one of its name.
///
/// # Durability
/// An ack, [`commit`](Self::commit) and a drop put the cursor into the journal without an
/// `fdatasync` of their own: it survives kill -9 and rides on the next event's sync. A power cut may
/// so repeat events, and never loses one. [`commit_durable`](Self::commit_durable) syncs.
#[derive(Debug)]
pub struct Consumer {
    cell: Arc<Cell>,
    lease: Lease,
    woken: watch::Receiver<Sequence>,
    filter: Filter,
    /// The next offset to read.
    fetched: Offset,
    /// Read, matching, and not yet yielded.
    ready: VecDeque<Record>,
}

/// What a consumer shares with the acks of its deliveries.
#[derive(Debug)]
struct Cell {
    log: EventLog,
    key: ConsumerKey,
    created: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    acks: Acks,
    /// What was handed to the committer last.
    written: Offset,
    /// Something was acknowledged since.
    acked: bool,
    /// A write that nobody waits for.
    under_way: Option<Written>,
    /// A write that failed, for whoever asks next.
    failed: Option<ConsumeError>,
    /// The consumer is gone, and its name may be another's: acks that come now have no effect.
    ended: bool,
}

impl Consumer {
    pub(crate) fn new(
        log: EventLog,
        lease: Lease,
        row: ConsumerCursor,
        options: ConsumerOptions,
    ) -> Self {
        let woken = log.handle.shared.ring.subscribe();
        let state = State {
            acks: Acks::new(row.cursor, options.unacked_max),
            written: row.cursor,
            acked: false,
            under_way: None,
            failed: None,
            ended: false,
        };
        let cell = Cell {
            log,
            key: lease.key.clone(),
            created: row.created,
            state: Mutex::new(state),
        };
        Self {
            cell: Arc::new(cell),
            lease,
            woken,
            filter: options.filter,
            fetched: row.cursor,
            ready: VecDeque::new(),
        }
    }

    /// The next event; waits for it. Needs no runtime of its own. While it catches up it reads the
    /// disk within the call, about 1 MiB at a time; [`reads_disk`](Self::reads_disk) tells when.
    ///
    /// # Errors
    /// After any error but `Deleted` and a stopped log the consumer can be used on. When the log is
    /// closed, what was committed is yielded first, and then
    /// [`CommitError::Closed`] within [`ConsumeError::Commit`].
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn next(&mut self) -> Result<Delivery, ConsumeError> {
        loop {
            self.woken.mark_unchanged();
            match self.step()? {
                Step::Yield(delivery) => return Ok(delivery),
                // Others get their turn between reads that match nothing.
                Step::Again => yield_now().await,
                Step::Nothing => {
                    // Acks that came while a write was under way are not left lying.
                    if let Some(written) = self.cell.overtaken() {
                        self.cell.answer(written).await?;
                        continue;
                    }
                    // Fails only when the log is gone, and `cell` keeps it.
                    if self.woken.changed().await.is_err() {
                        return Err(CommitError::Closed.into());
                    }
                }
            }
        }
    }

    /// [`next`](Self::next); blocks.
    pub fn next_blocking(&mut self) -> Result<Delivery, ConsumeError> {
        wait(self.next())
    }

    /// The next event, or `None` if none comes within `timeout`; blocks.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>, ConsumeError> {
        let deadline = Instant::now() + timeout;
        wait_until(self.next(), deadline).transpose()
    }

    /// The next event, if there is one now; waits for none. May read the disk.
    pub fn poll_next(&mut self) -> Result<Option<Delivery>, ConsumeError> {
        loop {
            match self.step()? {
                Step::Yield(delivery) => return Ok(Some(delivery)),
                Step::Again => {}
                Step::Nothing => return Ok(None),
            }
        }
    }

    /// Settles every yielded event below `next` (Kafka's commit: the offset to go on from, as
    /// `delivery.offset.next()`), and returns when the cursor survives the death of the process.
    /// Events that were not yielded are not skipped; `next` below the cursor changes nothing.
    pub async fn commit(&mut self, next: Offset) -> Result<(), ConsumeError> {
        self.cell.commit(next, Durability::Later).await
    }

    /// [`commit`](Self::commit); blocks.
    pub fn commit_blocking(&mut self, next: Offset) -> Result<(), ConsumeError> {
        wait(self.commit(next))
    }

    /// [`commit`](Self::commit), and returns when the cursor survives power loss: an `fdatasync`
    /// returned, shared with whatever else was committed meanwhile.
    pub async fn commit_durable(&mut self, next: Offset) -> Result<(), ConsumeError> {
        self.cell.commit(next, Durability::Now).await
    }

    /// [`commit_durable`](Self::commit_durable); blocks.
    pub fn commit_durable_blocking(&mut self, next: Offset) -> Result<(), ConsumeError> {
        wait(self.commit_durable(next))
    }

    /// Goes on from `to`, back or forwards (what is past the end counts as the end), whatever was
    /// acknowledged; durable when it returns. Acks of events that were yielded before have no effect.
    pub async fn seek(&mut self, to: Offset) -> Result<(), ConsumeError> {
        let to = to.min(self.cell.log.end());
        let written = {
            let mut state = self.cell.state.lock();
            state.acks.seek(to);
            self.cell.write(&mut state, Durability::Now)?
        };
        self.fetched = to;
        self.ready.clear();
        self.cell.answer(written).await
    }

    /// [`seek`](Self::seek); blocks.
    pub fn seek_blocking(&mut self, to: Offset) -> Result<(), ConsumeError> {
        wait(self.seek(to))
    }

    /// What identifies it.
    pub fn key(&self) -> &ConsumerKey {
        &self.lease.key
    }

    /// The next offset to settle.
    pub fn cursor(&self) -> Offset {
        self.cell.state.lock().acks.cursor()
    }

    /// The next offset that can be yielded: everything below was yielded, left out or expired.
    pub fn position(&self) -> Offset {
        self.cell.state.lock().acks.position()
    }

    /// How many offsets lie between the cursor and the log's end, matching or not.
    pub fn lag(&self) -> u64 {
        self.cell.log.end().since(self.cursor())
    }

    /// Whether the next event may come from the disk: then an asynchronous program calls
    /// [`poll_next`](Self::poll_next) where it may block.
    pub fn reads_disk(&self) -> bool {
        self.ready.is_empty() && self.fetched < self.cell.log.handle.shared.ring.memory_starts()
    }

    /// Settles events from other threads and tasks.
    pub fn acker(&self) -> Acker {
        Acker(Arc::downgrade(&self.cell))
    }

    /// One look: at what is ready, else one read.
    fn step(&mut self) -> Result<Step, ConsumeError> {
        let shared = Arc::clone(&self.cell.log.handle.shared);
        // Before the read: what is committed until then is still yielded.
        let closed = shared.closed.load(std::sync::atomic::Ordering::Acquire);
        let low = shared.low();
        {
            let mut state = self.cell.state.lock();
            self.cell.flush(&mut state, Flush::IfDue);
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if let Some(range) = state.acks.expire(low) {
                state.acked = true;
                self.cell.flush(&mut state, Flush::IfDue);
                self.ready.retain(|record| record.offset >= low);
                self.fetched = self.fetched.max(low);
                return Err(ConsumeError::Expired { range });
            }
            if state.acks.is_full() {
                let limit = state.acks.limit();
                return Err(ConsumeError::Unacked { limit });
            }
            if let Some(record) = self.ready.pop_front() {
                state.acks.yielded(record.offset);
                let acker = Acker(Arc::downgrade(&self.cell));
                return Ok(Step::Yield(Delivery { record, acker }));
            }
            state.acks.skipped(self.fetched);
        }
        if shared.consumers.lock().get(&self.lease.key).is_none() {
            let key = self.lease.key.clone();
            return Err(ConsumeError::Deleted { key });
        }
        let before = self.fetched;
        self.fetch()?;
        if self.fetched > before {
            return Ok(Step::Again);
        }
        if closed {
            return Err(self.cell.log.handle.gone().into());
        }
        // Nothing is shown any more after an I/O error; a wait would have no end.
        shared.poison.check()?;
        Ok(Step::Nothing)
    }

    fn fetch(&mut self) -> Result<(), ConsumeError> {
        let log = &self.cell.log;
        let wanted = |record: &Record| self.filter.takes(&record.event);
        match self.lease.key.scope {
            ConsumerScope::Log => {
                let records = log.read(self.fetched, READ)?;
                if let Some(last) = records.last() {
                    self.fetched = last.offset.next();
                }
                self.ready.extend(records.into_iter().filter(wanted));
            }
            ConsumerScope::Application(id) => {
                let range = self.fetched..log.end();
                let page = log.read_application(id, range.clone(), Order::Ascending, READ)?;
                self.fetched = page.rest.start.max(range.start);
                self.ready.extend(page.records.into_iter().filter(wanted));
            }
        }
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.cell.state.lock();
        self.cell.flush(&mut state, Flush::Last);
        state.ended = true;
    }
}

/// What one look gave.
enum Step {
    Yield(Delivery),
    /// Something was read; look again.
    Again,
    Nothing,
}

/// When a cursor is written that nobody waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Unless such a write is under way, or only a few events were left out since the last.
    IfDue,
    /// The consumer ends: whatever it is.
    Last,
}

impl Cell {
    /// Writes the cursor, if there is reason to, and waits for nothing.
    fn flush(&self, state: &mut State, flush: Flush) {
        if let Some(answer) = &mut state.under_way {
            let error = match answer.try_recv() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(self.because(error)),
                Err(TryRecvError::Closed) => Some(self.log.handle.gone().into()),
                Err(TryRecvError::Empty) if flush == Flush::IfDue => return,
                Err(TryRecvError::Empty) => None,
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
        match self.write(state, Durability::Later) {
            Ok(written) => state.under_way = Some(written),
            // The next ack, or the next look, tries again.
            Err(CommitError::Busy { .. } | CommitError::Closed) => {}
            Err(error @ CommitError::Poisoned { .. }) => state.failed = Some(error.into()),
        }
    }

    /// The write that is under way, if there is more to write behind it.
    fn overtaken(&self) -> Option<Written> {
        let mut state = self.state.lock();
        if state.acks.cursor() == state.written || !state.acked {
            return None;
        }
        state.under_way.take()
    }

    async fn commit(&self, next: Offset, durability: Durability) -> Result<(), ConsumeError> {
        let written = {
            let mut state = self.state.lock();
            state.acks.commit(next);
            self.write(&mut state, durability)?
        };
        self.answer(written).await
    }

    /// Hands the cursor to the committer; the order of calls is the order in the journal.
    fn write(&self, state: &mut State, durability: Durability) -> Result<Written, CommitError> {
        let cursor = state.acks.cursor();
        let created = self.created;
        let row = ConsumerCursor { cursor, created };
        let write = ConsumerWrite::Put(self.key.clone(), row, durability);
        let written = self.log.write_consumer(write)?;
        (state.written, state.acked) = (cursor, false);
        Ok(written)
    }

    async fn answer(&self, written: Written) -> Result<(), ConsumeError> {
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

/// Lets others run once, in whatever runtime there is.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
