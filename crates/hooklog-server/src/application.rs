//! Applications: create or find, list, change, delete.
//!
//! **Invariant:** as `request.rs`: each belongs to the token's organisation.
//! **Next:** `event_type.rs`.

use std::ops::Bound;
use std::sync::Arc;

use hooklog_storage::{
    Application, ApplicationId, ChangeError, NewApplication, Order, OrganisationId, Registry,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::page::PageRequest;
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::state::State;
use crate::wire::{ApplicationIn, ApplicationOut, ApplicationPatch, Fields, Issue};

pub(crate) async fn list(call: Call) -> Answer {
    let wanted = Wanted::parse(&call.query)?;
    let page = PageRequest::<ApplicationId>::parse_ordered(&call.query, Order::Ascending)?;
    let organisation = call.organisation()?;
    let scan = {
        let registry = call.state.log.registry();
        let items = registry.applications(organisation, page.range()).cloned();
        // Names and metadata are small: 250 of them are within any bound.
        if wanted.takes_all() {
            page.take(items, |_| 0)
        } else {
            page.pick(
                items,
                |value| value.id,
                |value| wanted.takes(&registry, value.id),
            )
        }
    };
    let list = page.list(scan, |value| value.id.to_string());
    reply::json(
        StatusCode::OK,
        &list.map(|value| ApplicationOut::from(&**value)),
    )
}

/// Which applications a list has, by their endpoints.
struct Wanted {
    /// Not those that have none.
    having_any: bool,
    /// Not those that have some, all of them disabled.
    having_enabled: bool,
}

impl Wanted {
    fn parse(query: &Query) -> Result<Self, ApiError> {
        let flag = |name| Ok::<_, ApiError>(query.flag(name)?.unwrap_or(false));
        Ok(Self {
            having_any: flag("exclude_apps_with_no_endpoints")?,
            having_enabled: flag("exclude_apps_with_disabled_endpoints")?,
        })
    }

    fn takes_all(&self) -> bool {
        !self.having_any && !self.having_enabled
    }

    fn takes(&self, registry: &Registry, application: ApplicationId) -> bool {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut endpoints = registry.subscriptions(application, all).peekable();
        match endpoints.peek() {
            None => !self.having_any,
            Some(_) => !self.having_enabled || endpoints.any(|value| value.state.is_enabled()),
        }
    }
}

pub(crate) async fn create(call: Call) -> Answer {
    let new = ApplicationIn::parse(&Fields::parse(call.bytes())?)?;
    let organisation = call.organisation()?;
    let (status, value) = match call.query.flag("get_if_exists")? {
        Some(true) => get_or_create(&call.state, organisation, new).await?,
        Some(false) | None => (
            StatusCode::CREATED,
            insert(&call.state, organisation, new).await?,
        ),
    };
    reply::json(status, &ApplicationOut::from(&*value))
}

/// The application of that uid, or a new one.
pub(crate) async fn get_or_create(
    state: &State,
    organisation: OrganisationId,
    new: ApplicationIn,
) -> Result<(StatusCode, Arc<Application>), ApiError> {
    let uid = new.uid.clone();
    let find = || {
        let uid = uid.as_ref()?;
        state
            .log
            .registry()
            .find_application(organisation, uid.as_str())
            .cloned()
    };
    if let Some(value) = find() {
        return Ok((StatusCode::OK, value));
    }
    match insert(state, organisation, new).await {
        Ok(value) => Ok((StatusCode::CREATED, value)),
        // Someone else was quicker.
        Err(ChangeError::Conflict { what, key }) => match find() {
            Some(value) => Ok((StatusCode::OK, value)),
            None => Err(ChangeError::Conflict { what, key }.into()),
        },
        Err(error) => Err(error.into()),
    }
}

async fn insert(
    state: &State,
    organisation: OrganisationId,
    new: ApplicationIn,
) -> Result<Arc<Application>, ChangeError> {
    let ApplicationIn {
        name,
        uid,
        metadata,
        policy,
    } = new;
    state
        .log
        .create_application(NewApplication {
            organisation,
            uid,
            name,
            metadata,
            policy: policy.into_policy(),
        })
        .await
}

pub(crate) async fn get(call: Call) -> Answer {
    reply::json(StatusCode::OK, &ApplicationOut::from(&*call.application()?))
}

/// Replaces (all but a uid that the body lacks), or creates an application of that uid.
pub(crate) async fn put(call: Call) -> Answer {
    let fields = Fields::parse(call.bytes())?;
    let new = ApplicationIn::parse(&fields)?;
    match call.application() {
        Ok(old) => replace(&call, old.id, new).await,
        Err(ApiError::NotFound) => {
            let mut new = new;
            adopt_uid(&mut new, call.part("app")?)?;
            let organisation = call.organisation()?;
            match insert(&call.state, organisation, new).await {
                Ok(value) => reply::json(StatusCode::CREATED, &ApplicationOut::from(&*value)),
                Err(error @ ChangeError::Conflict { .. }) => match call.application() {
                    // Someone else was quicker, and this one comes second.
                    Ok(old) => replace(&call, old.id, ApplicationIn::parse(&fields)?).await,
                    Err(_) => Err(error.into()),
                },
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error),
    }
}

async fn replace(call: &Call, id: ApplicationId, new: ApplicationIn) -> Answer {
    let patch = ApplicationPatch::from(new);
    let edit = move |value: &mut Application| patch.apply(value);
    let value = call.state.log.update_application(id, edit).await?;
    reply::json(StatusCode::OK, &ApplicationOut::from(&*value))
}

/// Makes the uid in the path that of the application to create.
pub(crate) fn adopt_uid(new: &mut ApplicationIn, text: &str) -> Result<(), ApiError> {
    // An id of ours that does not exist cannot be created.
    if text.starts_with(ApplicationId::PREFIX) {
        return Err(ApiError::NotFound);
    }
    let uid = text.parse().map_err(|_| ApiError::NotFound)?;
    if new.uid.as_ref().is_some_and(|own| *own != uid) {
        let issue = Issue::body("uid", "differs from the uid in the path");
        return Err(issue.of_kind("application_uid_mismatch").into());
    }
    new.uid = Some(uid);
    Ok(())
}

pub(crate) async fn patch(call: Call) -> Answer {
    let patch = ApplicationPatch::parse(&Fields::parse(call.bytes())?)?;
    let id = call.application()?.id;
    let value = call
        .state
        .log
        .update_application(id, move |value| patch.apply(value))
        .await?;
    reply::json(StatusCode::OK, &ApplicationOut::from(&*value))
}

pub(crate) async fn delete(call: Call) -> Answer {
    call.state
        .log
        .delete_application(call.application()?.id)
        .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
