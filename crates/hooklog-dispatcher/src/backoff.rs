//! The schedule of retries: how long after a failed attempt the next one is due.
//!
//! **Invariant:** a due time lies within the jitter around the schedule's delay, and a schedule of
//! n delays gives a delivery exactly n attempts. The random sample and the time are passed in.
//! **Next:** `ack.rs`, which turns outcomes into a cursor.

use std::time::Duration;

use hooklog_storage::Timestamp;

/// Delays between the attempts of one delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    delays: Vec<Duration>,
    jitter: f64,
}

/// Most attempts of one delivery: their number is stored in 16 bits, and more help nobody.
pub const ATTEMPTS_LIMIT: usize = 1000;

/// Longest delay: the longest step in the field is a day; a month is surely a mistake in the unit.
pub const DELAY_LIMIT: Duration = Duration::from_hours(30 * 24);

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// No attempt at all.
    #[error("the schedule is empty, so nothing would ever be delivered")]
    Empty,
    /// The first entry stands for the first attempt, which is made at once.
    #[error("the first delay is {found:?}, but must be 0: the first attempt is made at once")]
    First {
        /// The delay found.
        found: Duration,
    },
    /// Too many attempts.
    #[error("the schedule has {found} delays, more than the limit of {limit}")]
    TooMany {
        /// Delays found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A delay is too long.
    #[error("delay number {number} is {found:?}, more than the limit of {limit:?}")]
    TooLong {
        /// Which one, from 0.
        number: usize,
        /// The delay found.
        found: Duration,
        /// The limit.
        limit: Duration,
    },
    /// The jitter is not a fraction.
    #[error("the jitter is {found}, but must be 0 to 1")]
    Jitter {
        /// The jitter found.
        found: f64,
    },
}

impl Schedule {
    /// A schedule of these delays, the first of which stands for the first attempt and is zero.
    /// Each delay varies by up to `jitter` of itself both ways.
    pub fn try_new(delays: Vec<Duration>, jitter: f64) -> Result<Self, ScheduleError> {
        let first = *delays.first().ok_or(ScheduleError::Empty)?;
        if !first.is_zero() {
            return Err(ScheduleError::First { found: first });
        }
        if delays.len() > ATTEMPTS_LIMIT {
            return Err(ScheduleError::TooMany {
                found: delays.len(),
                limit: ATTEMPTS_LIMIT,
            });
        }
        if let Some((number, found)) = delays.iter().enumerate().find(|(_, d)| **d > DELAY_LIMIT) {
            return Err(ScheduleError::TooLong {
                number,
                found: *found,
                limit: DELAY_LIMIT,
            });
        }
        // Written so that NaN is refused too.
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ScheduleError::Jitter { found: jitter });
        }
        Ok(Self { delays, jitter })
    }

    /// The delays.
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// The jitter.
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The longest that it can make anything wait.
    pub(crate) fn longest(&self) -> Duration {
        let longest = self.delays.iter().max().copied().unwrap_or_default();
        longest.mul_f64(1.0 + self.jitter.clamp(0.0, 1.0))
    }

    /// When the next attempt is due after the attempt that `number` others went before has failed
    /// at `now`; `None` if it was the last. `sample` is a random number from 0 to 1.
    pub(crate) fn due(&self, number: u16, now: Timestamp, sample: f64) -> Option<Timestamp> {
        let delay = *self.delays.get(usize::from(number).checked_add(1)?)?;
        let factor = 1.0 + self.jitter * (2.0 * sample.clamp(0.0, 1.0) - 1.0);
        // The factor is 0 to 2 and the delay at most a month, so this cannot overflow.
        Some(now.plus(delay.mul_f64(factor.clamp(0.0, 2.0))))
    }
}

impl Default for Schedule {
    /// The schedule that users of webhook senders know (about three and a half days), ±20 %.
    fn default() -> Self {
        let seconds = [
            0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
        ];
        Self {
            delays: seconds.map(Duration::from_secs).to_vec(),
            jitter: 0.2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_is_a_valid_schedule_of_ten_attempts() {
        let schedule = Schedule::default();
        let again = Schedule::try_new(schedule.delays().to_vec(), schedule.jitter());
        assert_eq!(again.as_ref(), Ok(&schedule));
        let now = Timestamp::from_millis(1000);
        let due: Vec<_> = (0..12).map_while(|n| schedule.due(n, now, 0.5)).collect();
        assert_eq!(due.len(), 9);
        assert_eq!(due[0].as_millis(), 6000);
        assert_eq!(due[8].as_millis(), 86_401_000);
        assert_eq!(schedule.due(u16::MAX, now, 0.5), None);
    }

    #[test]
    fn schedules_that_make_no_sense_are_refused() {
        let s = Duration::from_secs;
        let cases = [
            (vec![], 0.2, ScheduleError::Empty),
            (vec![s(1)], 0.2, ScheduleError::First { found: s(1) }),
            (
                vec![s(0); 1001],
                0.2,
                ScheduleError::TooMany {
                    found: 1001,
                    limit: 1000,
                },
            ),
            (
                vec![s(0), s(1 << 40)],
                0.2,
                ScheduleError::TooLong {
                    number: 1,
                    found: s(1 << 40),
                    limit: DELAY_LIMIT,
                },
            ),
            (vec![s(0)], 1.5, ScheduleError::Jitter { found: 1.5 }),
        ];
        for (delays, jitter, expected) in cases {
            assert_eq!(Schedule::try_new(delays, jitter), Err(expected));
        }
        assert!(Schedule::try_new(vec![s(0)], f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn due_stays_within_the_jitter(
            delay in 0_u64..10_000_000, jitter in 0.0_f64..=1.0, sample in -0.5_f64..=1.5,
            now in 0_i64..4_000_000_000_000,
        ) {
            let delays = vec![Duration::ZERO, Duration::from_millis(delay)];
            let schedule = Schedule::try_new(delays, jitter).unwrap();
            let now = Timestamp::from_millis(now);
            let after = schedule.due(0, now, sample).unwrap().since(now).as_secs_f64() * 1000.0;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let delay = delay as f64;
            prop_assert!(after >= delay * (1.0 - jitter) - 1.0);
            prop_assert!(after <= delay * (1.0 + jitter) + 1.0);
            prop_assert_eq!(schedule.due(1, now, sample), None);
        }
    }
}
