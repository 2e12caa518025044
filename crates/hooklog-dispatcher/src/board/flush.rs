//! What is to be recorded: outcomes with the cursors they move, and the mark.
//!
//! **Invariant:** a lane's outcomes and its cursor ride in one commit, so after a crash either both
//! count or neither. The mark is recorded only after every lane that had something outstanding
//! below it has recorded a `Behind` cursor at or below that.
//! **Next:** `driver.rs`, which does what the board wants.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hooklog_storage::{
    Expired, Health, NewAttempt, Offset, OffsetRange, Progress, SubscriptionId, Timestamp,
};

use super::{Board, Effect};
use crate::lane;

/// Payload of outcomes not on record at which no attempt starts (attempts in flight come on top).
const OUTCOMES_BYTES_MAX: usize = 4 << 20;
/// Bytes at which a commit takes no further lane: about what the log commits in one piece.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// What an attempt takes besides its texts.
const ATTEMPT_BYTES: usize = 160;
/// What a cursor takes besides its settled offsets.
const CURSOR_BYTES: usize = 48;
/// How often the mark is recorded when it moved: what a restart reads again.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval between two commits is this part of the longest delay: 2 ms of 50 ms. It lets
/// outcomes gather while the window of a lane stays fed.
const SPACING: u32 = 25;

/// The queue of lanes that have something to record.
pub(super) struct Flush {
    spacing: Duration,
    dirty: VecDeque<SubscriptionId>,
    /// What retention took, not on record yet; at most one row for each subscription.
    lost: BTreeMap<SubscriptionId, Expired>,
    /// What is known of endpoints, not on record yet; at most one row for each subscription.
    pub(super) health: BTreeMap<SubscriptionId, Health>,
    /// How many lanes ever entered and left the queue.
    pushed: u64,
    popped: u64,
    /// Bytes of outcomes that are not on record.
    outcome_bytes: usize,
    /// What is being recorded: lanes, how many outcomes of each, and the bytes of all.
    recording: Option<(Vec<(SubscriptionId, usize)>, usize)>,
    last: Timestamp,
    /// The mark on record.
    mark: Offset,
    mark_at: Timestamp,
    /// A mark to record as soon as this many lanes have left the queue.
    candidate: Option<(Offset, u64)>,
}

impl Flush {
    pub(super) fn new(interval_max: Duration, mark: Offset, now: Timestamp) -> Self {
        Self {
            spacing: interval_max / SPACING,
            dirty: VecDeque::new(),
            lost: BTreeMap::new(),
            health: BTreeMap::new(),
            pushed: 0,
            popped: 0,
            outcome_bytes: 0,
            recording: None,
            last: now,
            mark,
            mark_at: now,
            candidate: None,
        }
    }

    pub(super) fn push(&mut self, id: SubscriptionId) {
        self.dirty.push_back(id);
        self.pushed += 1;
    }

    /// A subscription lost events.
    pub(super) fn lose(&mut self, id: SubscriptionId, range: OffsetRange, at: Timestamp) {
        let lost = self.lost.entry(id).or_insert(Expired {
            range: range.clone(),
            at,
        });
        lost.range = lost.range.start.min(range.start)..lost.range.end.max(range.end);
        lost.at = at;
    }

    /// Whether something is to be recorded, be it only later.
    fn waits(&self) -> bool {
        !self.dirty.is_empty()
            || self.candidate.is_some()
            || !self.lost.is_empty()
            || !self.health.is_empty()
    }

    pub(super) fn add(&mut self, outcome: &NewAttempt) {
        self.outcome_bytes += bytes(outcome);
    }

    /// These outcomes will not be recorded.
    pub(super) fn forget(&mut self, outcomes: &[NewAttempt]) {
        let bytes: usize = outcomes.iter().map(bytes).sum();
        self.outcome_bytes = self.outcome_bytes.saturating_sub(bytes);
    }

    /// Whether more outcomes may come.
    pub(super) fn has_room(&self) -> bool {
        self.outcome_bytes < OUTCOMES_BYTES_MAX
    }

    /// Whether `interval` has passed since `from`, also if the clock was set back meanwhile.
    fn passed(from: Timestamp, interval: Duration, now: Timestamp) -> bool {
        now >= from.plus(interval) || now < from
    }
}

fn bytes(outcome: &NewAttempt) -> usize {
    outcome.url.len() + outcome.response.len() + ATTEMPT_BYTES
}

