//! Messages: show, list, send again.
//!
//! **Invariant:** one request looks at a bounded number of events, whatever its filter.
//! **Next:** `attempt.rs`.

use std::ops::{Bound, Range};
use std::str::FromStr;

use hooklog_storage::{
    ApplicationId, Channel, EventId, EventLog, EventTypeName, Limit, Offset, Order, ReadError,
    Record, Tag, Timestamp,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::etag::{self, Keep};
use crate::page::{self, PAGE_BYTES_MAX, PageRequest, Scan, Wanted};
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{EmptyOut, MessageOut};

pub(crate) async fn get(call: Call) -> Answer {
    let content = call.content()?;
    let record = call.event().await?;
    let response = reply::json(StatusCode::OK, &MessageOut::new(&record, content))?;
    Ok(etag::tagged(&call.asked, Keep::Message, response))
}

/// Newest first; with `after` alone the oldest of them, newest first.
pub(crate) async fn list(call: Call) -> Answer {
    let page = PageRequest::<EventId>::parse(&call.query, Order::Descending)?;
    let (window, filter) = (
        Window::parse(&call.query)?,
        EventFilter::parse(&call.query)?,
    );
    let page = window.first_page(page);
    let (content, application) = (call.content()?, call.application()?.id);
    let request = page;
    let scan = call
        .state
        .read(move |log| find(log, application, &request, window, &filter));
    let list = page.list(scan.await?, |record| record.id.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|record| MessageOut::new(record, content)),
    )
}

/// One more delivery of an event to an endpoint. Durable when answered; it happens soon after.
pub(crate) async fn resend(call: Call) -> Answer {
    let subscription = call.subscription()?.id;
    let record = call.event().await?;
    if call.state.log.is_expunged(&record) {
        return Err(ApiError::Refused {
            code: "missing_payload",
            detail: "The content of the message was expunged".to_owned(),
        });
    }
    let event = record.id;
    call.state.log.redeliver(subscription, event).await?;
    reply::json(StatusCode::ACCEPTED, &EmptyOut {})
}

/// Settles a delivery without another attempt: what is ordered behind it goes on.
pub(crate) async fn skip(call: Call) -> Answer {
    let subscription = call.subscription()?.id;
    let event = call.event().await?.id;
    call.state.log.skip(subscription, event).await?;
    reply::json(StatusCode::ACCEPTED, &EmptyOut {})
}

/// Makes the next attempt of a failed delivery now, whatever it waits for.
pub(crate) async fn retry_now(call: Call) -> Answer {
    let subscription = call.subscription()?.id;
    let event = call.event().await?.id;
    call.state.log.retry_now(subscription, event).await?;
    reply::json(StatusCode::ACCEPTED, &EmptyOut {})
}

fn find(
    log: &EventLog,
    application: ApplicationId,
    request: &PageRequest<EventId>,
    window: Window,
    filter: &EventFilter,
) -> Result<Scan<Record, EventId>, ReadError> {
    let range = offsets_within(log, request, window)?;
    let read = |range, items| {
        let limit = Limit {
            items,
            bytes: PAGE_BYTES_MAX,
        };
        let page = log.read_application(application, range, request.order(), limit)?;
        Ok((page.records, page.rest))
    };
    let wanted = if filter.takes_all() {
        Wanted::All
    } else {
        Wanted::Some
    };
    page::scan(request.limit, wanted, range, read, |record| {
        Ok(filter.matches(record))
    })
}

/// Where the events of a page within a window are.
pub(crate) fn offsets_within(
    log: &EventLog,
    request: &PageRequest<EventId>,
    window: Window,
) -> Result<Range<Offset>, ReadError> {
    let mut range = offsets(request.range());
    if let Some(after) = window.after {
        range.start = range.start.max(log.offset_at(after)?);
    }
    if let Some(before) = window.before {
        range.end = range.end.min(log.offset_at(before)?);
    }
    Ok(range)
}

/// Ids of events carry their offsets.
fn offsets(ids: (Bound<EventId>, Bound<EventId>)) -> Range<Offset> {
    let start = match ids.0 {
        Bound::Unbounded => Offset::ZERO,
        Bound::Included(id) => id.offset(),
        Bound::Excluded(id) => id.offset().next(),
    };
    let end = match ids.1 {
        Bound::Unbounded => Offset::MAX,
        Bound::Included(id) => id.offset().next(),
        Bound::Excluded(id) => id.offset(),
    };
    start..end
}

/// From `after` (inclusive) to `before` (exclusive).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) after: Option<Timestamp>,
    pub(crate) before: Option<Timestamp>,
}

impl Window {
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            after: query.time("after")?,
            before: query.time("before")?,
        })
    }

    /// A window with no upper end is looked at from its lower end on.
    pub(crate) fn first_page<K: FromStr + Clone>(self, page: PageRequest<K>) -> PageRequest<K> {
        match (self.after, self.before) {
            (Some(_), None) => page.at_oldest(),
            (None, _) | (Some(_), Some(_)) => page,
        }
    }
}

/// Which events a list wants.
#[derive(Debug)]
pub(crate) struct EventFilter {
    event_types: Option<Vec<EventTypeName>>,
    channel: Option<Channel>,
    tag: Option<Tag>,
}

impl EventFilter {
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            event_types: query.names("event_types")?,
            channel: query.name("channel")?,
            tag: query.name("tag")?,
        })
    }

    /// Whether it takes every event, so that none need be looked at.
    pub(crate) fn takes_all(&self) -> bool {
        self.event_types.is_none() && self.channel.is_none() && self.tag.is_none()
    }

    pub(crate) fn matches(&self, record: &Record) -> bool {
        let event = &record.event;
        self.event_types
            .as_ref()
            .is_none_or(|types| types.contains(&event.event_type))
            && self
                .channel
                .as_ref()
                .is_none_or(|channel| event.channels.contains(channel))
            && self.tag.as_ref().is_none_or(|tag| event.tags.contains(tag))
    }
}
