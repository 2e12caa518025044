//! The applier's side of memory: what it has to do, and what it has done.
//!
//! The committer shows each commit once, here; the applier takes what it has not applied yet. It is
//! not woken for each commit (a wake costs the committer as much as its checksum), but when there is
//! enough for a transaction, when somebody waits, and once after it had nothing to do.
//!
//! **Invariant:** what is taken stays in memory until it is applied; commits are taken in order, each
//! until [`Ring::applied`] says that it need not be again.
//! **Next:** `../apply.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Inner, Ring, Room, WAIT_STEP};
use crate::entry::Committed;
use crate::offset::Sequence;

/// Commits that may wait for the applier, however small they are: some 20 MiB of memory beside their
/// events.
pub(super) const UNAPPLIED_COMMITS_MAX: u64 = 65_536;

/// What there is for the applier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Bytes of commits that are not applied.
    pub(crate) bytes: usize,
    /// There is more than an empty frame (a seal), which is worth no write of its own.
    pub(crate) is_worth: bool,
    /// Somebody waits for it.
    pub(crate) is_asked: bool,
    /// There will be no more.
    pub(crate) is_last: bool,
}

impl Ring {
    /// Waits until there is enough for a transaction, until somebody waits for it, or until there will
    /// be no more; at most until `until`, or until the first commit if that is `None`. What there is
    /// may be asked for at once by an `until` in the past.
    pub(crate) fn wait_work(
        &self,
        enough: usize,
        until: Option<Instant>,
        longest: Duration,
    ) -> Work {
        let longest = Instant::now() + longest;
        let end = until.map_or(longest, |until| until.min(longest));
        let mut inner = self.inner.lock();
        inner.enough = enough;
        loop {
            let work = Work {
                bytes: inner.unapplied_bytes,
                is_worth: inner.has_work,
                is_asked: inner.next_applied < inner.asked,
                is_last: inner.is_last,
            };
            let first = until.is_none() && work.is_worth;
            if work.bytes >= enough || first || work.is_asked || work.is_last {
                return work;
            }
            if self.work.wait_until(&mut inner, end).timed_out() {
                return Work {
                    bytes: inner.unapplied_bytes,
                    is_worth: inner.has_work,
                    ..work
                };
            }
        }
    }

    /// The oldest commits that are not applied, of about so many bytes; at least one, if there is any.
    pub(crate) fn unapplied(&self, bytes: usize) -> Vec<Arc<Committed>> {
        let inner = self.inner.lock();
        let mut taken = 0;
        let within = |commit: &&Arc<Committed>| {
            let is_first = taken == 0;
            taken += commit.bytes;
            is_first || taken <= bytes
        };
        let from = inner.index_of(inner.next_applied);
        let rest = inner.commits.range(from..);
        rest.take_while(within).cloned().collect()
    }

    /// Notes that sled shows everything up to `sequence`, and gives up what is no longer needed.
    pub(crate) fn applied(&self, sequence: Option<Sequence>) {
        self.sign_of_life();
        let mut inner = self.inner.lock();
        let next_applied = sequence.map_or(Sequence::ZERO, Sequence::next);
        let done = inner.index_of(inner.next_applied)..inner.index_of(next_applied);
        let done: usize = inner.commits.range(done).map(|commit| commit.bytes).sum();
        inner.unapplied_bytes = inner.unapplied_bytes.saturating_sub(done);
        inner.next_applied = next_applied;
        inner.has_work &= next_applied < inner.next;
        while inner.bytes > self.bytes_max
            && inner
                .commits
                .front()
                .is_some_and(|commit| commit.sequence < next_applied)
        {
            if let Some(commit) = inner.commits.pop_front() {
                inner.bytes -= commit.bytes;
            }
        }
        self.moved.notify_all();
    }

    /// There will be no more commits.
    pub(crate) fn end_commits(&self) {
        self.inner.lock().is_last = true;
        self.work.notify_all();
    }

    /// Waits until at most `bytes` are unapplied, and not too many commits; `None` if nothing was heard for
    /// `patience`.
    pub(crate) fn wait_room(
        &self,
        bytes: usize,
        patience: Duration,
        stop: impl Fn() -> bool,
    ) -> Room {
        let mut inner = self.inner.lock();
        let target = inner.next;
        let mut waited = Duration::ZERO;
        while (inner.unapplied_bytes > bytes || inner.unapplied_count() > UNAPPLIED_COMMITS_MAX)
            && !stop()
        {
            self.ask(&mut inner, target);
            if waited >= patience {
                return Room::None;
            }
            let step = WAIT_STEP.min(patience.saturating_sub(waited));
            // A wake is a sign of life: what is applied in small pieces is not stuck.
            if self.moved.wait_for(&mut inner, step).timed_out() {
                waited += step;
            }
        }
        Room::Some
    }

    /// Waits until everything pushed so far is applied, or `stop` says so; `None` if there
    /// was no sign of life for `patience`.
    pub(crate) fn wait_applied(&self, patience: Duration, stop: impl Fn() -> bool) -> Room {
        let mut inner = self.inner.lock();
        let target = inner.next;
        let (mut seen, mut waited) = (self.signs_of_life(), Duration::ZERO);
        while inner.next_applied < target && !stop() {
            self.ask(&mut inner, target);
            if waited >= patience {
                return Room::None;
            }
            self.moved.wait_for(&mut inner, WAIT_STEP);
            waited += WAIT_STEP;
            let signs = self.signs_of_life();
            if signs != seen {
                (seen, waited) = (signs, Duration::ZERO);
            }
        }
        Room::Some
    }

    /// Makes the applier apply what lies below `target`, however little that is.
    fn ask(&self, inner: &mut Inner, target: Sequence) {
        if target > inner.asked {
            inner.asked = target;
            self.work.notify_one();
        }
    }

    /// Bytes of the journal that are not in the database yet.
    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.inner.lock().unapplied_bytes
    }
}
