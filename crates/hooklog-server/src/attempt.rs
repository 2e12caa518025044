//! Attempts: by message, by endpoint, one.
//!
//! **Invariant:** as `message.rs`; newest first.
//! **Next:** `health.rs`.

use std::ops::{Bound, Range};

use hooklog_storage::{
    Attempt, AttemptId, AttemptSeq, AttemptsOf, EventLog, Limit, Order, ReadError, SubscriptionId,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::message::{EventFilter, Window};
use crate::page::{self, PAGE_BYTES_MAX, PageRequest, Scan};
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{AttemptOut, Issue, status};

pub(crate) async fn get(call: Call) -> Answer {
    let event = call.event().await?.id;
    let id: AttemptId = call
        .part("attempt")?
        .parse()
        .map_err(|_| ApiError::NotFound)?;
    let found = call.state.read(move |log| log.attempt(id)).await?;
    let value = found
        .filter(|value| value.attempt.event == event)
        .ok_or(ApiError::NotFound)?;
    reply::json(StatusCode::OK, &AttemptOut::new(&value, call.content()?))
}

pub(crate) async fn list_by_event(call: Call) -> Answer {
    let record = call.event().await?;
    let subscription = match call.query.text("endpoint_id") {
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
        let page = PageRequest::parse(&call.query, Order::Descending)?;
        return answer(&call, page, none);
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
    let find = move |log: &EventLog| find(log, of, &page, &filter, events.as_ref());
    let scan = call.state.read(find).await?;
    answer(&call, page, scan)
}

fn answer(call: &Call, page: PageRequest<AttemptId>, scan: Scan<Attempt, AttemptId>) -> Answer {
    let content = call.content()?;
    let list = page.list(scan, |value| value.id.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|value| AttemptOut::new(value, content)),
    )
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
    page::scan(request.limit, numbers(request.range()), read, keep)
}

/// Ids of attempts carry their numbers.
fn numbers(ids: (Bound<AttemptId>, Bound<AttemptId>)) -> Range<AttemptSeq> {
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
}

impl AttemptFilter {
    fn parse(query: &Query, subscription: Option<SubscriptionId>) -> Result<Self, ApiError> {
        // `expanded_statuses`, which SDKs send unasked, adds a status that no attempt of ours has.
        query.refuse(&["tag", "with_msg"])?;
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
        })
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
