//! The breaker of one endpoint: opens when it is down, and tries one event at a time until it is back.
//!
//! ```text
//!            3 times no connection (once, if nothing else is under way),
//!            or half of 20 answers failed, over more than one event
//!   closed ─────────────────────────────────────────────► open ──┐ a probe fails: wait 1/20
//!      ▲                                                   │ ▲   │ of the time it was down,
//!      └──────────── a probe is answered ──────────────────┘ └───┘ 1 s to 30 s, ±20 %
//! ```
//!
//! **Invariant:** while it is open at most one probe is under way. One event that its receiver
//! chokes on does not open it: that needs failures of two events, or that nobody takes connections.
//! **Next:** `lane/judge.rs`, which tells it how attempts went.

use std::time::Duration;

use hooklog_storage::{Offset, Timestamp};

use crate::retries::earlier;

/// Connections in a row that failed: more would only burn attempts, fewer may be one lost packet.
const UNREACHABLE_MAX: u8 = 3;
/// Outcomes that are remembered.
const HISTORY: u32 = 20;
/// Failures among them that open it: half of what is remembered.
const FAILURES_MAX: u32 = 10;
/// First and longest time between probes (the issue: every second at first, growing to 30 s).
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(30);
/// The wait is this part of the time it was down: a return is noticed within a twentieth of the
/// outage, which leaves most of five seconds to deliver what came within twenty.
const PROBE_PART: u32 = 20;
/// One that goes down again so soon after it came back was not back: its probes stay rare, so that
/// one that works for half of its events is not sent the others every second.
const RELAPSE: Duration = Duration::from_mins(1);
/// So that endpoints that went down together are not tried together (as the schedule's).
const PROBE_JITTER: f64 = 0.2;

/// The longest time between two probes: a probe that is later than this was put down by a wrong clock.
pub(crate) const PROBE_LATEST: Duration = Duration::from_secs(36);

/// How an attempt failed because of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no connection, so it cannot have been the event; nor is another attempt under way
    /// that may tell otherwise.
    Alone,
    /// There was no connection.
    Unreachable,
    /// There was one; the event may have had its part in it.
    Answered,
}

/// Whether an endpoint is taken to be down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    open: Option<Open>,
    /// One bit for each of the last outcomes, set for a failure.
    history: u32,
    unreachable: u8,
    /// An event that failed, and whether another one did.
    failed: Option<Offset>,
    several: bool,
    /// Since when it was open last, and when it closed.
    last: Option<(Timestamp, Timestamp)>,
}

/// Since when it is open, and when the next probe may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) since: Timestamp,
    pub(crate) probe_at: Timestamp,
}

impl Breaker {
    /// A breaker as it was before a restart.
    pub(crate) fn restored(open: Option<Open>) -> Self {
        Self {
            open,
            ..Self::default()
        }
    }

    /// Since when it is open, if it is.
    pub(crate) fn open(&self) -> Option<Open> {
        self.open
    }

    /// The endpoint answered properly. Returns whether that closed the breaker: only a probe does,
    /// others may be late answers from before.
    pub(crate) fn answered(&mut self, is_probe: bool, now: Timestamp) -> bool {
        self.unreachable = 0;
        self.history = self.shifted();
        if self.history == 0 {
            (self.failed, self.several) = (None, false);
        }
        let Some(open) = self.open.filter(|_| is_probe) else {
            return false;
        };
        *self = Self {
            last: Some((open.since, now)),
            ..Self::default()
        };
        true
    }

    /// The endpoint failed at this event; `sample` is a random number from 0 to 1.
    pub(crate) fn failed(
        &mut self,
        failure: Failure,
        offset: Offset,
        is_probe: bool,
        now: Timestamp,
        sample: f64,
    ) {
        if let Some(open) = self.open {
            if is_probe {
                self.wait(open.since, now, sample);
            }
            return;
        }
        self.history = self.shifted() | 1;
        self.several |= self.failed.is_some_and(|failed| failed != offset);
        self.failed.get_or_insert(offset);
        self.unreachable = match failure {
            Failure::Alone => UNREACHABLE_MAX,
            Failure::Unreachable => self.unreachable.saturating_add(1),
            Failure::Answered => 0,
        };
        let often = self.history.count_ones() >= FAILURES_MAX && self.several;
        if often || self.unreachable >= UNREACHABLE_MAX {
            let last = self.last.filter(|(_, closed)| now.since(*closed) < RELAPSE);
            self.wait(last.map_or(now, |(since, _)| since), now, sample);
        }
    }

