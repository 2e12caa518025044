//! Who commits: the committer's thread, or a caller that blocks until its commit is through.
//!
//! A caller that blocks anyway commits in its own thread if nobody else does at that moment: its events need not
//! go to another processor, and two threads less are woken. With 64 events of 512 B a commit that is a quarter of
//! the time. Whoever else asks meanwhile goes to the queue, which this caller or the thread takes next, so groups form
//! as they do otherwise.
//!
//! **Invariant:** only who holds the seat takes from the queue, so requests are committed in the order in which a
//! caller made them. What is due behind a commit (a sync, a seal) is the thread's work, whoever committed.
//! **Next:** `../commit.rs`, what is done with a group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, TryRecvError};
use parking_lot::Mutex;

use super::{Committer, Group};
use crate::request::{Queued, Request};

/// How long nothing must be asked for before the last frame is sealed: several times what a writer
/// takes from its ack to its next request, so that a busy log writes no seals.
const SEAL_DELAY: Duration = Duration::from_micros(500);

/// The committer, for one at a time. Empty when the log is closed.
#[derive(Clone)]
pub(crate) struct Seat(Arc<Mutex<Option<Committer>>>);

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seat")
    }
}

/// What the thread does when somebody else has committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Thread {
    /// It will look at what is due by itself.
    #[default]
    Looks,
    /// It waits for requests alone: it must get a [`Request::Look`].
    Sleeps,
}

/// Empties the seat when the thread ends, also after a panic: the applier ends when it has applied everything.
struct Leave<'a>(&'a Seat);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        drop(self.0.0.lock().take());
    }
}

impl Seat {
    pub(crate) fn new(committer: Committer) -> Self {
        Self(Arc::new(Mutex::new(Some(committer))))
    }

    /// The thread: runs until every sender is gone.
    pub(crate) fn run(&self) {
        let _leave = Leave(self);
        let look = |committer: &mut Committer| (committer.input.clone(), committer.look());
        let Some((input, mut due)) = self.0.lock().as_mut().map(look) else {
            return;
        };
        loop {
            if is_ready(&input, due) {
                let mut seat = self.0.lock();
                let Some(committer) = seat.as_mut() else {
                    return;
                };
                match input.try_recv() {
                    Ok(first) => committer.take(first),
                    // A caller has taken it along.
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return committer.finish(),
                }
                due = committer.look();
            } else if let Some(mut seat) = self.0.try_lock() {
                let Some(committer) = seat.as_mut() else {
                    return;
                };
                committer.seal_if_idle();
                due = committer.look();
            } else {
                // Somebody commits, so nothing is to be sealed; a sync that is due is made in passing.
                due = Some(after(SEAL_DELAY));
            }
        }
    }

    /// Does something while somebody commits.
    #[cfg(test)]
    pub(super) fn while_taken(&self, work: impl FnOnce()) {
        let _seat = self.0.lock();
        work();
    }

    /// Commits a request in this thread, if nobody commits and nobody waits; else gives it back.
    pub(crate) fn commit(&self, request: Queued) -> Result<Thread, Queued> {
        let Some(mut seat) = self.0.try_lock() else {
            return Err(request);
        };
        match seat.as_mut() {
            Some(committer) if committer.input.is_empty() => {
                committer.take(request);
                Ok(std::mem::take(&mut committer.thread))
            }
            _ => Err(request),
        }
    }
}

/// A time from now.
fn after(delay: Duration) -> Instant {
    Instant::now() + delay
}

/// Waits for a request, or the end of all senders; `false` when time is up before.
fn is_ready(input: &Receiver<Queued>, due: Option<Instant>) -> bool {
    let mut select = Select::new();
    select.recv(input);
    if let Some(due) = due {
        return select.ready_deadline(due).is_ok();
    }
    select.ready();
    true
}

impl Committer {
    /// Commits a request together with what is waiting behind it.
    fn take(&mut self, first: Queued) {
        // Under load there is always a request, so the time is looked at before one is taken.
        self.keep_synced();
        if matches!(first.request, Request::Look) {
            return;
        }
        let mut group = Group::default();
        match self.gather(first, &mut group) {
            Ok(()) => self.commit(group),
            Err(error) => self.fail(&error.to_string(), group.waiters),
        }
    }

    /// Until when the thread may wait for requests; `None` if nothing is due.
    fn look(&mut self) -> Option<Instant> {
        self.keep_synced();
        let is_seal_due = self.journal.needs_seal() && self.shared.poison.reason().is_none();
        let seal_at = is_seal_due.then(|| after(SEAL_DELAY));
        let due = self.sync_due.into_iter().chain(seal_at).min();
        self.sealable = is_seal_due.then_some(self.next.sequence);
        self.thread = if due.is_some() {
            Thread::Looks
        } else {
            Thread::Sleeps
        };
        due
    }

    /// Seals the last frame if nothing came behind it since the thread looked.
    fn seal_if_idle(&mut self) {
        if self.journal.needs_seal() && self.sealable == Some(self.next.sequence) {
            self.seal();
        }
    }

    /// Leaves nothing unsynced.
    fn finish(&mut self) {
        if let Err(error) = self.journal.sync() {
            self.shared.poison.set(&error.to_string());
        }
    }
}
