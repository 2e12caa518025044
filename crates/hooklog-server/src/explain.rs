//! Why a message was or was not delivered, how far endpoints are behind, and what was given up.
//!
//! **Invariant:** everything is told from what is on record, by the code that decides it; one
//! request looks at a bounded number of endpoints and events.
//! **Next:** `health.rs`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    Attempt, AttemptId, AttemptSeq, AttemptsOf, Delivered, DeliveryStatus, DisableReason, EventLog,
    Health, Limit, Offset, Order, Outcome, ReadError, Record, Retry, Subscription, SubscriptionId,
    SubscriptionState, Timestamp,
};
use http::StatusCode;

use crate::attempt::numbers;
use crate::error::ApiError;
use crate::page::{self, PAGE_BYTES_MAX, PageRequest, Wanted};
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::state;
use crate::wire::{AttemptOut, LagOut, TraceOut, TraceStatus, time_text};

const GIVEN_UP: &str = "given up: the retries are exhausted, or the endpoint refused it for good; `resend` or `recover` sends it";
const SKIPPED: &str = "skipped by hand; `resend` or `recover` sends it";
const TOO_EARLY: &str =
    "published before the first message that the endpoint takes; `replay-missing` sends it";
const PASSED: &str = "passed over: the endpoint did not want it then, or the attempts of that time have \
                      expired; `replay-missing` sends it";

/// About what one endpoint takes in an answer.
const WEIGHT: usize = 1 << 10;
/// Events that a lag counts: two pages of a backlog; what is more is told as "at least".
const LAG: Limit = Limit {
    items: 1000,
    bytes: 8 << 20,
};

/// For every endpoint of the application: whether this message goes there, and where it stands.
pub(crate) async fn trace(call: Call) -> Answer {
    let record = call.event().await?;
    let page = PageRequest::<SubscriptionId>::parse_ordered(&call.query, Order::Descending)?;
    let application = call.application()?.id;
    let scan = {
        let registry = call.state.log.registry();
        let items = registry.subscriptions(application, page.range()).cloned();
        page.take(items, |_: &Arc<Subscription>| WEIGHT)
    };
    let list = page.list(scan, |value| value.id.to_string());
    let now = state::now();
    let told = {
        let subscriptions = list.data.clone();
        call.state.read(move |log| {
            let positions = log.positions(subscriptions.iter().map(|value| &**value))?;
            let values = subscriptions.iter().map(|value| &**value);
            let pairs = values.zip(positions);
            let statuses = log.statuses(&record, pairs.clone())?;
            let told = |((value, position), status): ((&Subscription, Offset), _)| {
                explain(log, value, position, &record, status, now)
            };
            let told = pairs.zip(statuses).map(told);
            told.collect::<Result<Vec<_>, ReadError>>()
        })
    };
    let mut told = told.await?.into_iter();
    let list = list.map(|value| TraceOut::new(value, told.next()));
    reply::json(StatusCode::OK, &list)
}

fn explain(
    log: &EventLog,
    subscription: &Subscription,
    position: Offset,
    record: &Record,
    status: DeliveryStatus,
    now: Timestamp,
) -> Result<TraceStatus, ReadError> {
    let offset = record.offset;
    let refusal = subscription.filter.explain(&record.event).err();
    let disabled = match subscription.state {
        SubscriptionState::Disabled { since, reason } => Some((since, reason)),
        SubscriptionState::Enabled => None,
    };
    let (word, why) = match (status.delivered, refusal, disabled) {
        (Delivered::Yes, ..) => ("delivered", "the endpoint took it".to_owned()),
        (Delivered::Failed, ..) if status.is_skipped => ("failed", SKIPPED.to_owned()),
        (Delivered::Failed, ..) => ("failed", GIVEN_UP.to_owned()),
        (Delivered::Never, ..) if status.is_skipped => ("missed", SKIPPED.to_owned()),
        (_, Some(refusal), _) if status.parked.is_none() => ("unwanted", refusal.to_string()),
        (_, _, Some((since, reason))) => {
            let (since, by) = (time_text(since), by(reason));
            (
                "waiting",
                format!("the endpoint is disabled since {since} {by}"),
            )
        }
        (Delivered::Pending, ..) if let Some(due) = status.delayed_until => {
            let due = time_text(due);
            ("waiting", format!("delayed until {due} by its publisher"))
        }
        (Delivered::Pending, ..) => {
            let health = log.health(subscription.id)?;
            let throttled = throttled(log, subscription, &health, position..offset, now)?;
            let held = held(&health, now) + &throttled;
            ("waiting", held + &waiting(status.parked, offset, position))
        }
        (Delivered::Never, ..) if offset < subscription.start => ("missed", TOO_EARLY.to_owned()),
        (Delivered::Never, ..) => ("missed", PASSED.to_owned()),
    };
    Ok(TraceStatus {
        status: word,
        why,
        next_attempt: status.next_attempt(),
    })
}

