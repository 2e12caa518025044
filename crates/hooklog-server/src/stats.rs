//! How many messages an endpoint got, has failed for good, or is to get again; and how many attempts
//! that took.
//!
//! **Invariant:** each message counts once, by its last attempt; at most `ATTEMPTS_MAX` attempts are
//! looked at, and a range that has more is refused rather than counted in part.
//! **Next:** `example.rs`.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use hooklog_storage::{
    Attempt, AttemptSeq, AttemptsOf, Delivered, EventLog, Limit, Offset, Order, Outcome, ReadError,
    Subscription, SubscriptionId, Timestamp,
};
use http::StatusCode;

use crate::attempt;
use crate::error::ApiError;
use crate::message::Window;
use crate::page::PAGE_BYTES_MAX;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::state;
use crate::wire::{AttemptStatsOut, StatsOut};

/// Longest range, with some minutes for clocks that differ (the API family's).
const RANGE_MAX: Duration = Duration::from_hours(28 * 24);
const LEEWAY: Duration = Duration::from_mins(5);
/// Attempts read at a time: a few batches.
const ATTEMPTS_AT_A_TIME: usize = 1_000;
/// Most attempts that are looked at for one answer: half a second of reading, and 4 MB of offsets seen.
const ATTEMPTS_MAX: usize = 250_000;

/// Of the messages of a range.
pub(crate) async fn get(call: Call) -> Answer {
    let ((_, range), subscription) = (asked(&call)?, call.subscription()?);
    let count = move |log: &EventLog| count(log, &subscription, &range, ATTEMPTS_MAX);
    reply::json(StatusCode::OK, &call.state.read(count).await?)
}

/// Of the attempts of a range.
pub(crate) async fn of_attempts(call: Call) -> Answer {
    let (id, range) = asked(&call)?;
    let count = move |log: &EventLog| count_attempts(log, id, &range, ATTEMPTS_MAX);
    reply::json(StatusCode::OK, &call.state.read(count).await?)
}

