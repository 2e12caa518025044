//! What became of events at endpoints: the messages of an endpoint, the endpoints of a message.
//!
//! **Invariant:** as `message.rs`; the log alone tells how a delivery stands.
//! **Next:** `stats.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use hooklog_storage::{
    EventId, EventLog, Limit, Offset, Order, ReadError, Record, Subscription, SubscriptionId,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::message::{self, EventFilter, Window};
use crate::page::{self, PAGE_BYTES_MAX, PageRequest, Scan, Verdict, Wanted};
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{EndpointMessageOut, Issue, MessageEndpointOut, Standing};

/// Endpoints that are asked about at a time: most pages are full after that.
const ENDPOINTS_AT_A_TIME: usize = 256;

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
        let position = log.positions([self.subscription])?.pop();
        let position = position.unwrap_or_default();
        let mut deliveries = log.deliveries(self.subscription, position)?;
        let mut standings: HashMap<Offset, Standing> = HashMap::new();
        let keep = |record: &Record| -> Result<Verdict, ReadError> {
            if !self.filter.matches(record) {
                return Ok(Verdict::Drop);
            }
            let Some(status) = deliveries.status(record)? else {
                return Ok(Verdict::Stop);
            };
            let Some(standing) = Standing::new(&status) else {
                return Ok(Verdict::Drop);
            };
            let is_wanted = self.status.is_none_or(|status| status == standing.status());
            if is_wanted {
                standings.insert(record.offset, standing);
            }
            Ok(is_wanted.into())
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
        let found = scan.found.into_iter().filter_map(|record| {
            let standing = standings.remove(&record.offset)?;
            Some((record, standing))
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
    let is_descending = request.order() == Order::Descending;
    let mut candidates: Vec<Arc<Subscription>> = {
        let registry = log.registry();
        let all = registry.subscriptions(record.event.application, request.range());
        all.cloned().collect()
    };
    if is_descending {
        candidates.reverse();
    }
    let mut found = Vec::new();
    for some in candidates.chunks(ENDPOINTS_AT_A_TIME) {
        let positions = log.positions(some.iter().map(|value| &**value))?;
        let values = some.iter().map(|value| &**value);
        let statuses = log.statuses(record, values.zip(positions))?;
        let pairs = some.iter().zip(statuses);
        found.extend(pairs.filter_map(|(value, status)| {
            let standing = Standing::new(&status)?;
            Some((Arc::clone(value), standing))
        }));
        if found.len() > request.limit {
            break;
        }
    }
    if is_descending {
        found.reverse();
    }
    Ok(request.take(found.into_iter(), |_| 0))
}
