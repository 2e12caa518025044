//! What feeds a lane: records that the tail routes to it, pages of the log when it is behind.
//!
//! **Invariant:** every matching offset below [`Lane::next`] was started, settled, parked or skipped;
//! what does not fit into the queue stays in the log, and the lane is behind.
//! **Next:** `lane/command.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use hooklog_storage::{Offset, Ordering, Record};

use super::{Lane, Limits, Mode, Queued, order};

impl Lane {
    pub(super) fn routed(&mut self, record: Arc<Record>, limits: &Limits) {
        let Mode::Live { from } = self.mode else {
            return;
        };
        if record.offset < from {
            return;
        }
        let full = self.queue.len() >= limits.queue_max
            || self.queue_bytes >= limits.queue_bytes_max
            || self.held() >= limits.retries_max
            // One is enough to probe with.
            || (self.breaker.open().is_some() && !self.queue.is_empty());
        if full {
            self.mode = Mode::Behind {
                next: record.offset,
            };
        } else {
            self.push(record);
        }
    }

    /// What is in the queue stays there; this event and those behind it are read from the log.
    pub(super) fn unread(&mut self, offset: Offset) {
        if let Mode::Live { from } = self.mode
            && offset >= from
        {
            self.mode = Mode::Behind { next: offset };
        }
    }

    pub(super) fn page(&mut self, from: Offset, records: Vec<Arc<Record>>, next: Offset) {
        self.reading = false;
        // The lane may have stepped back (paused, or retry table full) since the page was asked for.
        if self.paused || self.mode != (Mode::Behind { next: from }) {
            return;
        }
        for record in records {
            self.push(record);
        }
        self.mode = Mode::Behind { next };
    }

    pub(super) fn push(&mut self, record: Arc<Record>) {
        self.queue_bytes += bytes(&record);
        let key = order::key_of(&record);
        self.queue.push_back(Queued { record, key });
    }

    pub(super) fn take(&mut self, index: usize) -> Option<Queued> {
        let queued = self.queue.remove(index)?;
        self.queue_bytes -= bytes(&queued.record);
        Some(queued)
    }

    pub(super) fn step_behind(&mut self, next: Offset) {
        self.mode = Mode::Behind { next };
        self.queue = VecDeque::new();
        self.queue_bytes = 0;
    }

    /// Behind and level with the tail is live.
    pub(super) fn level(&mut self, routed: Offset) {
        self.seen = self.seen.max(routed);
        if let Mode::Behind { next } = self.mode
            && next >= routed
            && !self.paused
        {
            self.mode = Mode::Live { from: next };
        }
    }

    /// Passes what needs no first attempt: settled before a restart, skipped, under way by hand, or
    /// parked. Where order counts, what was parked before its turn waits for it.
    pub(super) fn skip_front(&mut self, limits: &Limits) {
        let ordering = limits.ordering;
        while let Some(front) = self.queue.front() {
            let offset = front.record.offset;
            let parked = self.parked.get(offset);
            let is_skipped = parked.is_some_and(|retry| retry.is_skipped);
            let needs_none = self.ack.is_settled(offset)
                || self.is_in_flight(offset)
                || (parked.is_some() && (ordering == Ordering::None || is_skipped));
            // What is settled above a blocked head is bounded; the rest waits for the head.
            let fits = self.ack.is_settled(offset) || self.ack.may_start(limits.window);
            if !needs_none || !fits {
                break;
            }
            self.take(0);
            self.ack.settle(offset);
        }
        self.settle_skips();
    }

    /// Settles what was to be skipped and has had its turn.
    fn settle_skips(&mut self) {
        if self.skips.is_empty() {
            return;
        }
        let skips = std::mem::take(&mut self.skips);
        let (done, waiting) = skips.into_iter().partition(|at| self.is_passed(*at));
        self.skips = waiting;
        for offset in done {
            self.parked.remove(offset);
            self.skipped.push(offset);
        }
    }

    /// Whether an attempt of this offset is under way. What is asked for is above all that are, as a
    /// rule, and the highest is found at once.
    pub(super) fn is_in_flight(&self, offset: Offset) -> bool {
        let last = self.in_flight.last_key_value();
        last.is_some_and(|(last, _)| offset <= *last) && self.in_flight.contains_key(&offset)
    }

    /// Parked deliveries that are more than events in the log which were asked for before their turn.
    pub(super) fn held(&self) -> usize {
        let next = self.next(self.seen);
        let waiting = self
            .parked
            .from(next)
            .filter(|(at, _)| !self.is_passed(*at));
        self.parked.len() - waiting.count()
    }

    /// Whether the first attempt of this offset is not to be made from the queue any more.
    pub(super) fn is_passed(&self, offset: Offset) -> bool {
        offset < self.next(self.seen) || self.ack.is_settled(offset)
    }

    /// The lowest offset whose first attempt has not started.
    pub(super) fn next(&self, routed: Offset) -> Offset {
        match (self.queue.front(), self.mode) {
            (Some(front), _) => front.record.offset,
            (None, Mode::Behind { next }) => next,
            (None, Mode::Live { from }) => from.max(routed),
        }
    }
}

/// What a record in the queue costs: its payload, and about this much for the rest.
fn bytes(record: &Record) -> usize {
    const REST: usize = 256;
    record.event.payload.len() + REST
}
