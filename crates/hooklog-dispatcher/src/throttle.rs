//! The throttle of one endpoint: a token bucket.
//!
//! **Invariant:** within any second at most `rate` attempts and a burst of a tenth of it start. A
//! bucket that was made anew is full, so a restart adds one burst at most, and a lane is forgotten
//! only when its bucket is full. Time is passed in; one that goes back gives nothing
//! until somebody says that it was set back.
//! **Next:** `pace.rs`, how many attempts at a time.

use std::num::NonZeroU32;
use std::time::Duration;

use hooklog_storage::Timestamp;

use crate::retries::earlier;

/// The burst is this part of a second's worth (and at least one): what is asked for by the second
/// is to be met within each second, not on the average of two.
const BURSTS_A_SECOND: u64 = 10;
/// Parts of a token: so many milliseconds make a second, so `rate` parts come each millisecond.
const TOKEN: u64 = 1000;

/// Tokens that were taken, as a debt that time pays back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Throttle {
    /// Parts of tokens owed at `at`.
    debt: u64,
    at: Timestamp,
}

impl Throttle {
    /// Whether one more attempt may start now.
    pub(crate) fn has_token(&self, rate: Option<NonZeroU32>, now: Timestamp) -> bool {
        rate.is_none_or(|rate| self.debt_at(rate, now) + TOKEN <= burst(rate))
    }

    /// An attempt starts.
    pub(crate) fn take(&mut self, rate: Option<NonZeroU32>, now: Timestamp) {
        if let Some(rate) = rate {
            self.debt = self.debt_at(rate, now) + TOKEN;
            self.at = now;
        }
    }

    /// The clock was set back: what is owed is paid back as if it had not been.
    pub(crate) fn set_back(&mut self, by: Duration) {
        self.at = earlier(self.at, by);
    }

    /// When the next attempt may start; `None` if it may now.
    pub(crate) fn ready_at(&self, rate: Option<NonZeroU32>, now: Timestamp) -> Option<Timestamp> {
        let rate = rate.filter(|_| !self.has_token(rate, now))?;
        Some(self.paid_down_to(burst(rate) - TOKEN, rate, now))
    }

    /// When nothing is owed any more; `None` if that is so now.
    pub(crate) fn full_at(&self, rate: Option<NonZeroU32>, now: Timestamp) -> Option<Timestamp> {
        let rate = rate.filter(|rate| self.debt_at(*rate, now) > 0)?;
        Some(self.paid_down_to(0, rate, now))
    }

    fn paid_down_to(&self, debt: u64, rate: NonZeroU32, now: Timestamp) -> Timestamp {
        let over = self.debt_at(rate, now).saturating_sub(debt);
        now.plus(Duration::from_millis(over.div_ceil(u64::from(rate.get()))))
    }

    fn debt_at(&self, rate: NonZeroU32, now: Timestamp) -> u64 {
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let paid = passed.saturating_mul(u64::from(rate.get()));
        // Of a rate that was lowered meanwhile the debt must not last longer than a burst.
        self.debt.saturating_sub(paid).min(burst(rate))
    }
}

fn burst(rate: NonZeroU32) -> u64 {
    (u64::from(rate.get()) * TOKEN / BURSTS_A_SECOND).max(TOKEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the moments at which it is asked: no second holds more than its rate and a
        /// burst, and whoever waits as told is let through.
        #[test]
        fn no_second_holds_more_than_the_rate_and_a_burst(
            rate in 1_u32..3000, steps in prop::collection::vec(0_u64..400, 1..300),
        ) {
            let some = NonZeroU32::new(rate);
            let mut throttle = Throttle::default();
            let (mut now, mut taken) = (Timestamp::from_millis(1_000_000), Vec::new());
            for step in steps {
                now = now.plus(Duration::from_millis(step));
                for _ in 0..8 {
                    if throttle.has_token(some, now) {
                        prop_assert_eq!(throttle.ready_at(some, now), None);
                        throttle.take(some, now);
                        taken.push(now);
                    } else {
                        let at = throttle.ready_at(some, now).unwrap();
                        prop_assert!(at > now && throttle.has_token(some, at));
                    }
                }
            }
            if let Some(full) = throttle.full_at(some, now) {
                prop_assert!(full > now && throttle.full_at(some, full).is_none());
            }
            let most = usize::try_from(rate + (rate / 10).max(1)).unwrap();
            for (index, from) in taken.iter().enumerate() {
                let end = from.plus(Duration::from_secs(1));
                let within = taken[index..].iter().take_while(|at| **at < end).count();
                prop_assert!(within <= most, "{within} in a second at {rate}");
            }
        }
    }

    #[test]
    fn without_a_rate_nothing_waits_and_a_clock_set_back_gives_nothing() {
        let mut throttle = Throttle::default();
        let (rate, now) = (NonZeroU32::new(2), Timestamp::from_millis(10_000));
        assert!(throttle.has_token(None, now));
        throttle.take(rate, now);
        let before = Timestamp::from_millis(1_000);
        assert!(!throttle.has_token(rate, before));
        assert_eq!(
            throttle.ready_at(rate, before),
            Some(Timestamp::from_millis(1_500))
        );
    }
}