impl Board {
    /// What is to be recorded now.
    pub(super) fn next_record(&mut self, now: Timestamp) -> Option<Vec<Progress>> {
        if self.flush.recording.is_some() {
            return None;
        }
        if Flush::passed(self.flush.mark_at, MARK_INTERVAL, now) {
            self.propose_mark(now);
        }
        if !self.flush.waits() || !Flush::passed(self.flush.last, self.flush.spacing, now) {
            return None;
        }
        let progress = self.compose(now);
        // What did not fit goes with the next commit, as soon as this one is done.
        if self.flush.dirty.is_empty() {
            self.flush.last = now;
        }
        progress
    }

    /// When `next_record` may have something.
    pub(super) fn flush_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.flush.recording.is_some() {
            return None;
        }
        let flush = self
            .flush
            .waits()
            .then(|| self.flush.last.plus(self.flush.spacing));
        let moved = self.markable != self.flush.mark;
        let mark = moved.then(|| self.flush.mark_at.plus(MARK_INTERVAL));
        // A clock that was set back must not put this off.
        let soon = now.plus(MARK_INTERVAL);
        [flush, mark]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.min(soon))
    }

    /// Everything that is to be recorded before the end, whatever the intervals say. `None` once
    /// all is on record.
    pub(crate) fn last_record(&mut self, now: Timestamp) -> Option<Effect> {
        if self.flush.recording.is_some() {
            return None;
        }
        self.propose_mark(now);
        self.compose(now).map(Effect::Record)
    }

    /// Makes the routed position the next mark, to be recorded after the cursors that it needs.
    fn propose_mark(&mut self, now: Timestamp) {
        if self.flush.candidate.is_some() {
            return;
        }
        self.flush.mark_at = now;
        if self.markable == self.flush.mark {
            return;
        }
        let ids: Vec<_> = self.slots.keys().copied().collect();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.lane.observe(self.routed);
                if !slot.in_dirty && slot.lane.cursor_is_stale(self.routed) {
                    slot.in_dirty = true;
                    self.flush.push(id);
                }
            }
            self.refresh(id, now);
        }
        self.flush.candidate = Some((self.markable, self.flush.pushed));
    }

    fn compose(&mut self, now: Timestamp) -> Option<Vec<Progress>> {
        let mut progress = Vec::new();
        let (mut lanes, mut outcome_bytes, mut cursor_bytes) = (Vec::new(), 0, 0);
        let mut batch_bytes = 0;
        // Before any cursor or mark that passes them.
        while batch_bytes < BATCH_BYTES_MAX
            && let Some((id, expired)) = self.flush.lost.pop_first()
        {
            batch_bytes += CURSOR_BYTES;
            progress.push(Progress::Expired(id, expired));
        }
        while batch_bytes < BATCH_BYTES_MAX
            && let Some((id, health)) = self.flush.health.pop_first()
        {
            batch_bytes += CURSOR_BYTES;
            progress.push(Progress::Health(id, health));
        }
        cursor_bytes += batch_bytes;
        while batch_bytes < BATCH_BYTES_MAX
            && let Some(id) = self.flush.dirty.pop_front()
        {
            self.flush.popped += 1;
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            slot.in_dirty = false;
            slot.writing = true;
            outcome_bytes += slot.outcomes.iter().map(bytes).sum::<usize>();
            lanes.push((id, slot.outcomes.len()));
            progress.extend(slot.outcomes.drain(..).map(Progress::Attempt));
            let skipped = slot.lane.take_skipped();
            cursor_bytes += CURSOR_BYTES * skipped.len();
            let skipped = skipped.into_iter();
            progress.extend(skipped.map(|offset| Progress::Skipped(id, offset)));
            let cursor = slot.lane.cursor(self.routed);
            cursor_bytes += CURSOR_BYTES + cursor.settled.len() * size_of::<Offset>();
            batch_bytes = outcome_bytes + cursor_bytes;
            progress.push(Progress::Cursor(id, cursor));
        }
        if let Some((mark, after)) = self.flush.candidate
            && self.flush.popped >= after
            && self.flush.lost.is_empty()
        {
            self.flush.candidate = None;
            self.flush.mark = mark;
            progress.push(Progress::Mark(mark));
        }
        self.flush.recording = Some((lanes, outcome_bytes));
        if progress.is_empty() {
            // All lanes in the queue are gone.
            self.recorded(now);
            return None;
        }
        Some(progress)
    }

    pub(super) fn recorded(&mut self, now: Timestamp) {
        let Some((lanes, bytes)) = self.flush.recording.take() else {
            return;
        };
        self.flush.outcome_bytes = self.flush.outcome_bytes.saturating_sub(bytes);
        for (id, outcomes) in lanes {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.writing = false;
                self.tell(id, lane::Input::Recorded { outcomes }, now);
            }
        }
    }
}