    /// The probe ended without telling anything about the endpoint.
    pub(crate) fn unclear(&mut self, now: Timestamp, sample: f64) {
        if let Some(open) = self.open {
            self.wait(open.since, now, sample);
        }
    }

    /// The clock was set back.
    pub(crate) fn set_back(&mut self, by: Duration) {
        if let Some(open) = &mut self.open {
            open.since = earlier(open.since, by);
            open.probe_at = earlier(open.probe_at, by);
        }
        if let Some((since, closed)) = &mut self.last {
            (*since, *closed) = (earlier(*since, by), earlier(*closed, by));
        }
    }

    fn wait(&mut self, since: Timestamp, now: Timestamp, sample: f64) {
        let wait = (now.since(since) / PROBE_PART).clamp(PROBE_MIN, PROBE_MAX);
        let factor = 1.0 + PROBE_JITTER * (2.0 * sample.clamp(0.0, 1.0) - 1.0);
        let probe_at = now.plus(wait.mul_f64(factor));
        self.open = Some(Open { since, probe_at });
    }

    fn shifted(&self) -> u32 {
        (self.history << 1) & ((1 << HISTORY) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Failure::{Answered, Unreachable};
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(0).plus(Duration::from_secs(seconds))
    }

    fn fail(breaker: &mut Breaker, failure: Failure, offset: u64) -> bool {
        breaker.failed(failure, Offset::new(offset), false, at(100), 0.5);
        breaker.open().is_some()
    }

    #[test]
    fn three_failed_connections_open_it_whatever_the_event() {
        let mut breaker = Breaker::default();
        assert!(!fail(&mut breaker, Unreachable, 1));
        assert!(!fail(&mut breaker, Unreachable, 1));
        breaker.answered(false, at(100));
        assert!(!fail(&mut breaker, Unreachable, 1));
        assert!(!fail(&mut breaker, Unreachable, 1));
        assert!(fail(&mut breaker, Unreachable, 1));
    }

    #[test]
    fn one_failed_connection_opens_it_if_nothing_else_can_tell() {
        let mut breaker = Breaker::default();
        assert!(fail(&mut breaker, Failure::Alone, 1));
    }

    #[test]
    fn one_event_that_its_receiver_chokes_on_does_not_open_it_and_two_do() {
        let mut breaker = Breaker::default();
        for _ in 0..50 {
            assert!(!fail(&mut breaker, Answered, 7));
        }
        assert!(fail(&mut breaker, Answered, 8));
        // A third of failures is not enough, half of them is.
        let mut breaker = Breaker::default();
        for offset in 0..60 {
            breaker.answered(false, at(100));
            breaker.answered(false, at(100));
            assert!(!fail(&mut breaker, Answered, offset));
        }
        let opened = (60..80).any(|offset| {
            breaker.answered(false, at(100));
            fail(&mut breaker, Answered, offset)
        });
        assert!(opened);
    }

    #[test]
    fn probes_come_every_second_at_first_and_every_thirty_at_last() {
        let mut breaker = Breaker::default();
        for offset in 0..3 {
            fail(&mut breaker, Unreachable, offset);
        }
        let (mut waits, mut now) = (Vec::new(), at(100));
        while now < at(1000) {
            let probe_at = breaker.open().unwrap().probe_at;
            waits.push(probe_at.since(now).as_millis());
            now = probe_at;
            // What began before it opened says nothing more.
            breaker.failed(Answered, Offset::ZERO, false, now, 0.5);
            assert!(!breaker.answered(false, now));
            breaker.failed(Answered, Offset::ZERO, true, now, 0.5);
        }
        assert_eq!(waits[..10], [1000; 10]);
        assert!(waits.is_sorted());
        assert_eq!(waits.last(), Some(&30_000));
        // After twenty seconds the return is noticed within two, jitter and all.
        let mut breaker = Breaker::restored(Some(Open {
            since: at(0),
            probe_at: at(0),
        }));
        breaker.failed(Unreachable, Offset::ZERO, true, at(20), 1.0);
        let wait = breaker.open().unwrap().probe_at.since(at(20));
        assert_eq!(wait, Duration::from_millis(1200));
        assert!(breaker.answered(true, at(20)));
        assert_eq!(breaker.open(), None);
        // A relapse goes on where it was; a later outage starts anew.
        for (seconds, wait) in [(40, 2), (300, 1)] {
            for offset in 0..3 {
                let offset = Offset::new(offset);
                breaker.failed(Unreachable, offset, false, at(seconds), 0.5);
            }
            let probe_at = breaker.open().unwrap().probe_at;
            assert_eq!(probe_at.since(at(seconds)), Duration::from_secs(wait));
            assert!(breaker.answered(true, at(seconds)));
        }
    }
}
