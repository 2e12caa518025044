//! A consumer as a program holds it: yields events in offset order, takes acks, keeps the cursor.
//!
//! **Invariant:** events come in offset order, each once while the consumer is open; everything below
//! its position was yielded, left out by the filter, or had expired.
//! **Next:** `stream.rs`, the same as a stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::commit_error::CommitError;
use crate::consumer::cell::{Acker, Cell, Delivery, Flush};
use crate::consumer::open::Lease;
use crate::consumer::{ConsumeError, ConsumerCursor, ConsumerKey, ConsumerOptions, ConsumerScope};
use crate::event::Record;
use crate::filter::Filter;
use crate::log::EventLog;
use crate::offset::{Offset, Sequence};
use crate::page::{Limit, Order};
use crate::read::ReadError;
use crate::request::Sync;
use crate::wait::{wait, wait_until};

/// What is read at a time: as a tail does.
const READ: Limit = Limit {
    items: 1024,
    bytes: 1 << 20,
};
/// A named reader with a cursor of its own in the log; see [`EventLog::consumer`].
///
/// Each event is yielded once while the consumer is open, in offset order. What was not acknowledged
/// when it is dropped, or when the process dies, is yielded again to the next one of its name.
///
/// # Sync
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

impl Consumer {
    pub(crate) fn new(
        log: EventLog,
        lease: Lease,
        row: ConsumerCursor,
        options: ConsumerOptions,
    ) -> Self {
        let woken = log.handle.shared.ring.subscribe();
        let key = lease.key.clone();
        let cell = Cell::new(log, key, row, options.unacked_max);
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
        self.cell.commit(next, Sync::Later).await
    }

    /// [`commit`](Self::commit); blocks.
    pub fn commit_blocking(&mut self, next: Offset) -> Result<(), ConsumeError> {
        wait(self.commit(next))
    }

    /// [`commit`](Self::commit), and returns when the cursor survives power loss: an `fdatasync`
    /// returned, shared with whatever else was committed meanwhile. In a mode of
    /// [`Durability`](crate::Durability) that acks before the sync, it returns as early as an append.
    pub async fn commit_durable(&mut self, next: Offset) -> Result<(), ConsumeError> {
        self.cell.commit(next, Sync::Now).await
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
            self.cell.write(&mut state, Sync::Now)?
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
        Acker::new(&self.cell)
    }

    /// One look: at what is ready, else one read.
    fn step(&mut self) -> Result<Step, ConsumeError> {
        let shared = Arc::clone(&self.cell.log.handle.shared);
        // Before the read: what is committed until then is still yielded.
        let closed = shared.closed.load(Ordering::Acquire);
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
                return Ok(Step::Yield(Delivery::new(record, &self.cell)));
            }
            state.acks.skipped(self.fetched);
        }
        if shared.consumers.lock().get(&self.lease.key).is_none() {
            let key = self.lease.key.clone();
            return Err(ConsumeError::Deleted { key });
        }
        let before = self.fetched;
        match self.fetch() {
            Ok(()) => {}
            // It expired just now; the next look tells of it.
            Err(ReadError::Expired { .. }) => return Ok(Step::Again),
            Err(error) => return Err(error.into()),
        }
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

    fn fetch(&mut self) -> Result<(), ReadError> {
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
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on its way to the caller"
)]
enum Step {
    Yield(Delivery),
    /// Something was read; look again.
    Again,
    Nothing,
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
