//! Group commit: one thread at a time takes what is waiting, gives it its place, writes one journal frame,
//! makes it durable, shows it to readers, and acks.
//!
//! The `fdatasync` is the batching window: while it runs, the next group gathers. A frame that holds
//! only what the dispatcher recorded is not synced by itself; the next one's sync covers it, and
//! losing it to a power cut repeats deliveries but loses none.
//!
//! **Invariant:** offsets, sequences and attempt numbers are assigned here alone, without gaps. A
//! publisher hears of success only after `fdatasync` returned. After an error nobody does.
//! **Next:** `commit/seat.rs` (who does it), `commit/assign.rs`, then `journal.rs`, then `ring.rs` and `apply.rs` (`commit/patience.rs`: waits for it).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};

use crate::commit::seat::Thread;
use crate::commit_error::CommitError;
use crate::config::Durability;
use crate::consumer::{ConsumerCursor, ConsumerKey};
use crate::entry::{Committed, Entry};
use crate::event::Record;
use crate::journal::{Draft, Journal, Written};
use crate::key_index::KeyIndexError;
use crate::offset::{AttemptSeq, Offset, Sequence};
use crate::request::{Queued, Request, Sync, Waiter};
use crate::shared::Shared;
use crate::state::State;
use crate::time::Timestamp;

/// A group is closed at this many bytes. An fdatasync of 1 MiB takes about as long as eight of
/// 64 KiB, so a larger group would only add latency.
const GROUP_BYTES: usize = 1 << 20;
/// A group is closed at this many requests, which bounds the work before the write.
const GROUP_REQUESTS: usize = 4096;
/// There may be no sign of life from the applier for this long before the database is taken for stuck
/// (sled can wait for ever after an I/O error of its own).
pub(crate) const APPLIER_PATIENCE: Duration = Duration::from_secs(30);

/// The committer; `seat.rs` says in which thread.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: Journal,
    pub(crate) input: Receiver<Queued>,
    pub(crate) next: Next,
    /// The wall clock at the start of the group. Earlier than the log's time for a while if it was set
    /// back; what people mean by a time is this one.
    pub(crate) wall: Timestamp,
    pub(crate) rng: fastrand::Rng,
    /// Wakes the thread that seals keys, which ends when the committer does.
    pub(crate) keys: Sender<()>,
    /// When the journal is to be synced, in a mode that acks before.
    pub(crate) sync_due: Option<Instant>,
    /// How long there may be no sign of life from the applier.
    pub(crate) patience: Duration,
    /// Bytes of the disk that the group may still take, before what is kept free.
    pub(crate) disk_room: u64,
    /// What follows the last commit if that is to be sealed, as the thread last saw it.
    pub(crate) sealable: Option<Sequence>,
    /// Whether the thread would notice that a caller has committed.
    pub(crate) thread: Thread,
}

/// What is assigned next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) sequence: Sequence,
    pub(crate) offset: Offset,
    pub(crate) attempt: AttemptSeq,
    /// Time of the last commit; never goes back, so ids sort as offsets do.
    pub(crate) timestamp: Timestamp,
}

impl Next {
    /// What follows a state of the applier that lacks nothing.
    pub(crate) fn after(state: &State) -> Self {
        Self {
            sequence: state.applied.map_or(Sequence::ZERO, Sequence::next),
            offset: state.events.end,
            attempt: state.attempts.end,
            timestamp: state.last_timestamp,
        }
    }
}

/// A group while it is put together.
#[derive(Default)]
struct Group {
    records: Vec<Record>,
    entries: Vec<Entry>,
    waiters: Vec<Waiter>,
    sync: Option<Sync>,
    /// What consumers' rows will be behind this group.
    consumers: BTreeMap<ConsumerKey, Option<ConsumerCursor>>,
}

/// Also after a panic: the applier ends when it has applied everything.
impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.ring.end_commits();
    }
}

