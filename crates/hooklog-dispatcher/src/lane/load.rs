//! What of the lane's deliveries is parked in the log alone: when it is loaded, and what becomes of it.
//!
//! **Invariant:** nothing is loaded before everything is on record, and nothing starts while that goes
//! on, so what is read is never older than what is known here. At most twice the retry table is held.
//! **Next:** `scan.rs`, which of them are wanted.

use hooklog_storage::{Cause, Offset, Retry, Timestamp};

use super::scan::{Found, Scan};
use super::{Lane, Limits};
use crate::retries::Retries;

impl Lane {
    /// What is parked is loaded again, once everything is on record.
    pub(super) fn missed(&mut self, offset: Offset) {
        if !self.holds(offset) {
            self.surplus = true;
            self.load_again = self.loading;
        }
    }

    /// The log may have anything parked, and what is parked here may have been changed there.
    pub(super) fn unheard(&mut self) {
        (self.surplus, self.unsure) = (true, true);
    }

    /// Whether nothing starts until what is parked was loaded.
    pub(super) fn awaits_load(&self, limits: &Limits) -> bool {
        self.loading || self.surplus && (self.unsure || self.parked.len() <= limits.retries_max)
    }

    /// Whether the parked deliveries are to be loaded (again) now.
    pub(crate) fn load(&mut self, limits: &Limits) -> bool {
        let wants = self.wants_load(limits);
        self.loading |= wants;
        if wants && std::mem::take(&mut self.unsure) {
            // All of it is in the log, as it is by now.
            self.parked = Retries::default();
            self.skips.clear();
        }
        wants
    }

    /// What [`load`](Self::load) would return. Everything must be on record, or what is read could
    /// be older than what is known here.
    pub(crate) fn wants_load(&self, limits: &Limits) -> bool {
        self.awaits_load(limits)
            && !self.loading
            && !self.paused
            && self.in_flight.is_empty()
            && self.unrecorded == 0
            && self.skipped.is_empty()
    }

    /// A look at the log for what is to be loaded.
    pub(crate) fn scan(&self, now: Timestamp, limits: &Limits) -> Scan {
        Scan::new(limits.ordering, now, limits.retries_max * 2, self.resume)
    }

    pub(super) fn loaded(&mut self, found: Found, limits: &Limits) {
        if !std::mem::take(&mut self.loading) {
            return;
        }
        let again = std::mem::take(&mut self.load_again);
        self.surplus = again || found.is_more || self.unsure;
        self.resume = found.resume;
        for (offset, retry) in found.rows {
            if self.holds(offset) {
                continue;
            }
            if self.parked.len() >= limits.retries_max * 2 {
                self.surplus = true;
                break;
            }
            self.park(offset, retry);
        }
        let parked = &self.parked;
        self.forced.retain(|offset| parked.contains(*offset));
    }

    /// Takes in a row of the log.
    pub(super) fn park(&mut self, offset: Offset, mut retry: Retry) {
        let is_passed = self.is_passed(offset);
        if retry.is_skipped && is_passed {
            self.skipped.push(offset);
            return;
        }
        // An event that was asked for before its turn came is not settled.
        retry.is_awaited |= !is_passed;
        if retry.is_skipped {
            self.skips.insert(offset);
        }
        self.parked.insert(offset, retry);
        if (self.releasing.is_some() || self.forgiven) && retry.cause == Cause::Endpoint {
            self.parked.release_one(offset);
        }
    }
}
