//! Endpoints: create, list, change, delete subscriptions that push.
//!
//! **Invariant:** a URL is stored only after the URL policy let it pass, on each way to set it; a
//! filter names only event types that exist, for a misspelt one would match nothing, silently.
//! **Next:** `secret.rs`.

use hooklog_signature::Secret;
use hooklog_storage::{
    ApplicationId, Endpoint, EventTypeName, NewSubscription, OPERATIONAL_EVENT_TYPES, Order,
    SecretKey, Subscription, SubscriptionId,
};
use http::StatusCode;
use url::Url;

use crate::error::ApiError;
use crate::page::PageRequest;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{EndpointIn, EndpointOut, EndpointPatch, Fields, Issue, Patch, StartFrom};

pub(crate) async fn list(call: Call) -> Answer {
    let page = PageRequest::<SubscriptionId>::parse_ordered(&call.query, Order::Descending)?;
    let application = call.application()?.id;
    let scan = {
        let registry = call.state.log.registry();
        let items = registry.subscriptions(application, page.range()).cloned();
        page.take(items, |value| weight(value))
    };
    let list = page.list(scan, |value| value.id.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|value| EndpointOut::from(&**value)),
    )
}

pub(crate) async fn create(call: Call) -> Answer {
    let application = call.application()?.id;
    let new = EndpointIn::parse(&Fields::parse(call.bytes())?)?;
    insert(&call, application, new).await
}

async fn insert(call: &Call, application: ApplicationId, new: EndpointIn) -> Answer {
    check_url(call, &new.url)?;
    check_types(call, new.filter.event_types.as_deref())?;
    let secret = match new.secret {
        Some(secret) => secret,
        None => Secret::generate()?,
    };
    let secret = SecretKey::new(secret.as_bytes().to_vec());
    let mut endpoint = Endpoint::new(new.url.as_str(), secret);
    endpoint.headers = new.headers.unwrap_or_default().into();
    let start = match new.start {
        None => None,
        Some(StartFrom::Offset(offset)) => Some(offset),
        Some(StartFrom::Time(time)) => {
            let found = call.state.read(move |log| log.offset_at(time)).await?;
            Some(found)
        }
    };
    let mut created = NewSubscription {
        uid: new.uid,
        description: new.description,
        filter: new.filter,
        is_enabled: new.is_enabled,
        metadata: new.metadata,
        start,
        ..NewSubscription::new(application, endpoint)
    };
    new.push.apply_to_new(&mut created);
    let new = created;
    let value = call.state.log.create_subscription(new).await?;
    reply::json(StatusCode::CREATED, &EndpointOut::from(&*value))
}

pub(crate) async fn get(call: Call) -> Answer {
    let value = call.subscription()?;
    let id = value.id;
    let expired = call.state.read(move |log| log.expired(id)).await?;
    let out = EndpointOut::from(&*value).missing(expired.as_ref());
    reply::json(StatusCode::OK, &out)
}

/// Replaces (all but the secret, and a uid that the body lacks), or creates an endpoint of that uid.
pub(crate) async fn put(call: Call) -> Answer {
    let application = call.application()?.id;
    let fields = Fields::parse(call.bytes())?;
    let mut new = EndpointIn::parse(&fields)?;
    match call.subscription() {
        Ok(old) => change(&call, old.id, new.into()).await,
        Err(ApiError::NotFound) => {
            let text = call.part("endpoint")?;
            // An id of ours that does not exist cannot be created.
            if text.starts_with(SubscriptionId::PREFIX) {
                return Err(ApiError::NotFound);
            }
            let uid = text.parse().map_err(|_| ApiError::NotFound)?;
            if new.uid.as_ref().is_some_and(|own| *own != uid) {
                return Err(Issue::body("uid", "differs from the uid in the path").into());
            }
            new.uid = Some(uid);
            match (insert(&call, application, new).await, call.subscription()) {
                // Someone else was quicker, and this one comes second.
                (Err(ApiError::Conflict(_)), Ok(old)) => {
                    change(&call, old.id, EndpointIn::parse(&fields)?.into()).await
                }
                (inserted, _) => inserted,
            }
        }
        Err(error) => Err(error),
    }
}

pub(crate) async fn patch(call: Call) -> Answer {
    let patch = EndpointPatch::parse(&Fields::parse(call.bytes())?)?;
    let id = call.subscription()?.id;
    change(&call, id, patch).await
}

async fn change(call: &Call, id: SubscriptionId, patch: EndpointPatch) -> Answer {
    if let Patch::Set(url) = &patch.url {
        check_url(call, url)?;
    }
    if let Patch::Set(types) = &patch.event_types {
        check_types(call, types.as_deref())?;
    }
    let edit = move |value: &mut _, now| {
        patch.apply(value, now);
        Ok(())
    };
    let value = call.state.log.update_subscription(id, edit).await?;
    reply::json(StatusCode::OK, &EndpointOut::from(&*value))
}

pub(crate) async fn delete(call: Call) -> Answer {
    call.state
        .log
        .delete_subscription(call.subscription()?.id)
        .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// About what an endpoint has in an answer, where its event types come twice.
fn weight(value: &Subscription) -> usize {
    let types = value.filter.event_types.iter().flatten();
    let types: usize = types.map(|name| name.as_str().len() + 3).sum();
    value.endpoint.url.len() + value.description.len() + 2 * types
}

fn check_url(call: &Call, url: &Url) -> Result<(), ApiError> {
    call.state
        .url_policy
        .check(url)
        .map_err(|reason| Issue::body("url", reason).into())
}

fn check_types(call: &Call, types: Option<&[EventTypeName]>) -> Result<(), ApiError> {
    let organisation = call.organisation()?;
    let grant = &call.bearer()?.grant;
    let registry = call.state.log.registry();
    let is_known = |name: &EventTypeName| {
        let found = registry.event_type(organisation, name);
        found.is_some_and(|value| grant.sees(&value.feature_flags))
    };
    let unknown: Vec<&str> = types
        .unwrap_or_default()
        .iter()
        .filter(|name| {
            if call.is_operational() {
                !OPERATIONAL_EVENT_TYPES.contains(&name.as_str())
            } else {
                !is_known(name)
            }
        })
        .map(EventTypeName::as_str)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let message = format!(
        "The following event types don't exist: {}",
        unknown.join(", ")
    );
    Err(Issue::body("eventTypes", message).into())
}
