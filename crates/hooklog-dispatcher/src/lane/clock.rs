//! Times that a lane waits for, when the clock that says them is wrong.
//!
//! **Invariant:** after a clock was set back nothing waits longer than it would have, and what is read
//! of a time when the clock was ahead waits no longer than anything ever does.
//! **Next:** `cursor.rs`.

use std::time::Duration;

use hooklog_storage::{Health, Offset, Retry, Timestamp};

use super::Lane;
use crate::breaker::PROBE_LATEST;
use crate::retries::{earlier, is_asked};
use crate::retry_after::WAIT_MAX;
use crate::rules::Rules;

impl Lane {
    /// The clock was set back.
    pub(crate) fn set_back(&mut self, by: Duration) {
        self.parked.set_back(by);
        self.breaker.set_back(by);
        self.throttle.set_back(by);
        for flight in self.in_flight.values_mut() {
            flight.due = earlier(flight.due, by);
        }
        let since = [
            &mut self.throttled_since,
            &mut self.failing_since,
            &mut self.releasing,
        ];
        let since = since.into_iter().flatten();
        for at in since.chain([&mut self.read_after, &mut self.paused_until]) {
            *at = earlier(*at, by);
        }
    }
}

/// What is known of an endpoint, as far as it can be true at `now`.
pub(crate) fn believed(health: &Health, now: Timestamp) -> Health {
    let latest = |at: Option<Timestamp>, most| at.map(|at| at.min(now.plus(most)));
    Health {
        failing_since: latest(health.failing_since, Duration::ZERO),
        down_since: latest(health.down_since, Duration::ZERO),
        probe_at: latest(health.probe_at, PROBE_LATEST),
        paused_until: latest(health.paused_until, WAIT_MAX),
        throttled_since: latest(health.throttled_since, Duration::ZERO),
    }
}

/// Rows of the log, none of which is due later than a schedule or an endpoint can have asked for.
pub(crate) fn bound(rows: &mut [(Offset, Retry)], rules: &Rules, now: Timestamp) {
    let latest = now.plus(rules.schedule.longest().max(WAIT_MAX));
    for (_, row) in rows.iter_mut().filter(|(_, row)| !is_asked(row)) {
        row.due = row.due.min(latest);
    }
}
