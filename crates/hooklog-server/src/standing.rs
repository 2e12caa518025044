//! What became of events at endpoints: the messages of an endpoint, the endpoints of a message.
//!
//! An attempt and the retry that it asks for are one entry of the log, so the last attempt tells
//! whether a delivery succeeded, failed for good, or waits. Without an attempt it is pending if the
//! endpoint takes the event and has not come so far; else it is none of the endpoint's.
//!
//! **Invariant:** as `message.rs`; of one event at most `ATTEMPTS_MAX` attempts are looked at.
//! **Next:** `stats.rs`.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use hooklog_storage::{
    Attempt, AttemptSeq, AttemptsOf, EventId, EventLog, Limit, Offset, Order, Outcome, ReadError,
    Record, Subscription, SubscriptionId,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::message::{self, EventFilter, Window};
use crate::page::{self, PAGE_BYTES_MAX, PageRequest, Scan, Wanted};
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{EndpointMessageOut, Issue, MessageEndpointOut, Standing};

/// Attempts read at a time.
const ATTEMPTS_AT_A_TIME: usize = 256;
/// Attempts of one event that are looked at: 500 endpoints with all ten attempts of the default
/// schedule.
const ATTEMPTS_MAX: usize = 5_000;

/// Messages that the endpoint got or is to get, newest first, with what became of them.
pub(crate) async fn messages(call: Call) -> Answer {
    let page = PageRequest::<EventId>::parse(&call.query, Order::Descending)?;
    let window = Window::parse(&call.query)?;
    let filter = EventFilter::parse(&call.query)?;
    let status = status(&call.query)?;
    let (content, page) = (call.content()?, window.first_page(page));
    let subscription = call.subscription()?;
    let scan = call.state.read(move |log| {
        let wanted = Messages {
            subscription: &subscription,
            window,
            filter: &filter,
            status,
        };
        wanted.find(log, &page)
    });
    let list = page.list(scan.await?, |(record, _)| record.id.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|(record, standing)| EndpointMessageOut::new(record, *standing, content)),
    )
}

/// Endpoints that got the message or are to get it, newest first, with what became of it.
pub(crate) async fn endpoints(call: Call) -> Answer {
    let page = PageRequest::<SubscriptionId>::parse(&call.query, Order::Descending)?;
    let record = call.event().await?;
    let scan = call
        .state
        .read(move |log| endpoints_of(log, &record, &page))
        .await?;
    let list = page.list(scan, |(value, _)| value.id.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|(value, standing)| MessageEndpointOut::new(value, *standing)),
    )
}

/// The status that a list is asked for.
fn status(query: &Query) -> Result<Option<u16>, ApiError> {
    let status = query.number("status")?;
    if status.is_some_and(|status| status > 4) {
        return Err(Issue::query("status", "must be 0 to 4").into());
    }
    Ok(status)
}

/// Which messages of an endpoint are wanted.
struct Messages<'a> {
    subscription: &'a Subscription,
    window: Window,
    filter: &'a EventFilter,
    status: Option<u16>,
}

impl Messages<'_> {
    fn find(
        &self,
        log: &EventLog,
        request: &PageRequest<EventId>,
    ) -> Result<Scan<(Record, Standing), EventId>, ReadError> {
        let id = self.subscription.id;
        let floor = floor(log, id)?;
        let mut standings: HashMap<Offset, Standing> = HashMap::new();
        let keep = |record: &Record| -> Result<bool, ReadError> {
            if !self.filter.matches(record) {
                return Ok(false);
            }
            let standing = match last_attempt(log, record.offset, id)? {
                Some(attempt) => Standing::from(attempt.attempt.outcome),
                None if is_awaited(self.subscription, record, floor) => Standing::AWAITED,
                None => return Ok(false),
            };
            let is_wanted = self.status.is_none_or(|status| status == standing.status());
            if is_wanted {
                standings.insert(record.offset, standing);
            }
            Ok(is_wanted)
        };
        let range = message::offsets_within(log, request, self.window)?;
        let application = self.subscription.application;
        let read = |range, items| {
            let limit = Limit {
                items,
                bytes: PAGE_BYTES_MAX,
            };
            let page = log.read_application(application, range, request.order(), limit)?;
            Ok((page.records, page.rest))
        };
        let scan = page::scan(request.limit, Wanted::Some, range, read, keep)?;
        let found = scan.found.into_iter().map(|record| {
            let standing = standings.remove(&record.offset);
            (record, standing.unwrap_or(Standing::AWAITED))
        });
        Ok(Scan {
            found: found.collect(),
            reached: scan.reached,
            more: scan.more,
        })
    }
}