impl Committer {
    /// Syncs the journal if that is due. Called wherever the committer may spend time after an ack, so
    /// that no wait for somebody else makes the time until the sync longer.
    fn sync_if_due(&mut self) -> Result<(), String> {
        if self.sync_due.is_some_and(|due| due <= Instant::now()) {
            self.sync_due = None;
            self.journal.sync().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The same between two pieces of work; what comes next finds the log stopped after an error.
    fn keep_synced(&mut self) {
        if let Err(reason) = self.sync_if_due() {
            self.stop(&reason);
        }
    }

    /// Makes a group durable, as soon as the log's mode of durability wants it.
    fn make_durable(&mut self) -> Result<(), String> {
        match self.shared.config.durability {
            Durability::PowerSafe => self.journal.sync().map_err(|error| error.to_string()),
            Durability::ProcessSafe(within) => {
                self.sync_due.get_or_insert_with(|| Instant::now() + within);
                Ok(())
            }
            Durability::None => Ok(()),
        }
    }

    /// Takes what is waiting, up to a group.
    fn gather(&mut self, first: Queued, group: &mut Group) -> Result<(), KeyIndexError> {
        let now = self.now();
        self.disk_room = self.disk_room();
        // A group and the request that ends it (at most half a segment) fit a segment together.
        let quarter = self.shared.config.journal_segment_bytes / 4;
        let group_bytes = usize::try_from(quarter)
            .unwrap_or(GROUP_BYTES)
            .min(GROUP_BYTES);
        let (mut bytes, mut requests) = (0, 0);
        let mut queued = Some(first);
        while let Some(Queued {
            request,
            bytes: held,
        }) = queued
        {
            self.shared.release(held);
            bytes += held;
            requests += 1;
            // Looking up keys may have read the disk for a while.
            self.keep_synced();
            // A change ends its group: the next one is planned against a registry that has it. So does
            // a kept answer, which is planned against the table of those that are.
            let ends = matches!(request, Request::Change { .. } | Request::Answer { .. });
            self.add(request, held, now, group)?;
            queued = if ends || bytes >= group_bytes || requests >= GROUP_REQUESTS {
                None
            } else {
                self.input.try_recv().ok()
            };
        }
        Ok(())
    }

    /// What the disk has left for events that are not acked yet. What is acked will take space when it
    /// is applied, at most as much as in the journal; that itself takes none until it needs another
    /// segment.
    fn disk_room(&self) -> u64 {
        let config = &self.shared.config;
        let Some(free) = (config.free_bytes)(&config.directory) else {
            return u64::MAX;
        };
        let unapplied = u64::try_from(self.shared.ring.unapplied_bytes()).unwrap_or(u64::MAX);
        let segment = self.journal.next_segment_bytes(self.shared.durable.get());
        free.saturating_sub(unapplied.saturating_add(segment))
    }

    /// Takes room on the disk for a request, or refuses it; `reserve` is left to others.
    fn take_room(&mut self, bytes: u64, reserve: u64) -> Result<(), CommitError> {
        match self.disk_room.checked_sub(bytes) {
            Some(left) if left >= reserve => {
                // It is known only at the start of a group, and is unknown for some disks.
                if self.disk_room < u64::MAX {
                    self.disk_room = left;
                }
                Ok(())
            }
            _ => Err(CommitError::Busy { what: "the disk" }),
        }
    }

    /// Writes, syncs, shows, acks; in this order.
    fn commit(&mut self, group: Group) {
        let Group {
            records,
            entries,
            waiters,
            sync,
            consumers: _,
        } = group;
        // Nothing to write: every event's key was known, or the change was refused.
        if !(records.is_empty() && entries.is_empty()) {
            let sync = sync.unwrap_or(Sync::Now);
            if let Err(reason) = self.write(records, entries, sync) {
                return self.fail(&reason, waiters);
            }
        }
        for waiter in waiters {
            waiter.tell(Ok(()));
        }
    }

    fn write(
        &mut self,
        records: Vec<Record>,
        entries: Vec<Entry>,
        sync: Sync,
    ) -> Result<(), String> {
        self.shared
            .poison
            .check()
            .map_err(|error| error.to_string())?;
        self.wait_room()?;
        let sequence = self.next.sequence;
        let count = records.len() as u64;
        let base = records
            .first()
            .map_or(self.next.offset, |record| record.offset);
        let is_synced = sync == Sync::Now && self.shared.config.durability == Durability::PowerSafe;
        let draft = Draft {
            sequence,
            base,
            records: &records,
            entries: &entries,
            sync: if is_synced { Sync::Now } else { Sync::Later },
        };
        let Written {
            body_bytes,
            crc,
            epoch,
        } = self
            .journal
            .append(draft, self.shared.durable.get())
            .map_err(|error| error.to_string())?;
        if sync == Sync::Now {
            self.make_durable()?;
        }
        debug_assert_eq!(base.plus(count), self.next.offset, "offsets are dense");
        self.next.sequence = sequence.next();
        let records = records.into();
        let bytes = body_bytes;
        let commit = Arc::new(Committed {
            sequence,
            base,
            records,
            entries,
            bytes,
            crc,
            epoch,
        });
        self.shared.consumers.lock().apply(&commit.entries);
        self.shared.answers.lock().apply(&commit.entries);
        self.shared.ring.push(commit, &self.shared.registry);
        if self.shared.keys.committed(bytes, self.next.timestamp) {
            self.wake_sealing();
        }
        Ok(())
    }

    /// Writes an empty frame: its header says that the frame before it was
    /// durable, so damage to that one can be told from a torn write.
    fn seal(&mut self) {
        let sealed = self.write(Vec::new(), Vec::new(), Sync::Later);
        if let Err(reason) = sealed {
            self.stop(&reason);
        }
    }

    /// Stops the log, and wakes whoever would wait for more of it.
    fn stop(&self, reason: &str) {
        self.shared.poison.set(reason);
        self.shared.ring.wake();
    }

    fn fail(&self, reason: &str, waiters: Vec<Waiter>) {
        self.shared.poison.set(reason);
        self.shared.ring.wake();
        let reason = self.shared.poison.reason().unwrap_or_else(|| reason.into());
        for waiter in waiters {
            waiter.tell(Err(CommitError::Poisoned {
                reason: Arc::clone(&reason),
            }));
        }
    }

    /// The wall clock, but never earlier than the last commit.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where events get their time"
    )]
    fn now(&mut self) -> Timestamp {
        self.wall = SystemTime::now().into();
        self.next.timestamp = self.next.timestamp.max(self.wall);
        self.next.timestamp
    }
}

/// Why the log stops when the applier does not answer.
pub(crate) fn stuck(patience: Duration) -> String {
    format!("the database took no data for {} s", patience.as_secs_f32())
}

#[cfg(test)]
mod tests;

mod assign;
mod keyed;
pub(crate) mod operational;
mod patience;
pub(crate) mod seat;
