//! What people ask of single deliveries, and what a change of the subscription means.
//!
//! **Invariant:** the log has written down what was asked before the lane hears of it, so whatever
//! does not fit here is found there again.
//! **Next:** `lane/wants.rs`.

use hooklog_storage::{Offset, Retry, Timestamp, Trigger};

use super::{Lane, Limits};
use crate::breaker::Breaker;

impl Lane {
    /// One more delivery of an event.
    pub(super) fn redeliver(&mut self, offset: Offset, asked: Timestamp, limits: &Limits) {
        if let Some(flight) = self.in_flight.get_mut(&offset) {
            // The one under way is the one asked for; told as such, it takes the log's row away.
            flight.trigger = Trigger::Manual;
            return;
        }
        let old = self.parked.get(offset).copied();
        if old.is_none() && !self.fits(limits) {
            return;
        }
        self.skips.remove(&offset);
        let asked = Retry::asked(asked);
        self.park(
            offset,
            old.map_or(asked, |old| Retry {
                is_awaited: old.is_awaited,
                key: old.key,
                ..asked
            }),
        );
    }

    /// The first delivery of an event that had to wait for its time. From now on it is in its place:
    /// before all that came after it and has not started.
    pub(super) fn released(&mut self, offset: Offset, retry: Retry, limits: &Limits) {
        // Somebody asked for it before its time, and the log has left it at that.
        if self.holds(offset) {
            return;
        }
        // While there are rows in the log alone, that request may be one of them.
        if self.surplus {
            self.missed(offset);
        } else if self.fits(limits) {
            self.park(offset, retry);
        }
    }

    /// Settles a delivery: at once, when its attempt ends, or when its turn comes.
    pub(super) fn skip(&mut self, offset: Offset, limits: &Limits) {
        if let Some(flight) = self.in_flight.get_mut(&offset) {
            flight.is_skipped = true;
            return;
        }
        let old = self.parked.remove(offset);
        self.forced.remove(&offset);
        if old.is_none() && !self.is_passed(offset) && !self.fits(limits) {
            return;
        }
        let is_skipped = true;
        let retry = old.unwrap_or_else(|| Retry::asked(Timestamp::default()));
        self.park(
            offset,
            Retry {
                is_skipped,
                ..retry
            },
        );
    }

    /// Makes a parked delivery due, and lets it pass whatever else it waits for.
    pub(super) fn retry_now(&mut self, offset: Offset, asked: Timestamp) {
        let Some(retry) = self.parked.get(offset).copied() else {
            // If the log alone has it, what is being loaded may be older than that.
            self.load_again |= self.loading;
            return;
        };
        let due = retry.due.min(asked);
        self.parked.insert(offset, Retry { due, ..retry });
        self.forced.insert(offset);
    }

    /// Whether this delivery is in flight or parked here.
    pub(crate) fn holds(&self, offset: Offset) -> bool {
        self.in_flight.contains_key(&offset) || self.parked.contains(offset)
    }

    /// Whether one more can be parked here; else it waits in the log.
    fn fits(&mut self, limits: &Limits) -> bool {
        let fits = self.parked.len() < limits.retries_max * 2;
        if !fits {
            self.surplus = true;
            self.load_again = self.loading;
        }
        fits
    }

    /// The registry has spoken.
    pub(super) fn changed(&mut self, is_forgiven: bool) {
        self.stopped = false;
        if is_forgiven {
            self.breaker = Breaker::default();
            self.failing_since = None;
            self.paused_until = Timestamp::default();
            self.parked.release();
            self.forgiven = true;
        }
    }
}