fn endpoints_of(
    log: &EventLog,
    record: &Record,
    request: &PageRequest<SubscriptionId>,
) -> Result<Scan<(Arc<Subscription>, Standing), SubscriptionId>, ReadError> {
    let mut outcomes: HashMap<SubscriptionId, Outcome> = HashMap::new();
    newest_first(log, AttemptsOf::Event(record.offset), |attempt| {
        let attempt = attempt.attempt;
        outcomes
            .entry(attempt.subscription)
            .or_insert(attempt.outcome);
        ControlFlow::Continue(())
    })?;
    let candidates: Vec<_> = {
        let registry = log.registry();
        let all = registry.subscriptions(record.event.application, request.range());
        let wanted =
            |value: &&Arc<Subscription>| outcomes.contains_key(&value.id) || takes(value, record);
        all.filter(wanted).cloned().collect()
    };
    let waiting: Vec<_> = candidates
        .iter()
        .map(|value| value.id)
        .filter(|id| !outcomes.contains_key(id))
        .collect();
    let floors = if waiting.is_empty() {
        Vec::new()
    } else {
        log.floors(&waiting)?
    };
    let floors: HashMap<_, _> = waiting.into_iter().zip(floors).collect();
    let standing = |value: Arc<Subscription>| {
        let standing = match (outcomes.get(&value.id), floors.get(&value.id)) {
            (Some(outcome), _) => Standing::from(*outcome),
            (None, Some(floor)) if record.offset >= *floor => Standing::AWAITED,
            (None, _) => return None,
        };
        Some((value, standing))
    };
    let all = candidates.into_iter().filter_map(standing);
    Ok(request.take(all, |_| 0))
}

fn takes(subscription: &Subscription, record: &Record) -> bool {
    record.offset >= subscription.start && subscription.filter.takes(&record.event)
}

/// Whether the subscription will get an event that it got no attempt of so far.
fn is_awaited(subscription: &Subscription, record: &Record, floor: Offset) -> bool {
    record.offset >= floor && takes(subscription, record)
}

fn floor(log: &EventLog, id: SubscriptionId) -> Result<Offset, ReadError> {
    let floors = log.floors(&[id])?;
    Ok(floors.first().copied().unwrap_or_default())
}

/// The last attempt of an event at a subscription.
fn last_attempt(
    log: &EventLog,
    offset: Offset,
    subscription: SubscriptionId,
) -> Result<Option<Attempt>, ReadError> {
    let mut found = None;
    newest_first(log, AttemptsOf::Event(offset), |attempt| {
        if attempt.attempt.subscription != subscription {
            return ControlFlow::Continue(());
        }
        found = Some(attempt);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Looks at attempts until told to stop.
fn newest_first(
    log: &EventLog,
    of: AttemptsOf,
    mut look: impl FnMut(Attempt) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let limit = Limit {
        items: ATTEMPTS_AT_A_TIME,
        bytes: PAGE_BYTES_MAX,
    };
    let (mut range, mut looked) = (AttemptSeq::ZERO..AttemptSeq::MAX, 0);
    while !range.is_empty() && looked < ATTEMPTS_MAX {
        let page = log.attempts(of, range, Order::Descending, limit)?;
        if page.attempts.is_empty() {
            break;
        }
        range = page.rest;
        for attempt in page.attempts {
            looked += 1;
            if look(attempt).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
