//! What an attempt's end means: for its delivery, and for what is known of the endpoint.
//!
//! **Invariant:** an attempt that failed because of an endpoint that is known to be down burns
//! nothing: the schedule does not count it, and it is due when the endpoint is back. Whatever a
//! restart must know to keep this so is in [`Lane::health`].
//! **Next:** `lane/cursor.rs`.

use std::time::Duration;

use hooklog_storage::{Cause, DisableReason, Health, Offset, Outcome, Retry, Timestamp, Trigger};

use super::{Flight, Lane, Limits};
use crate::breaker::{Breaker, Failure, Open};
use crate::deliver::{Answer, Fault, Verdict};
use crate::rules::Rules;

/// The endpoint is gone for good (RFC 9110, 15.5.11).
const GONE: u16 = 410;
/// Statuses whose `Retry-After` speaks for the endpoint as a whole: RFC 6585, 4 and RFC 9110, 15.6.4.
const WAIT_STATUSES: [u16; 2] = [429, 503];

/// An attempt that ended at `now`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) answer: &'a Answer,
    pub(crate) rules: &'a Rules,
    /// The endpoint is still the one that was sent to.
    pub(crate) is_current: bool,
    pub(crate) now: Timestamp,
    /// A random number from 0 to 1, for the jitter.
    pub(crate) sample: f64,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) flight: Flight,
    pub(crate) outcome: Outcome,
    /// The subscription is to be disabled.
    pub(crate) disable: Option<DisableReason>,
}

/// A rate that has held something up for so long is told of: its bucket gives a token in less.
const THROTTLED_MIN: Duration = Duration::from_secs(1);

impl Lane {
    /// Judges the attempt of this offset, if it is in flight. The outcome is then to be told by
    /// [`Input::Finished`](super::Input::Finished).
    pub(crate) fn judge(
        &mut self,
        offset: Offset,
        ended: &Ended<'_>,
        limits: &Limits,
    ) -> Option<Judged> {
        let flight = *self.in_flight.get(&offset)?;
        let (outcome, disable) = match ended.answer.verdict {
            Verdict::Delivered => {
                self.failing_since = None;
                self.answered(flight, true, ended, limits);
                (Outcome::Delivered, None)
            }
            Verdict::Gone => {
                self.unclear(flight, ended);
                (Outcome::Exhausted, None)
            }
            Verdict::Failed => self.failed(offset, flight, ended, limits),
        };
        Some(Judged {
            flight,
            outcome,
            disable: disable.filter(|_| !std::mem::replace(&mut self.stopped, true)),
        })
    }

    fn failed(
        &mut self,
        offset: Offset,
        flight: Flight,
        ended: &Ended<'_>,
        limits: &Limits,
    ) -> (Outcome, Option<DisableReason>) {
        let Ended {
            answer,
            rules,
            now,
            sample,
            ..
        } = *ended;
        let fault = answer.fault.filter(|_| ended.is_current);
        let disable = fault.and_then(|_| self.disables(ended));
        let hint = answer.retry_after.and_then(|hint| hint.until(now));
        if let (Some(until), Some(status)) = (hint.filter(|_| ended.is_current), answer.status)
            && WAIT_STATUSES.contains(&status)
        {
            self.paused_until = self.paused_until.max(until);
            // A receiver that was too busy is not met with all that waited meanwhile.
            self.pace.recovered();
        }
        match fault {
            Some(Fault::Unreachable) if self.in_flight.len() == 1 => {
                self.endpoint_failed(Failure::Alone, offset, ended);
            }
            Some(Fault::Unreachable) => self.endpoint_failed(Failure::Unreachable, offset, ended),
            Some(Fault::Endpoint) => self.endpoint_failed(Failure::Answered, offset, ended),
            Some(Fault::Event) => self.answered(flight, false, ended, limits),
            None => self.unclear(flight, ended),
        }
        if flight.is_skipped {
            return (Outcome::Exhausted, disable);
        }
        let is_endpoints = matches!(fault, Some(Fault::Unreachable | Fault::Endpoint));
        let is_down = is_endpoints && self.breaker.open().is_some();
        // It was tried because the endpoint seemed to be back; its time by the schedule is to come.
        let is_early = is_endpoints && now < flight.due;
        let retry = Retry {
            number: flight.number.saturating_add(1),
            counted: flight.counted,
            due: now,
            trigger: Trigger::Scheduled,
            cause: if is_endpoints || disable.is_some() {
                Cause::Endpoint
            } else {
                Cause::Event
            },
            is_awaited: flight.is_awaited,
            key: flight.key,
            is_skipped: false,
        };
        if is_down || is_early || disable.is_some() {
            let due = hint.map_or(flight.due, |hint| hint.max(flight.due));
            return (Outcome::Retry(Retry { due, ..retry }), disable);
        }
        let gives_up = answer
            .status
            .is_some_and(|status| rules.give_up_statuses.contains(&status));
        let due = rules.schedule.due(flight.counted, now, sample);
        let outcome = match due.filter(|_| !gives_up) {
            None => Outcome::Exhausted,
            Some(due) => Outcome::Retry(Retry {
                counted: flight.counted.saturating_add(1),
                due: hint.map_or(due, |hint| hint.max(due)),
                ..retry
            }),
        };
        (outcome, disable)
    }

