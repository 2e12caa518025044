//! Event types from the webhooks of an `OpenAPI` document.
//!
//! **Invariant:** a document that is not taken changes nothing. What is taken is changed by event
//! type, some in each commit; the same document again completes what was broken off, and is no change
//! where it says what there is.
//! **Next:** `event_type.rs`.

use hooklog_storage::{EventLog, EventType, EventTypeName, OrganisationId};
use http::StatusCode;

use crate::error::ApiError;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Fields, ImportError, ImportIn, ImportOut};

/// Makes the event types that the webhooks of a document are.
pub(crate) async fn openapi(call: Call) -> Answer {
    let organisation = call.organisation()?;
    let body = call.bytes().clone();
    let plan = move |log: &EventLog| {
        let import = ImportIn::parse(&Fields::parse(&body)?).map_err(refused)?;
        let plan = Plan::new(log, &import, organisation)?;
        Ok::<_, ApiError>((import.is_dry_run, plan))
    };
    let (is_dry_run, plan) = call.state.read(plan).await?;
    let names: Vec<String> = plan.archived.iter().map(ToString::to_string).collect();
    // What is put is not there any more to be told of.
    let answer = reply::json(
        StatusCode::OK,
        &ImportOut::new(is_dry_run, &plan.changed, &names),
    )?;
    if !is_dry_run {
        let log = &call.state.log;
        log.put_event_types(plan.changed).await?;
        log.archive_event_types(organisation, plan.archived).await?;
    }
    Ok(answer)
}

fn refused(error: ImportError) -> ApiError {
    match error {
        ImportError::Count => ApiError::Refused {
            code: "generic_error",
            detail: "Give the document as `spec` or as `specRaw`, and not as both".to_owned(),
        },
        ImportError::Issue(issue) => issue.into(),
    }
}

/// What there is to do.
struct Plan {
    /// Event types that are new or differ.
    changed: Vec<EventType>,
    /// Those that are not in the document, if they are to go.
    archived: Vec<EventTypeName>,
}

impl Plan {
    fn new(
        log: &EventLog,
        import: &ImportIn,
        organisation: OrganisationId,
    ) -> Result<Self, ApiError> {
        let mut all = import.event_types(organisation)?;
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let registry = log.registry();
        let archived = if import.replaces_all {
            let is_known = |name: &EventTypeName| {
                let found = all.binary_search_by(|value| value.name.cmp(name));
                found.is_ok()
            };
            let old = registry.event_types(organisation);
            let gone = old.filter(|old| !old.archived && !is_known(&old.name));
            gone.map(|old| old.name.clone()).collect()
        } else {
            Vec::new()
        };
        all.retain_mut(|new| {
            let Some(old) = registry.event_type(organisation, &new.name) else {
                return true;
            };
            // The log sets them anyway.
            (new.created, new.updated) = (old.created, old.updated);
            *new != **old
        });
        Ok(Self {
            changed: all,
            archived,
        })
    }
}
