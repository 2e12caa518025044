//! Which time ages are measured against: the wall clock, unless it jumped ahead.
//!
//! A clock that is wrong by years for a minute (a machine that boots before it has asked for the
//! time) must not expire everything in that minute. The monotonic clock says how much time has passed
//! since the open, and the newest event from when on.
//!
//! **Invariant:** what is believed is never later than the wall clock. It is at most [`TOLERANCE`]
//! later than what the monotonic clock says, unless the wall clock has said so for [`GRACE`]: that is
//! for how long a right clock can be doubted (after a long pause, or when the machine slept).
//! **Next:** `../plan/expire.rs`.

use std::time::{Duration, Instant};

use crate::time::Timestamp;

/// A clock may be so far ahead: more than daylight saving gone wrong or a restart takes, and less than
/// anybody keeps events for who would miss them.
const TOLERANCE: Duration = Duration::from_hours(1);
/// After this a clock is believed, whatever it says. Time services correct one within minutes.
const GRACE: Duration = Duration::from_hours(1);
/// A clock that is slewed goes at most 1/2000 faster (Linux and NTP: 500 ppm); twice that.
const SLEW: u32 = 1000;

/// What is known of the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeClock {
    /// A wall clock that was believed, and when.
    base: (Timestamp, Instant),
    /// Since when the wall clock is too far ahead.
    ahead_since: Option<Instant>,
}

impl AgeClock {
    /// At the open of a log whose newest event was committed at `newest`, if it ever had one.
    pub(crate) fn new(newest: Timestamp, wall: Timestamp, monotonic: Instant) -> Self {
        let is_new = newest == Timestamp::default();
        Self {
            base: (if is_new { wall } else { newest }, monotonic),
            ahead_since: None,
        }
    }

    /// The time to measure ages against.
    pub(crate) fn believed(&mut self, wall: Timestamp, monotonic: Instant) -> Timestamp {
        let (base, since) = self.base;
        let passed = monotonic.saturating_duration_since(since);
        let expected = base.plus(passed + passed / SLEW);
        if wall <= expected.plus(TOLERANCE) {
            self.ahead_since = None;
            return wall;
        }
        let ahead_since = *self.ahead_since.get_or_insert(monotonic);
        if monotonic.saturating_duration_since(ahead_since) < GRACE {
            return expected;
        }
        *self = Self {
            base: (wall, monotonic),
            ahead_since: None,
        };
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn minutes(count: u64) -> Duration {
        Duration::from_mins(count)
    }

    /// Looks at a clock: minutes since the open by the monotonic clock, minutes that the wall clock is
    /// ahead of the newest event, and what is believed of these.
    #[track_caller]
    fn check(what: &str, looks: &[(u64, u64, u64)]) {
        let start = Instant::now();
        let mut clock = AgeClock::new(NEWEST, NEWEST.plus(minutes(looks[0].1)), start);
        for (at, wall, expected) in looks {
            let believed = clock.believed(NEWEST.plus(minutes(*wall)), start + minutes(*at));
            let believed = believed.since(NEWEST);
            // Slewing makes minutes of days.
            let slew = minutes(*at) / SLEW;
            let (least, most) = (minutes(*expected), minutes(*expected) + slew);
            assert!(
                (least..=most).contains(&believed),
                "{what} at {at}: {believed:?}, not {least:?}"
            );
        }
    }

    const YEAR: u64 = 60 * 24 * 365;
    const DAY: u64 = 60 * 24;

    #[test]
    fn a_clock_that_jumped_ahead_is_believed_after_a_while_or_when_it_is_back() {
        check("steady", &[(0, 0, 0), (30, 30, 30), (DAY, DAY, DAY)]);
        check("a short pause", &[(0, 59, 59), (5, 64, 64)]);
        check(
            "slewed for months",
            &[(0, 0, 0), (100 * DAY, 100 * DAY + 70, 100 * DAY + 70)],
        );
        check(
            "a jump that is corrected",
            &[(0, 0, 0), (10, YEAR, 10), (40, YEAR + 30, 40), (60, 60, 60)],
        );
        check(
            "a jump that stays",
            &[
                (0, 0, 0),
                (10, YEAR, 10),
                (69, YEAR + 59, 69),
                (70, YEAR + 60, YEAR + 60),
                (71, YEAR + 61, YEAR + 61),
            ],
        );
        check(
            "a jump that is corrected begins anew",
            &[(0, 0, 0), (10, YEAR, 10), (60, 60, 60), (75, YEAR, 75)],
        );
        check(
            "opened with a clock that is ahead, or after a long pause",
            &[(0, DAY, 0), (59, DAY + 59, 59), (60, DAY + 60, DAY + 60)],
        );
        check("many small jumps", &[(0, 50, 50), (1, 110, 1)]);
        check("set back", &[(0, 50, 50), (100, 3, 3), (110, 13, 13)]);
    }

    #[test]
    fn a_log_without_events_has_nothing_to_doubt_the_clock_by() {
        let start = Instant::now();
        let mut clock = AgeClock::new(Timestamp::default(), NEWEST, start);
        assert_eq!(clock.believed(NEWEST, start), NEWEST);
    }
}
