//! The pace of a lane: how many attempts at a time its endpoint bears.
//!
//! **Invariant:** at least one and at most what the policy says. It doubles with each round of
//! successes up to where it failed last, goes on by one a round above, and halves with a failure of
//! the endpoint (additive increase, multiplicative decrease). After a recovery it starts at one.
//! **Next:** `breaker.rs`.

/// Attempts at a time of a lane that nothing is known of: a receiver that hangs takes no more of the
/// budget that all share, and twelve successes later it is the default of sixteen.
const FIRST: usize = 4;

/// How many attempts at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    allowed: usize,
    /// Up to here it doubles.
    threshold: usize,
    /// Successes since the last step above the threshold.
    credit: usize,
    /// Attempts that were under way at the last cut and tell nothing new by failing.
    stale: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            allowed: FIRST,
            threshold: usize::MAX,
            credit: 0,
            stale: 0,
        }
    }
}

impl Pace {
    /// How many attempts may be in flight, of at most `most`.
    pub(crate) fn allowed(&self, most: usize) -> usize {
        self.allowed.min(most)
    }

    /// An attempt was answered as it should be.
    pub(crate) fn succeeded(&mut self, most: usize) {
        self.stale = self.stale.saturating_sub(1);
        if self.allowed < self.threshold {
            self.allowed += 1;
        } else {
            self.credit += 1;
            if self.credit >= self.allowed {
                (self.allowed, self.credit) = (self.allowed + 1, 0);
            }
        }
        self.allowed = self.allowed.min(most.max(1));
    }

    /// The endpoint failed, with `in_flight` further attempts under way.
    pub(crate) fn failed(&mut self, in_flight: usize) {
        if self.stale > 0 {
            self.stale -= 1;
            return;
        }
        self.allowed = (self.allowed / 2).max(1);
        self.threshold = self.allowed;
        self.credit = 0;
        self.stale = in_flight;
    }

    /// The endpoint is back.
    pub(crate) fn recovered(&mut self) {
        self.allowed = 1;
        self.threshold = usize::MAX;
        self.credit = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_once_a_round_and_grows_back() {
        let mut pace = Pace::default();
        for _ in 0..40 {
            pace.succeeded(16);
        }
        assert_eq!((pace.allowed(16), pace.allowed(3)), (16, 3));
        // All sixteen of a round fail: one cut. The next failure is news.
        for rest in (0..16).rev() {
            pace.failed(rest);
        }
        assert_eq!(pace.allowed(16), 8);
        pace.failed(0);
        assert_eq!(pace.allowed(16), 4);
        // Above where it failed it grows by one a round.
        for _ in 0..4 {
            pace.succeeded(16);
        }
        assert_eq!(pace.allowed(16), 5);
        for _ in 0..5 {
            pace.succeeded(16);
        }
        assert_eq!(pace.allowed(16), 6);
        pace.recovered();
        assert_eq!(pace.allowed(16), 1);
        // A slow start: each success lets two go where one went.
        for _ in 0..7 {
            pace.succeeded(16);
        }
        assert_eq!(pace.allowed(16), 8);
        for _ in 0..20 {
            pace.failed(0);
        }
        assert_eq!(pace.allowed(16), 1, "never none");
    }
}
