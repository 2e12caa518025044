//! How many messages an endpoint got, has failed for good, or is to get again.
//!
//! **Invariant:** each message counts once, by its last attempt; at most `ATTEMPTS_MAX` attempts are
//! looked at, and a range that has more is refused rather than counted in part.
//! **Next:** `example.rs`.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use hooklog_storage::{
    AttemptSeq, AttemptsOf, Delivered, EventLog, Limit, Offset, Order, Outcome, Subscription,
    Timestamp,
};
use http::StatusCode;

use crate::attempt;
use crate::error::ApiError;
use crate::message::Window;
use crate::page::PAGE_BYTES_MAX;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::state;
use crate::wire::StatsOut;

/// Longest range, with some minutes for clocks that differ (the API family's).
const RANGE_MAX: Duration = Duration::from_hours(28 * 24);
const LEEWAY: Duration = Duration::from_mins(5);
/// Attempts read at a time: a few batches.
const ATTEMPTS_AT_A_TIME: usize = 1_000;
/// Most attempts of one answer: half a second of reading, and 4 MB of offsets seen.
const ATTEMPTS_MAX: usize = 250_000;

pub(crate) async fn get(call: Call) -> Answer {
    let subscription = call.subscription()?;
    let range = range(
        call.query.time("since")?,
        call.query.time("until")?,
        state::now(),
    )?;
    let counted = call
        .state
        .read(move |log| count(log, &subscription, &range))
        .await?;
    let stats = counted.ok_or_else(|| {
        let detail =
            format!("The range has more than {ATTEMPTS_MAX} attempts; ask for a shorter one");
        invalid_range(detail)
    })?;
    reply::json(StatusCode::OK, &stats)
}

fn invalid_range(detail: String) -> ApiError {
    ApiError::Refused {
        code: "invalid_range",
        detail,
    }
}

/// From `since` to `until`; the last four weeks where they say nothing.
fn range(
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Range<Timestamp>, ApiError> {
    let until = until.unwrap_or(now);
    let weeks_before = until
        .as_millis()
        .saturating_sub(i64::try_from(RANGE_MAX.as_millis()).unwrap_or(i64::MAX));
    let since = since.unwrap_or(Timestamp::from_millis(weeks_before));
    let refused = |detail: &str| Err(invalid_range(detail.to_owned()));
    if since > until {
        return refused("`since` is after `until`");
    }
    if until > now.plus(LEEWAY) {
        return refused("`until` is in the future");
    }
    if until.since(since) > RANGE_MAX + LEEWAY {
        return refused("The range is longer than 28 days");
    }
    Ok(since..until)
}

/// `None` if there are too many attempts to count.
fn count(
    log: &EventLog,
    subscription: &Subscription,
    range: &Range<Timestamp>,
) -> Result<Option<StatsOut>, ApiError> {
    let of = AttemptsOf::Subscription(subscription.id);
    // No attempt comes before its message; one may come long after the range.
    let window = Window {
        after: Some(range.start),
        before: None,
    };
    let mut numbers = attempt::within(log, of, AttemptSeq::ZERO..AttemptSeq::MAX, window)?;
    let limit = Limit {
        items: ATTEMPTS_AT_A_TIME,
        bytes: PAGE_BYTES_MAX,
    };
    let (mut stats, mut looked) = (StatsOut::default(), 0);
    let mut seen: HashSet<Offset> = HashSet::new();
    while !numbers.is_empty() {
        if looked >= ATTEMPTS_MAX {
            return Ok(None);
        }
        let page = log.attempts(of, numbers, Order::Descending, limit)?;
        if page.attempts.is_empty() {
            break;
        }
        numbers = page.rest;
        looked += page.attempts.len();
        for attempt in page.attempts {
            let event = attempt.attempt.event;
            if !range.contains(&event.timestamp()) || !seen.insert(event.offset()) {
                continue;
            }
            match attempt.attempt.outcome {
                Outcome::Delivered => stats.success += 1,
                Outcome::Exhausted => stats.fail += 1,
                // It may have been skipped since.
                Outcome::Retry(_) => {
                    match log.status_after_last(&attempt, subscription)?.delivered {
                        Delivered::Yes => stats.success += 1,
                        Delivered::Pending => stats.pending += 1,
                        Delivered::Failed | Delivered::Never => stats.fail += 1,
                    }
                }
            }
        }
    }
    Ok(Some(stats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_at_most_four_weeks_and_not_in_the_future() {
        let at = |minutes: i64| Timestamp::from_millis(1_790_000_000_000 + minutes * 60_000);
        let weeks = 28 * 24 * 60;
        let cases = [
            (None, None, Ok((-weeks, 0))),
            (Some(-10), None, Ok((-10, 0))),
            (None, Some(-10), Ok((-10 - weeks, -10))),
            (Some(-5 - weeks), Some(0), Ok((-5 - weeks, 0))),
            (Some(-6 - weeks), Some(0), Err("longer")),
            (Some(1), Some(0), Err("after")),
            (None, Some(5), Ok((5 - weeks, 5))),
            (None, Some(6), Err("future")),
        ];
        for (since, until, expected) in cases {
            let found = range(since.map(at), until.map(at), at(0));
            match (found, expected) {
                (Ok(found), Ok((start, end))) => assert_eq!(found, at(start)..at(end)),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
                (found, expected) => panic!("{found:?} for {expected:?}"),
            }
        }
    }
}
