//! What a lane wants done now: an attempt, a page of the log, its parked deliveries.
//!
//! **Invariant:** nothing is wanted that would pass a bound of the lane, and what is handed out is
//! not wanted again before its answer is in.
//! **Next:** `lane/cursor.rs`.

use hooklog_storage::{Offset, Retry, Timestamp, Trigger};

use super::{Flight, Lane, Limits, Mode, Read, Start};

impl Lane {
    /// Whether one more attempt may be in flight at all.
    fn has_room(&self, limits: &Limits) -> bool {
        let draining = self.surplus && self.parked.len() <= limits.retries_max;
        !self.paused
            && !self.loading
            && !draining
            && self.in_flight.len() < limits.concurrency
            && self.in_flight.len() + self.unrecorded < limits.window
    }

    /// Whether the first attempt of the queue's front may start: if it fails it must fit into the
    /// retry table.
    fn may_start_first(&self, limits: &Limits) -> bool {
        !self.queue.is_empty()
            && self.parked.len() + self.in_flight.len() < limits.retries_max
            && self.ack.may_start(limits.window)
    }

    /// Whether [`start`](Self::start) has an attempt to make.
    pub(crate) fn is_ready(&self, now: Timestamp, limits: &Limits) -> bool {
        let due = self.parked.first_due().is_some_and(|due| due <= now);
        self.has_room(limits) && (due || self.may_start_first(limits))
    }

    /// The next attempt to make now: retries that are due go first.
    pub(crate) fn start(&mut self, now: Timestamp, limits: &Limits) -> Option<Start> {
        if !self.has_room(limits) {
            return None;
        }
        if let Some((
            offset,
            Retry {
                number, trigger, ..
            },
        )) = self.parked.pop_due(now)
        {
            self.in_flight.insert(
                offset,
                Flight {
                    number,
                    trigger,
                    first: false,
                },
            );
            return Some(Start {
                offset,
                record: None,
                number,
                trigger,
            });
        }
        if !self.may_start_first(limits) {
            return None;
        }
        let record = self.pop()?;
        let (offset, number, trigger) = (record.offset, 0, Trigger::Scheduled);
        self.ack.start(offset);
        self.in_flight.insert(
            offset,
            Flight {
                number,
                trigger,
                first: true,
            },
        );
        self.skip_front();
        Some(Start {
            offset,
            record: Some(record),
            number,
            trigger,
        })
    }

    /// The next page to read now, if the lane is behind and has room for what is in it.
    pub(crate) fn read(&mut self, now: Timestamp, routed: Offset, limits: &Limits) -> Option<Read> {
        let read = self.wants_read(now, routed, limits)?;
        self.reading = true;
        Some(read)
    }

    /// What [`read`](Self::read) would return.
    pub(crate) fn wants_read(
        &self,
        now: Timestamp,
        routed: Offset,
        limits: &Limits,
    ) -> Option<Read> {
        let Mode::Behind { next: from } = self.mode else {
            return None;
        };
        let low = self.queue.len() <= limits.queue_max / 2
            && self.queue_bytes <= limits.queue_bytes_max / 2;
        if self.paused || self.reading || from >= routed || now < self.read_after || !low {
            return None;
        }
        // No more than could fail and be parked: a dead endpoint must not make us read in vain.
        let bound = self.parked.len() + self.in_flight.len() + self.queue.len();
        let items = limits
            .retries_max
            .saturating_sub(bound)
            .min(limits.queue_max - self.queue.len());
        let bytes = limits.queue_bytes_max - self.queue_bytes;
        (items > 0).then_some(Read { from, items, bytes })
    }

    /// Whether the parked deliveries are to be loaded again now.
    pub(crate) fn load(&mut self, limits: &Limits) -> bool {
        let wants = self.wants_load(limits);
        self.loading |= wants;
        wants
    }

    /// What [`load`](Self::load) would return. Everything must be on record, or what is read could
    /// be older than what is known here.
    pub(crate) fn wants_load(&self, limits: &Limits) -> bool {
        self.surplus
            && !self.loading
            && self.in_flight.is_empty()
            && self.unrecorded == 0
            && self.parked.len() <= limits.retries_max
    }

    /// When the lane wants to be looked at again, if nothing happens before.
    pub(crate) fn wake(&self, now: Timestamp) -> Option<Timestamp> {
        let retry = self.parked.first_due();
        let behind = matches!(self.mode, Mode::Behind { .. });
        let read = Some(self.read_after).filter(|_| behind);
        retry
            .into_iter()
            .chain(read)
            .filter(|at| *at > now && !self.paused)
            .min()
    }
}
