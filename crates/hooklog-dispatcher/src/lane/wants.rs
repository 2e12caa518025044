//! What a lane wants done now: an attempt, a page of the log, its parked deliveries.
//!
//! **Invariant:** nothing is wanted that would pass a bound of the lane, and what is handed out is
//! not wanted again before its answer is in. While the endpoint is down or asked to be left alone,
//! nothing goes out but one probe at a time and what a person forces.
//! **Next:** `lane/order.rs`.

use hooklog_storage::{Cause, Offset, Ordering, Retry, Timestamp, Trigger};

use super::order::Order;
use super::{Flight, Lane, Limits, Mode, Read, Start};
use crate::retries::is_asked;

/// An attempt that could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pick {
    from: From,
    is_probe: bool,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Parked(Offset),
    Queue(usize),
}

impl Lane {
    /// Whether one more attempt may be in flight at all.
    fn has_room(&self, limits: &Limits) -> bool {
        let most = match limits.ordering {
            Ordering::Fifo => 1,
            Ordering::None | Ordering::FifoByKey => self.pace.allowed(limits.concurrency),
        };
        !self.paused
            && !self.stopped
            && !self.awaits_load(limits)
            && self.in_flight.len() < most
            && self.in_flight.len() + self.unrecorded < limits.window
    }

    /// Whether [`start`](Self::start) has an attempt to make.
    pub(crate) fn is_ready(&self, now: Timestamp, limits: &Limits) -> bool {
        self.pick(now, limits).is_some()
    }

    /// The next attempt to make now.
    fn pick(&self, now: Timestamp, limits: &Limits) -> Option<Pick> {
        if !self.has_room(limits) || !self.throttle.has_token(limits.rate, now) {
            return None;
        }
        let order = self.order(limits.ordering);
        let open = self.breaker.open();
        let is_probing = self.is_probing();
        let may_go = |offset: &&Offset| {
            let retry = self.parked.get(**offset);
            retry.is_some_and(|retry| self.may_go(&order, **offset, retry))
        };
        if let Some(offset) = self.forced.iter().find(may_go).copied() {
            let (from, is_probe) = (From::Parked(offset), open.is_some() && !is_probing);
            return Some(Pick { from, is_probe });
        }
        if now < self.paused_until {
            return None;
        }
        let from = match open {
            Some(open) if is_probing || now < open.probe_at => None,
            Some(_) => self.candidate(order, now, limits),
            None => self.due(&order, now).map(From::Parked).or_else(|| {
                let index = self.first_in_queue(order, now, limits);
                index.map(From::Queue)
            }),
        };
        let is_probe = open.is_some();
        from.map(|from| Pick { from, is_probe })
    }

    /// The parked delivery to try now: retries that are due go first.
    fn due(&self, order: &Order, now: Timestamp) -> Option<Offset> {
        let may_go = |offset: &Offset| {
            let retry = self.parked.get(*offset);
            retry.is_some_and(|retry| self.may_go(order, *offset, retry))
        };
        self.parked.due(now).find(may_go)
    }

    /// The event to probe with: those that wait take turns, so that one that its receiver chokes on
    /// does not keep the breaker open.
    fn candidate(&self, order: Order, now: Timestamp, limits: &Limits) -> Option<From> {
        let waits = |(offset, retry): &(Offset, &Retry)| {
            (retry.cause == Cause::Endpoint || self.parked.is_due(*offset, now))
                && self.may_go(&order, *offset, retry)
        };
        let later = self.parked.from(self.probed.next()).find(waits);
        let any = later.or_else(|| self.parked.from(Offset::ZERO).find(waits));
        let parked = any.map(|(offset, _)| offset);
        let index = self.first_in_queue(order, now, limits);
        let queued = index.and_then(|index| self.queue.get(index));
        match (parked, queued.map(|queued| queued.record.offset)) {
            (Some(parked), Some(queued)) => {
                // Whichever comes first behind the last probe, and then from the start.
                let turn = |offset: Offset| (offset <= self.probed, offset);
                if turn(parked) < turn(queued) {
                    Some(From::Parked(parked))
                } else {
                    index.map(From::Queue)
                }
            }
            (Some(parked), None) => Some(From::Parked(parked)),
            (None, _) => index.map(From::Queue),
        }
    }

    fn is_probing(&self) -> bool {
        self.breaker.open().is_some() && self.in_flight.values().any(|flight| flight.is_probe)
    }

    /// Takes the next attempt to make now.
    pub(crate) fn start(&mut self, now: Timestamp, limits: &Limits) -> Option<Start> {
        let Pick { from, is_probe } = self.pick(now, limits)?;
        let (offset, record, retry, key) = match from {
            From::Parked(offset) => {
                let retry = self.parked.remove(offset)?;
                (offset, None, Some(retry), retry.key)
            }
            From::Queue(index) => {
                let queued = self.take(index)?;
                let offset = queued.record.offset;
                // It may have been asked for before its turn came.
                let retry = self.parked.remove(offset);
                self.ack.start(offset);
                (offset, Some(queued.record), retry, queued.key)
            }
        };
        let first = record.is_some();
        let flight = Flight {
            number: retry.map_or(0, |retry| retry.number),
            trigger: retry.map_or(Trigger::Scheduled, |retry| retry.trigger),
            counted: retry.map_or(0, |retry| retry.counted),
            // What was asked for waited for no time, whatever a clock says that was set back.
            due: retry
                .filter(|retry| !is_asked(retry))
                .map_or(now, |retry| retry.due),
            first,
            is_awaited: first || retry.is_some_and(|retry| retry.is_awaited),
            is_probe,
            is_skipped: false,
            key,
        };
        self.in_flight.insert(offset, flight);
        self.throttle.take(limits.rate, now);
        self.forced.remove(&offset);
        if is_probe {
            self.probed = offset;
        }
        self.skip_front(limits);
        Some(Start {
            offset,
            record,
            number: flight.number,
            trigger: flight.trigger,
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
        let bound = self.held() + self.in_flight.len() + self.queue.len();
        let items = limits
            .retries_max
            .saturating_sub(bound)
            .min(limits.queue_max.saturating_sub(self.queue.len()));
        let bytes = limits.queue_bytes_max - self.queue_bytes;
        let items = match self.breaker.open() {
            None => items,
            // A single one, if there is nothing else to probe with.
            Some(open) => {
                let wants_probe = now >= open.probe_at.max(self.paused_until)
                    && !self.is_probing()
                    && self.queue.is_empty()
                    && self
                        .candidate(self.order(limits.ordering), now, limits)
                        .is_none();
                items.min(usize::from(wants_probe))
            }
        };
        (items > 0).then_some(Read { from, items, bytes })
    }

    /// When the lane wants to be looked at again, if nothing happens before.
    pub(crate) fn wake(&self, now: Timestamp, limits: &Limits) -> Option<Timestamp> {
        let behind = matches!(self.mode, Mode::Behind { .. });
        let read = Some(self.read_after).filter(|_| behind);
        let pause = Some(self.paused_until);
        let probe = self.breaker.open().map(|open| open.probe_at);
        let wants_token = self.parked.len() > 0 || !self.queue.is_empty();
        let token = self.throttle.ready_at(limits.rate, now);
        let works = [
            self.parked.next_due(now),
            read,
            pause,
            probe,
            token.filter(|_| wants_token),
        ];
        let works = works.into_iter().flatten().filter(|_| !self.paused);
        // It is forgotten only when its bucket is full.
        let full = self.throttle.full_at(limits.rate, now);
        works.chain(full).filter(|at| *at > now).min()
    }
}