/// What holds up everything of an endpoint, if something does.
fn held(health: &Health, now: Timestamp) -> String {
    if let Some(until) = health.paused_until.filter(|until| *until > now) {
        let until = time_text(until);
        return format!("the endpoint asked to be left alone until {until}; ");
    }
    match (health.down_since, health.probe_at) {
        (Some(since), Some(at)) => {
            let (since, at) = (time_text(since), time_text(at));
            format!("the endpoint is down since {since}, and is tried with one event at {at}; ")
        }
        (Some(since), None) => format!("the endpoint is down since {}; ", time_text(since)),
        (None, _) => String::new(),
    }
}

/// What is said of an endpoint whose rate holds up the events of a range and those behind them.
fn throttled(
    log: &EventLog,
    subscription: &Subscription,
    health: &Health,
    range: Range<Offset>,
    now: Timestamp,
) -> Result<String, ReadError> {
    let id = subscription.application;
    let policy = {
        let registry = log.registry();
        let wider = registry.application(id).map(|value| value.policy.clone());
        subscription.policy.or(&wider.unwrap_or_default())
    };
    let (Some(since), Some(rate)) = (health.throttled_since, policy.throttle_rate) else {
        return Ok(String::new());
    };
    if range.is_empty() {
        let since = time_text(since);
        return Ok(format!("throttled to {rate} a second since {since}; "));
    }
    let page = log.read_application(id, range, Order::Ascending, LAG)?;
    let takes = |record: &&Record| subscription.filter.takes(&record.event);
    let count = page.records.iter().filter(takes).count();
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    let wait = Duration::from_millis(count.saturating_mul(1000) / u64::from(rate.get()));
    let (since, until) = (time_text(since), time_text(now.plus(wait)));
    let more = if page.rest.is_empty() {
        ""
    } else {
        "at least "
    };
    Ok(format!(
        "throttled to {rate} a second since {since}, with {more}{count} before it: until about {until}; "
    ))
}

fn waiting(parked: Option<Retry>, offset: Offset, position: Offset) -> String {
    if let Some(retry) = parked {
        let (number, due) = (u32::from(retry.number) + 1, time_text(retry.due));
        return format!("attempt {number} is due at {due}");
    }
    let behind = offset.get().saturating_sub(position.get());
    format!("not reached yet: the endpoint is {behind} places of the log behind it")
}

fn by(reason: DisableReason) -> &'static str {
    match reason {
        DisableReason::Owner => "by its owner",
        DisableReason::Gone => "because it answered 410 Gone",
        DisableReason::Failing => "because it gave nothing but failures",
    }
}

/// How far an endpoint is behind.
pub(crate) async fn lag(call: Call) -> Answer {
    let subscription = call.subscription()?;
    let told = call.state.read(move |log| {
        let standing = log.standings([&*subscription])?.pop();
        let Some(standing) = standing else {
            return Ok(None);
        };
        let range = standing.position..log.end();
        let places = range.end.get().saturating_sub(range.start.get());
        let application = subscription.application;
        let page = log.read_application(application, range, Order::Ascending, LAG)?;
        let health = log.health(subscription.id)?;
        let mut out = LagOut {
            cursor: standing.position.get(),
            places,
            messages: 0,
            bytes: 0,
            oldest: None,
            at_least: !page.rest.is_empty(),
            parked: standing.parked.len(),
            next_attempt: standing.parked.iter().map(|(_, retry)| retry.due).min(),
            failing_since: health.failing_since,
            down_since: health.down_since,
            probe_at: health.probe_at,
            paused_until: health.paused_until,
            throttled_since: health.throttled_since,
        };
        for record in &page.records {
            if subscription.filter.takes(&record.event) {
                out.messages += 1;
                out.bytes += record.event.payload.len();
                out.oldest = out.oldest.or(Some(record.timestamp));
            }
        }
        Ok::<_, ReadError>(Some(out))
    });
    let told = told.await?.ok_or(ApiError::NotFound)?;
    reply::json(StatusCode::OK, &told)
}

/// Deliveries of an endpoint that were given up and not asked for again: their last attempts, newest
/// first.
pub(crate) async fn dead_letters(call: Call) -> Answer {
    let page = PageRequest::<AttemptId>::parse(&call.query, Order::Descending)?;
    let content = call.content()?;
    let subscription = call.subscription()?;
    let request = page;
    let scan = call.state.read(move |log| {
        log.wait_applied();
        let of = AttemptsOf::Subscription(subscription.id);
        let read = |range: Range<AttemptSeq>, items| {
            let limit = Limit {
                items,
                bytes: PAGE_BYTES_MAX,
            };
            let read = log.attempts(of, range, request.order(), limit)?;
            Ok::<_, ReadError>((read.attempts, read.rest))
        };
        let wanted = |value: &Attempt| {
            if value.attempt.outcome != Outcome::Exhausted {
                return Ok(false);
            }
            let status = log.status_after(value, &subscription)?;
            Ok(status.delivered == Delivered::Failed)
        };
        let range = numbers(request.range());
        page::scan(request.limit, Wanted::Some, range, read, wanted)
    });
    let list = page.list(scan.await?, |value| value.id.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|value| AttemptOut::new(value, content)),
    )
}
