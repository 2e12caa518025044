//! Event types: create, list, show.
//!
//! **Invariant:** a type with a feature flag is for those who have the flag; our application tokens
//! carry none, so they do not see it.
//! **Next:** `endpoint.rs`.

use std::ops::RangeBounds;
use std::sync::Arc;

use hooklog_storage::{EventType, EventTypeName, Order};
use http::StatusCode;

use crate::error::ApiError;
use crate::page::PageRequest;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::token::Subject;
use crate::wire::{Content, EventTypeIn, EventTypeOut, Fields};

pub(crate) async fn list(call: Call) -> Answer {
    let page = PageRequest::<EventTypeName>::parse_ordered(&call.query, Order::Ascending)?;
    let archived = call.query.flag("include_archived")?.unwrap_or(false);
    // Schemas may be large, so here they come only when asked for.
    let content = call.content_or(Content::Omitted)?;
    let (organisation, range) = (call.organisation()?, page.range());
    let subject = call.subject()?;
    let wanted = |value: &&Arc<EventType>| {
        (archived || !value.archived) && range.contains(&value.name) && is_shown(value, subject)
    };
    let scan = {
        let registry = call.state.log.registry();
        let items = registry.event_types(organisation).filter(wanted).cloned();
        page.take(items, |value| match content {
            Content::Full => value.schemas.as_ref().map_or(0, String::len),
            Content::Omitted => 0,
        })
    };
    let list = page.list(scan, |value| value.name.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|value| EventTypeOut::new(value, content)),
    )
}

pub(crate) async fn create(call: Call) -> Answer {
    let new = EventTypeIn::parse(&Fields::parse(call.bytes())?)?.of(call.organisation()?);
    let value = call.state.log.create_event_type(new).await?;
    reply::json(
        StatusCode::CREATED,
        &EventTypeOut::new(&value, Content::Full),
    )
}

pub(crate) async fn get(call: Call) -> Answer {
    let name: EventTypeName = call.part("name")?.parse().map_err(|_| ApiError::NotFound)?;
    let found = call
        .state
        .log
        .registry()
        .event_type(call.organisation()?, &name)
        .cloned();
    let subject = call.subject()?;
    let value = found
        .filter(|value| is_shown(value, subject))
        .ok_or(ApiError::NotFound)?;
    reply::json(StatusCode::OK, &EventTypeOut::new(&value, Content::Full))
}

fn is_shown(value: &EventType, subject: Subject) -> bool {
    match subject {
        Subject::Organisation(_) => true,
        Subject::Application { .. } => value.feature_flag.is_none(),
        Subject::Operator => false,
    }
}
