//! The cursor of a lane, and whether the lane can be forgotten.
//!
//! **Invariant:** a cursor's floor passes nothing that is neither settled nor parked, and a lane is
//! forgotten only when what is on record brings back all of it.
//! **Next:** `board.rs`, which records it.

use hooklog_storage::{Cursor, CursorState, Offset, Timestamp};

use super::{Lane, Limits, Mode};

impl Lane {
    /// The cursor to record, when the tail stands at `routed`.
    pub(crate) fn cursor(&mut self, routed: Offset) -> Cursor {
        let (state, floor) = self.stands(routed);
        self.row = Some((state, floor));
        Cursor {
            floor,
            settled: self.ack.settled_above(floor),
            state,
        }
    }

    /// Whether a cursor must be recorded now: it says that something is outstanding and nothing
    /// is, or the lane is paused and could not be forgotten otherwise.
    pub(crate) fn cursor_is_wrong(&self) -> bool {
        let is_behind = matches!(self.row, Some((CursorState::Behind, _)));
        is_behind == self.is_caught_up() && (is_behind || self.paused)
    }

    /// Whether a cursor must be recorded before the dispatcher's mark passes what is outstanding,
    /// or would spare a restart some reading.
    pub(crate) fn cursor_is_stale(&self, routed: Offset) -> bool {
        let (state, floor) = self.stands(routed);
        match self.row {
            // The mark speaks for lanes that are level with it.
            None | Some((CursorState::CaughtUp, _)) => state == CursorState::Behind,
            Some((CursorState::Behind, old)) => state == CursorState::CaughtUp || floor != old,
        }
    }

    /// Whether nothing would be lost by forgetting the lane, once its cursor is on record.
    pub(crate) fn is_quiet(&self, now: Timestamp, limits: &Limits) -> bool {
        let at_rest = self.in_flight.is_empty()
            && self.unrecorded == 0
            && !self.reading
            && !self.stopped
            && self.skipped.is_empty()
            && self.throttle.full_at(limits.rate, now).is_none();
        let nothing_parked = self.parked.len() == 0 && !self.surplus;
        let on_record = !self.cursor_is_wrong();
        at_rest
            && !self.loading
            && on_record
            && (self.paused || (nothing_parked && self.is_caught_up()))
    }

    /// Deliveries that were skipped and are not on record as such.
    pub(crate) fn take_skipped(&mut self) -> Vec<Offset> {
        std::mem::take(&mut self.skipped)
    }

    /// Whether there are any.
    pub(crate) fn has_skipped(&self) -> bool {
        !self.skipped.is_empty()
    }

    /// Whether it reads the log for itself, whatever the tail brings.
    pub(crate) fn is_behind(&self) -> bool {
        matches!(self.mode, Mode::Behind { .. })
    }

    /// Bytes in the queue.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    fn stands(&self, routed: Offset) -> (CursorState, Offset) {
        let state = if self.is_caught_up() {
            CursorState::CaughtUp
        } else {
            CursorState::Behind
        };
        (state, self.ack.floor(self.next(routed)))
    }

    fn is_caught_up(&self) -> bool {
        matches!(self.mode, Mode::Live { .. })
            && !self.paused
            && self.queue.is_empty()
            && self.ack.is_clear()
    }
}

/// What the simulation looks at.
#[cfg(test)]
impl Lane {
    pub(crate) fn is_down(&self) -> bool {
        self.breaker.open().is_some()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn probes(&self) -> usize {
        let probes = self.in_flight.values().filter(|flight| flight.is_probe);
        probes.count()
    }

    pub(crate) fn is_probe(&self, offset: Offset) -> bool {
        self.in_flight
            .get(&offset)
            .is_some_and(|flight| flight.is_probe)
    }

    pub(crate) fn is_awaited(&self, offset: Offset) -> bool {
        self.in_flight
            .get(&offset)
            .is_some_and(|flight| flight.is_awaited)
    }

    pub(crate) fn counted(&self, offset: Offset) -> Option<u16> {
        self.in_flight.get(&offset).map(|flight| flight.counted)
    }
}
