//! Event types: create, list, show, put, change, archive, remove.
//!
//! **Invariant:** a type with feature flags is for those who have one of them; to the token of an
//! application that has none of them it does not exist.
//! **Next:** `endpoint.rs`.

use std::ops::RangeBounds;
use std::sync::Arc;

use hooklog_storage::{EventType, EventTypeName, Order};
use http::StatusCode;

use crate::error::ApiError;
use crate::page::PageRequest;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Content, EventTypeIn, EventTypeOut, EventTypePatch, Fields, Issue};

pub(crate) async fn list(call: Call) -> Answer {
    let page = PageRequest::<EventTypeName>::parse_ordered(&call.query, Order::Ascending)?;
    let archived = call.query.flag("include_archived")?.unwrap_or(false);
    // Schemas may be large, so here they come only when asked for.
    let content = call.content_or(Content::Omitted)?;
    let (organisation, range) = (call.organisation()?, page.range());
    let grant = &call.bearer()?.grant;
    let wanted = |value: &&Arc<EventType>| {
        (archived || !value.archived)
            && range.contains(&value.name)
            && grant.sees(&value.feature_flags)
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
    shown(StatusCode::CREATED, &value)
}

pub(crate) async fn get(call: Call) -> Answer {
    shown(StatusCode::OK, &*find(&call)?)
}

/// Replaces the type of that name, or creates it.
pub(crate) async fn put(call: Call) -> Answer {
    let organisation = call.organisation()?;
    let name = name(&call)?;
    let fields = Fields::parse(call.bytes())?;
    if fields
        .name::<EventTypeName>("name")?
        .is_some_and(|own| own != name)
    {
        return Err(Issue::body("name", "differs from the name in the path").into());
    }
    let new = EventTypeIn::parse_named(&fields, name)?.of(organisation);
    let (is_new, value) = call.state.log.put_event_type(new).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    shown(status, &value)
}

pub(crate) async fn patch(call: Call) -> Answer {
    let patch = EventTypePatch::parse(&Fields::parse(call.bytes())?)?;
    let (organisation, name) = (call.organisation()?, name(&call)?);
    let edit = move |value: &mut EventType| patch.apply(value);
    let log = &call.state.log;
    let value = log.update_event_type(organisation, name, edit).await?;
    shown(StatusCode::OK, &value)
}

/// Archives, or with `expunge=true` removes: then a type of that name can be made anew.
pub(crate) async fn delete(call: Call) -> Answer {
    let (organisation, name) = (call.organisation()?, name(&call)?);
    let log = &call.state.log;
    if call.query.flag("expunge")?.unwrap_or(false) {
        log.delete_event_type(organisation, name).await?;
    } else {
        let archive = |value: &mut EventType| value.archived = true;
        log.update_event_type(organisation, name, archive).await?;
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn name(call: &Call) -> Result<EventTypeName, ApiError> {
    call.part("name")?.parse().map_err(|_| ApiError::NotFound)
}

/// The event type in the path, if the token sees it.
fn find(call: &Call) -> Result<Arc<EventType>, ApiError> {
    let (organisation, name) = (call.organisation()?, name(call)?);
    let registry = call.state.log.registry();
    let found = registry.event_type(organisation, &name).cloned();
    let grant = &call.bearer()?.grant;
    found
        .filter(|value| grant.sees(&value.feature_flags))
        .ok_or(ApiError::NotFound)
}

fn shown(status: StatusCode, value: &EventType) -> Answer {
    reply::json(status, &EventTypeOut::new(value, Content::Full))
}