    /// Whether this failure is the last: the endpoint is gone, or has failed for too long.
    fn disables(&mut self, ended: &Ended<'_>) -> Option<DisableReason> {
        let since = *self.failing_since.get_or_insert(ended.now);
        let too_long = |limit| ended.now.since(since) >= limit;
        if ended.answer.status == Some(GONE) {
            return Some(DisableReason::Gone);
        }
        let is_failing = ended.rules.disable_after.is_some_and(too_long);
        is_failing.then_some(DisableReason::Failing)
    }

    fn endpoint_failed(&mut self, failure: Failure, offset: Offset, ended: &Ended<'_>) {
        let is_probe = self.in_flight.get(&offset).is_some_and(|f| f.is_probe);
        self.pace.failed(self.in_flight.len().saturating_sub(1));
        if failure != Failure::Answered {
            // It was not this event's fault, so the lowest is tried again: it is to arrive first.
            self.probed = Offset::MAX;
        }
        self.breaker
            .failed(failure, offset, is_probe, ended.now, ended.sample);
        self.forgiven &= self.breaker.open().is_none();
    }

    /// The endpoint works, whatever it says about this event.
    fn answered(&mut self, flight: Flight, is_success: bool, ended: &Ended<'_>, limits: &Limits) {
        if !ended.is_current {
            return;
        }
        let down = self.breaker.open();
        if self.breaker.answered(flight.is_probe, ended.now) {
            self.pace.recovered();
            self.parked.release();
            self.releasing = down.map(|open| open.since);
        } else if is_success {
            self.pace.succeeded(limits.concurrency);
        }
    }

    /// The attempt tells nothing about the endpoint.
    fn unclear(&mut self, flight: Flight, ended: &Ended<'_>) {
        if flight.is_probe {
            self.breaker.unclear(ended.now, ended.sample);
        }
    }

    /// What is known of the endpoint.
    pub(crate) fn health(&self, now: Timestamp) -> Health {
        let open = self.breaker.open();
        Health {
            failing_since: self.failing_since,
            // Until all that waited is on its way, a restart must release it again.
            down_since: open.map(|open| open.since).or(self.releasing),
            probe_at: open.map(|open| open.probe_at),
            paused_until: Some(self.paused_until).filter(|until| *until > now),
            throttled_since: self.throttled_since.filter(|since| {
                // What is over in a moment is not worth a row.
                now.since(*since) >= THROTTLED_MIN
            }),
        }
    }

    /// Takes note of whether the rate holds something up: from the first that has to wait until
    /// nothing waits any more.
    pub(crate) fn note_throttle(&mut self, now: Timestamp, limits: &Limits) {
        let token = self.throttle.ready_at(limits.rate, now);
        let is_down = self.paused || self.breaker.open().is_some() || now < self.paused_until;
        let waits = !self.queue.is_empty() || self.is_behind() || self.parked.is_due_any(now);
        if is_down || !waits || limits.rate.is_none() {
            self.throttled_since = None;
        } else if token.is_some() {
            self.throttled_since.get_or_insert(now);
        }
    }

    /// Goes on with what was known of the endpoint.
    pub(crate) fn adopt(&mut self, health: &Health) {
        let open = health.down_since.map(|since| Open {
            since,
            probe_at: health.probe_at.unwrap_or(since),
        });
        self.breaker = Breaker::restored(open);
        self.failing_since = health.failing_since;
        self.paused_until = health.paused_until.unwrap_or_default();
        self.throttled_since = health.throttled_since;
    }
}