fn asked(call: &Call) -> Result<(SubscriptionId, Range<Timestamp>), ApiError> {
    let (since, until) = (call.query.time("since")?, call.query.time("until")?);
    Ok((call.subscription()?.id, range(since, until, state::now())?))
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

/// Looks at `most` attempts at most, and refuses to count in part.
fn count(
    log: &EventLog,
    subscription: &Subscription,
    range: &Range<Timestamp>,
    most: usize,
) -> Result<StatsOut, ApiError> {
    // No attempt comes before its message; one may come long after the range.
    let window = Window {
        after: Some(range.start),
        before: None,
    };
    let mut stats = StatsOut::default();
    let mut seen: HashSet<Offset> = HashSet::new();
    log.wait_applied();
    let is_all = visit(log, subscription.id, window, most, |value| {
        let event = value.attempt.event;
        if range.contains(&event.timestamp()) && seen.insert(event.offset()) {
            let delivered = match value.attempt.outcome {
                Outcome::Delivered => Delivered::Yes,
                Outcome::Exhausted => Delivered::Failed,
                // It may have been skipped since.
                Outcome::Retry(_) => log.status_after_last(value, subscription)?.delivered,
            };
            match delivered {
                Delivered::Yes => stats.success += 1,
                Delivered::Pending => stats.pending += 1,
                Delivered::Failed | Delivered::Never => stats.fail += 1,
            }
        }
        Ok(())
    })?;
    // A shorter range would not help if it ended earlier.
    is_all.then_some(stats).ok_or_else(|| {
        invalid_range(format!(
            "There were more than {most} attempts after `since`, and those after `until` had to be \
             looked at too, since a message may be sent again at any time; ask for a later `since`, \
             or for the attempts of the range (`attempt-stats`)"
        ))
    })
}

/// The same of the attempts alone.
fn count_attempts(
    log: &EventLog,
    id: SubscriptionId,
    range: &Range<Timestamp>,
    most: usize,
) -> Result<AttemptStatsOut, ApiError> {
    let window = Window {
        after: Some(range.start),
        before: Some(range.end),
    };
    let mut stats = AttemptStatsOut::default();
    let is_all = visit(log, id, window, most, |value| {
        if range.contains(&value.attempt.started) {
            match value.attempt.outcome {
                Outcome::Delivered => stats.success += 1,
                Outcome::Retry { .. } | Outcome::Exhausted => stats.fail += 1,
            }
        }
        Ok(())
    })?;
    is_all.then_some(stats).ok_or_else(|| {
        invalid_range(format!(
            "The range has more than {most} attempts; ask for a shorter one"
        ))
    })
}

/// Shows the attempts of about a window, the newest first; says whether those were all.
fn visit(
    log: &EventLog,
    id: SubscriptionId,
    window: Window,
    most: usize,
    mut show: impl FnMut(&Attempt) -> Result<(), ReadError>,
) -> Result<bool, ApiError> {
    let of = AttemptsOf::Subscription(id);
    let mut numbers = attempt::within(log, of, AttemptSeq::ZERO..AttemptSeq::MAX, window)?;
    let limit = Limit {
        items: ATTEMPTS_AT_A_TIME.min(most),
        bytes: PAGE_BYTES_MAX,
    };
    let mut looked = 0;
    while !numbers.is_empty() {
        if looked >= most {
            return Ok(false);
        }
        let page = log.attempts(of, numbers, Order::Descending, limit)?;
        if page.attempts.is_empty() {
            break;
        }
        numbers = page.rest;
        looked += page.attempts.len();
        page.attempts.iter().try_for_each(&mut show)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use hooklog_storage::{
        Appended, Endpoint, Event, Filter, Format, NewApplication, NewAttempt, NewSubscription,
        Ordering, Policy, Progress, SecretKey, Trigger,
    };

    use super::*;

    async fn subscription(log: &EventLog) -> Arc<Subscription> {
        let application = NewApplication {
            organisation: crate::DEFAULT_ORGANISATION.parse().expect("an id"),
            uid: None,
            name: "a".to_owned(),
            metadata: BTreeMap::new(),
            policy: Policy::default(),
        };
        let application = log.create_application(application).await.expect("is made");
        let new = NewSubscription {
            application: application.id,
            uid: None,
            description: String::new(),
            endpoint: Endpoint {
                url: "http://a/".into(),
                secret: SecretKey::new(vec![1; 24]),
                old_secrets: Vec::new().into(),
                headers: Vec::new().into(),
                format: Format::Payload,
            },
            filter: Filter::default(),
            is_enabled: true,
            metadata: BTreeMap::new(),
            ordering: Ordering::None,
            policy: Policy::default(),
            start: None,
        };
        log.create_subscription(new).await.expect("is made")
    }

    /// Somebody who asked for an hour of last week was told to ask for less, whatever they asked for.
    #[tokio::test]
    async fn the_refusal_says_what_helps() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = hooklog_storage::Config::new(directory.path().join("data"));
        settings.journal_segment_bytes = 8 << 20;
        let log = EventLog::open(settings).expect("opens");
        let subscription = subscription(&log).await;
        let event = Event::new(
            subscription.application,
            "x".parse().expect("a name"),
            Bytes::new(),
        );
        let appended = log.append(vec![event]).await.expect("is appended");
        let Some(Appended::Committed { id, .. }) = appended.into_iter().next() else {
            panic!("it is there");
        };
        let hour =
            |hours: i64| Timestamp::from_millis(id.timestamp().as_millis() + hours * 3_600_000);
        let attempt = |hours| {
            Progress::Attempt(NewAttempt {
                event: id,
                subscription: subscription.id,
                url: "http://a/".into(),
                number: 0,
                started: hour(hours),
                duration: Duration::from_millis(1),
                status_code: Some(200),
                response: String::new(),
                outcome: Outcome::Delivered,
                trigger: Trigger::Scheduled,
            })
        };
        // One within the first hour, and more after it.
        let attempts = [0, 2, 2, 2].map(attempt).to_vec();
        log.record(attempts).await.expect("is recorded");
        let (first, all) = (hour(0)..hour(1), hour(0)..hour(3));
        for (range, most, expected, of_attempts) in [
            (&first, 4, Ok(1), Ok(1)),
            (&all, 4, Ok(1), Ok(4)),
            (&first, 3, Err("a later `since`"), Ok(1)),
            (
                &all,
                3,
                Err("a later `since`"),
                Err("ask for a shorter one"),
            ),
        ] {
            let counted = count(&log, &subscription, range, most);
            check(counted.map(|stats| stats.success), expected);
            let counted = count_attempts(&log, subscription.id, range, most);
            check(counted.map(|stats| stats.success), of_attempts);
        }
    }

    #[track_caller]
    fn check<N: Copy + PartialEq + From<u8>>(
        found: Result<N, ApiError>,
        expected: Result<u8, &str>,
    ) {
        match (found, expected) {
            (Ok(found), Ok(count)) => assert!(found == N::from(count)),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, expected) => panic!("{} for {expected:?}", found.is_ok()),
        }
    }

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
