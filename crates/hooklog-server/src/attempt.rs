//! Attempts: by message, by endpoint, one.
//!
//! **Invariant:** as `message.rs`; newest first, and with `after` alone the oldest of them, newest
//! first.
//! **Next:** `health.rs`.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::time::Duration;

use bytes::Bytes;
use hooklog_storage::{
    Attempt, AttemptId, AttemptSeq, AttemptsOf, EventLog, Limit, Offset, Order, ReadError, Record,
    SubscriptionId, Timestamp,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::message::{EventFilter, Window};
use crate::page::{self, PAGE_BYTES_MAX, PageRequest, Scan, Wanted};
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{AttemptOut, Issue, status};

/// Longest time from an attempt's start to its record: far above its timeout and what the log may
/// keep it waiting for.
const RECORDED_WITHIN: Duration = Duration::from_hours(1);

pub(crate) async fn get(call: Call) -> Answer {
    let value = find_one(&call).await?;
    reply::json(StatusCode::OK, &AttemptOut::new(&value, call.content()?))
}

/// The attempt in the path.
pub(crate) async fn find_one(call: &Call) -> Result<Attempt, ApiError> {
    let event = call.event().await?.id;
    let id: AttemptId = call
        .part("attempt")?
        .parse()
        .map_err(|_| ApiError::NotFound)?;
    let found = call.state.read(move |log| log.attempt(id)).await?;
    found
        .filter(|value| value.attempt.event == event)
        .ok_or(ApiError::NotFound)
}

pub(crate) async fn list_by_event(call: Call) -> Answer {
    let record = call.event().await?;
    // Older SDKs name the endpoint in the path.
    let named = call.part("endpoint").ok();
    let subscription = match named.or(call.query.text("endpoint_id")) {
        None => None,
        // Attempts outlive their endpoint, so an id need not be known any more.
        Some(text) => Some(match text.parse() {
            Ok(id) => id,
            Err(_) => call.subscription_of(text)?.id,
        }),
    };
    let filter = AttemptFilter::parse(&call.query, subscription)?;
    let events = EventFilter::parse(&call.query)?;
    if !events.matches(&record) {
        let none = Scan {
            found: Vec::new(),
            reached: None,
            more: false,
        };
        let page = filter
            .window
            .first_page(PageRequest::parse(&call.query, Order::Descending)?);
        return answer(&call, page, none, &Messages::new());
    }
    list(call, AttemptsOf::Event(record.offset), filter, None).await
}

pub(crate) async fn list_by_subscription(call: Call) -> Answer {
    let subscription = call.subscription()?.id;
    let filter = AttemptFilter::parse(&call.query, None)?;
    let events = EventFilter::parse(&call.query)?;
    let events = Some(events).filter(|events| !events.takes_all());
    list(call, AttemptsOf::Subscription(subscription), filter, events).await
}

async fn list(
    call: Call,
    of: AttemptsOf,
    filter: AttemptFilter,
    events: Option<EventFilter>,
) -> Answer {
    let page = PageRequest::<AttemptId>::parse(&call.query, Order::Descending)?;
    let page = filter.window.first_page(page);
    let find = move |log: &EventLog| {
        let scan = find(log, of, &page, &filter, events.as_ref())?;
        let messages = if filter.with_message {
            messages(log, &scan.found)?
        } else {
            Messages::new()
        };
        Ok::<_, ReadError>((scan, messages))
    };
    let (scan, messages) = call.state.read(find).await?;
    answer(&call, page, scan, &messages)
}

/// Messages by their offsets, without payloads.
type Messages = BTreeMap<Offset, Record>;

/// What the attempts were about, as far as it has not expired.
fn messages(log: &EventLog, attempts: &[Attempt]) -> Result<Messages, ReadError> {
    let mut messages = Messages::new();
    for value in attempts {
        let event = value.attempt.event;
        if messages.contains_key(&event.offset()) {
            continue;
        }
        if let Some(mut record) = log.get(event)? {
            // A page of payloads would be up to half a gigabyte, and none of it is shown.
            record.event.payload = Bytes::new();
            messages.insert(record.offset, record);
        }
    }
    Ok(messages)
}

fn answer(
    call: &Call,
    page: PageRequest<AttemptId>,
    scan: Scan<Attempt, AttemptId>,
    messages: &Messages,
) -> Answer {
    let content = call.content()?;
    let list = page.list(scan, |value| value.id.to_string());
    let shown = list.map(|value| {
        let message = messages.get(&value.attempt.event.offset());
        AttemptOut::new(value, content).with_message(message)
    });
    reply::json(StatusCode::OK, &shown)
}

fn find(
    log: &EventLog,
    of: AttemptsOf,
    request: &PageRequest<AttemptId>,
    filter: &AttemptFilter,
    events: Option<&EventFilter>,
) -> Result<Scan<Attempt, AttemptId>, ReadError> {
    let read = |range, items| {
        let limit = Limit {
            items,
            bytes: PAGE_BYTES_MAX,
        };
        let page = log.attempts(of, range, request.order(), limit)?;
        Ok((page.attempts, page.rest))
    };
    let keep = |value: &Attempt| {
        if !filter.matches(value) {
            return Ok(false);
        }
        let Some(events) = events else {
            return Ok(true);
        };
        Ok(log
            .get(value.attempt.event)?
            .is_some_and(|record| events.matches(&record)))
    };
    let range = within(log, of, numbers(request.range()), filter.window)?;
    let wanted = if filter.takes_all() && events.is_none() {
        Wanted::All
    } else {
        Wanted::Some
    };
    page::scan(request.limit, wanted, range, read, keep)
}

/// The part of `range` that attempts of `window` can be in. Numbers are given when an attempt is
/// recorded, at most `RECORDED_WITHIN` after it started, so what lies outside can be told from few.
pub(crate) fn within(
    log: &EventLog,
    of: AttemptsOf,
    mut range: Range<AttemptSeq>,
    window: Window,
) -> Result<Range<AttemptSeq>, ReadError> {
    if window.after.is_none() && window.before.is_none() {
        return Ok(range);
    }
    let one = |range, order| -> Result<Option<Attempt>, ReadError> {
        let limit = Limit {
            items: 1,
            bytes: PAGE_BYTES_MAX,
        };
        let page = log.attempts(of, range, order, limit)?;
        Ok(page.attempts.into_iter().next())
    };
    let Some(last) = one(range.clone(), Order::Descending)? else {
        return Ok(range.start..range.start);
    };
    range.end = range.end.min(last.id.seq().next());
    // The first number not below which all are `early`.
    let search = |mut range: Range<AttemptSeq>, early: &dyn Fn(Timestamp) -> bool| {
        while range.start < range.end {
            let middle = range.start.plus(range.end.since(range.start) / 2);
            match one(middle..range.end, Order::Ascending)? {
                Some(value) if early(value.attempt.started) => range.start = value.id.seq().next(),
                Some(_) | None => range.end = middle,
            }
        }
        Ok::<_, ReadError>(range.start)
    };
    if let Some(after) = window.after {
        range.start = search(range.clone(), &|start| start.plus(RECORDED_WITHIN) < after)?;
    }
    if let Some(before) = window.before {
        let end = before.plus(RECORDED_WITHIN);
        range.end = search(range.clone(), &|start| start < end)?;
    }
    Ok(range)
}

/// Ids of attempts carry their numbers.
pub(crate) fn numbers(ids: (Bound<AttemptId>, Bound<AttemptId>)) -> Range<AttemptSeq> {
    let start = match ids.0 {
        Bound::Unbounded => AttemptSeq::ZERO,
        Bound::Included(id) => id.seq(),
        Bound::Excluded(id) => id.seq().next(),
    };
    let end = match ids.1 {
        Bound::Unbounded => AttemptSeq::MAX,
        Bound::Included(id) => id.seq().next(),
        Bound::Excluded(id) => id.seq(),
    };
    start..end
}

/// Which attempts a list wants, by what they say themselves.
#[derive(Debug)]
struct AttemptFilter {
    status: Option<u16>,
    /// Hundreds; 0 stands for no answer.
    status_code_class: Option<u16>,
    subscription: Option<SubscriptionId>,
    window: Window,
    /// Whether each is shown with its message.
    with_message: bool,
}

impl AttemptFilter {
    fn parse(query: &Query, subscription: Option<SubscriptionId>) -> Result<Self, ApiError> {
        // `expanded_statuses`, which SDKs send unasked, adds a status that no attempt of ours has.
        let status = query.number("status")?;
        // 1 (pending) and 3 (sending) are never said of an attempt that was made: no match.
        if status.is_some_and(|status| status > 4) {
            return Err(Issue::query("status", "must be 0 to 4").into());
        }
        let status_code_class = query.number("status_code_class")?;
        if status_code_class.is_some_and(|class| class > 500 || class % 100 != 0) {
            let message = "must be 0, 100, 200, 300, 400 or 500";
            return Err(Issue::query("status_code_class", message).into());
        }
        Ok(Self {
            status,
            status_code_class,
            subscription,
            window: Window::parse(query)?,
            with_message: query.flag("with_msg")?.unwrap_or(false),
        })
    }

    fn takes_all(&self) -> bool {
        self.status.is_none()
            && self.status_code_class.is_none()
            && self.subscription.is_none()
            && self.window.after.is_none()
            && self.window.before.is_none()
    }

    fn matches(&self, value: &Attempt) -> bool {
        let attempt = &value.attempt;
        let class = attempt.status_code.unwrap_or(0) / 100 * 100;
        let Window { after, before } = self.window;
        self.status
            .is_none_or(|wanted| wanted == status(attempt.outcome))
            && self.status_code_class.is_none_or(|wanted| wanted == class)
            && self
                .subscription
                .is_none_or(|wanted| wanted == attempt.subscription)
            && after.is_none_or(|after| attempt.started >= after)
            && before.is_none_or(|before| attempt.started < before)
    }
}
