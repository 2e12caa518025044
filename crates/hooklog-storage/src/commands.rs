//! Commands on the registry, as methods of the log.
//!
//! **Invariant:** a command is planned in the committer's thread against the registry as it stands
//! in the journal's order, so two equal creations cannot both win.
//! **Next:** `commit.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::change::{Change, ChangeError};
use crate::change::{Planned, Turn};
use crate::codec;
use crate::delivery::Policy;
use crate::id::{ApplicationId, OrganisationId, SubscriptionId};
use crate::log::EventLog;
use crate::name::{EventTypeName, Uid};
use crate::registry::Registry;
use crate::subscription::{
    Application, ApplicationKind, EventType, Organisation, Subscription, SubscriptionState,
};
use crate::time::Timestamp;

pub use new::{NewApplication, NewSubscription};
pub use tasks::{CountStep, TaskStep};

mod access;
mod delivery;
mod import;
mod new;
mod sessions;
mod tasks;

impl EventLog {
    /// Creates an application (and its organisation, if it is the first of it).
    /// `Conflict` if the uid is taken.
    pub async fn create_application(
        &self,
        new: NewApplication,
    ) -> Result<Arc<Application>, ChangeError> {
        let limit = self.config().applications_max;
        self.change(move |registry, turn| {
            below(
                "the number of applications",
                registry.application_count(new.organisation),
                limit,
            )?;
            free_application_uid(registry, new.organisation, new.uid.as_ref(), None)?;
            let mut changes = organisation_if_new(registry, new.organisation, turn);
            let value = Arc::new(Application {
                id: ApplicationId::new(turn.now, turn.entropy),
                organisation: new.organisation,
                uid: new.uid,
                kind: ApplicationKind::Customer,
                name: new.name,
                policy: new.policy,
                metadata: new.metadata,
                created: turn.now,
                updated: turn.now,
            });
            changes.push(Change::PutApplication(Arc::clone(&value)));
            Ok((changes, value))
        })
        .await
    }

    /// The application of an organisation whose events are operational ones; made if there is none.
    pub async fn operational_application(
        &self,
        organisation: OrganisationId,
    ) -> Result<ApplicationId, ChangeError> {
        self.change(move |registry, turn| {
            if let Some(id) = registry.operational(organisation) {
                return Ok((Vec::new(), id));
            }
            let mut changes = organisation_if_new(registry, organisation, turn);
            let id = ApplicationId::new(turn.now, turn.entropy);
            changes.push(Change::PutApplication(Arc::new(Application {
                id,
                organisation,
                uid: None,
                kind: ApplicationKind::Operational,
                name: "operational webhooks".to_owned(),
                policy: Policy::default(),
                metadata: BTreeMap::new(),
                created: turn.now,
                updated: turn.now,
            })));
            Ok((changes, id))
        })
        .await
    }

    /// Changes an application by `edit` (ids and times are kept from it).
    pub async fn update_application(
        &self,
        id: ApplicationId,
        edit: impl FnOnce(&mut Application) + Send + 'static,
    ) -> Result<Arc<Application>, ChangeError> {
        self.change(move |registry, turn| {
            let old = registry.application(id).ok_or(NO_APPLICATION)?;
            let mut value = Application::clone(old);
            edit(&mut value);
            (value.id, value.organisation, value.created) = (id, old.organisation, old.created);
            (value.kind, value.updated) = (old.kind, turn.now);
            free_application_uid(registry, value.organisation, value.uid.as_ref(), Some(id))?;
            let value = Arc::new(value);
            Ok((vec![Change::PutApplication(Arc::clone(&value))], value))
        })
        .await
    }

    /// Deletes an application with its subscriptions, these first and a few at a time, so that no
    /// commit grows with their number. Its events stay in the log, out of reach.
    ///
    /// # Cancel safety
    /// A dropped call may leave the application with fewer subscriptions, or none.
    pub async fn delete_application(&self, id: ApplicationId) -> Result<(), ChangeError> {
        loop {
            let more = self
                .change(move |registry, _| {
                    registry.application(id).ok_or(NO_APPLICATION)?;
                    let all = (Bound::Unbounded, Bound::Unbounded);
                    let some = registry.subscriptions(id, all).take(DELETED_AT_A_TIME);
                    let changes: Vec<_> = some
                        .map(|value| Change::DeleteSubscription(value.id))
                        .collect();
                    if changes.is_empty() {
                        return Ok((vec![Change::DeleteApplication(id)], Deleted::All));
                    }
                    Ok((changes, Deleted::Some))
                })
                .await?;
            if more == Deleted::All {
                return Ok(());
            }
        }
    }

    /// Creates an event type; takes an archived one of that name out of the archive.
    /// `Conflict` if it exists and is not archived.
    pub async fn create_event_type(&self, new: EventType) -> Result<Arc<EventType>, ChangeError> {
        let limit = self.config().event_types_max;
        self.change(move |registry, turn| {
            let old = registry.event_type(new.organisation, &new.name);
            if old.is_none() {
                below(
                    "the number of event types",
                    registry.event_type_count(new.organisation),
                    limit,
                )?;
            }
            if old.is_some_and(|old| !old.archived) {
                let key = new.name.to_string();
                return Err(ChangeError::Conflict {
                    what: "event type",
                    key,
                });
            }
            let created = old.map_or(turn.now, |old| old.created);
            let mut changes = organisation_if_new(registry, new.organisation, turn);
            let value = Arc::new(EventType {
                created,
                updated: turn.now,
                ..new
            });
            changes.push(Change::PutEventType(Arc::clone(&value)));
            Ok((changes, value))
        })
        .await
    }

    /// Changes an event type by `edit` (its name and times are kept from it).
    pub async fn update_event_type(
        &self,
        organisation: OrganisationId,
        name: EventTypeName,
        edit: impl FnOnce(&mut EventType) + Send + 'static,
    ) -> Result<Arc<EventType>, ChangeError> {
        self.change(move |registry, turn| {
            let old = registry
                .event_type(organisation, &name)
                .ok_or(ChangeError::NotFound { what: "event type" })?;
            let mut value = EventType::clone(old);
            edit(&mut value);
            (value.organisation, value.name, value.created) = (organisation, name, old.created);
            value.updated = turn.now;
            let value = Arc::new(value);
            Ok((vec![Change::PutEventType(Arc::clone(&value))], value))
        })
        .await
    }

    /// Creates a subscription that takes events from its start on, be it in the past.
    /// `Conflict` if the uid is taken, `NotFound` if the application is gone.
    pub async fn create_subscription(
        &self,
        new: NewSubscription,
    ) -> Result<Arc<Subscription>, ChangeError> {
        let limit = self.config().subscriptions_max;
        self.change(move |registry, turn| {
            registry
                .application(new.application)
                .ok_or(NO_APPLICATION)?;
            below(
                "the number of endpoints",
                registry.subscription_count(new.application),
                limit,
            )?;
            free_subscription_uid(registry, new.application, new.uid.as_ref(), None)?;
            let mut value = Subscription {
                id: SubscriptionId::new(turn.now, turn.entropy),
                application: new.application,
                uid: new.uid,
                description: new.description.into(),
                endpoint: new.endpoint,
                filter: new.filter,
                state: SubscriptionState::wanted(new.is_enabled, turn.now),
                ordering: new.ordering,
                policy: Arc::new(new.policy),
                metadata: new.metadata.into(),
                start: new.start.map_or(turn.end, |start| start.min(turn.end)),
                created: turn.now,
                updated: turn.now,
            };
            registry.share(&mut value);
            let value = Arc::new(value);
            Ok((vec![Change::PutSubscription(Arc::clone(&value))], value))
        })
        .await
    }

    /// Changes a subscription by `edit`, which gets the time of the commit (ids, start and times
    /// are kept from it).
    pub async fn update_subscription(
        &self,
        id: SubscriptionId,
        edit: impl FnOnce(&mut Subscription, Timestamp) -> Result<(), ChangeError> + Send + 'static,
    ) -> Result<Arc<Subscription>, ChangeError> {
        self.change(move |registry, turn| {
            let old = registry.subscription(id).ok_or(NO_SUBSCRIPTION)?;
            let mut value = Subscription::clone(old);
            edit(&mut value, turn.now)?;
            (value.id, value.application) = (id, old.application);
            (value.start, value.created, value.updated) = (old.start, old.created, turn.now);
            free_subscription_uid(registry, value.application, value.uid.as_ref(), Some(id))?;
            registry.share(&mut value);
            let value = Arc::new(value);
            Ok((vec![Change::PutSubscription(Arc::clone(&value))], value))
        })
        .await
    }

    /// Deletes a subscription with its cursor and parked deliveries.
    pub async fn delete_subscription(&self, id: SubscriptionId) -> Result<(), ChangeError> {
        self.change(move |registry, _| {
            registry.subscription(id).ok_or(NO_SUBSCRIPTION)?;
            Ok((vec![Change::DeleteSubscription(id)], ()))
        })
        .await
    }
}

/// How far the deletion of an application has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    Some,
    All,
}

/// Subscriptions deleted in one commit: with the parked deliveries that the dispatcher's tables
/// hold at most (512 each, 28 bytes a key) they stay below half of what the engine takes at once.
const DELETED_AT_A_TIME: usize = 32;

/// Most bytes of one encoded value of the registry: below the engine's limit for one row.
const VALUE_BYTES_MAX: usize = 96 << 10;

/// Refuses a plan whose values the engine could not hold.
pub(crate) fn within_limits<T>(planned: (Vec<Change>, T)) -> Planned<T> {
    for change in &planned.0 {
        let bytes = codec::encode(change).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > VALUE_BYTES_MAX {
            let what = "the size of one registry value in bytes";
            return Err(ChangeError::Limit {
                what,
                limit: VALUE_BYTES_MAX,
            });
        }
    }
    Ok(planned)
}

/// Refuses one more than `limit`.
fn below(what: &'static str, count: usize, limit: usize) -> Result<(), ChangeError> {
    if count < limit {
        Ok(())
    } else {
        Err(ChangeError::Limit { what, limit })
    }
}

pub(crate) const NO_APPLICATION: ChangeError = ChangeError::NotFound {
    what: "application",
};
const NO_SUBSCRIPTION: ChangeError = ChangeError::NotFound {
    what: "subscription",
};

fn organisation_if_new(registry: &Registry, id: OrganisationId, turn: &Turn) -> Vec<Change> {
    match registry.organisation(id) {
        Some(_) => Vec::new(),
        None => {
            vec![Change::PutOrganisation(Arc::new(Organisation {
                id,
                created: turn.now,
            }))]
        }
    }
}

fn free_application_uid(
    registry: &Registry,
    organisation: OrganisationId,
    uid: Option<&Uid>,
    own: Option<ApplicationId>,
) -> Result<(), ChangeError> {
    let Some(uid) = uid else { return Ok(()) };
    match registry.find_application(organisation, uid.as_str()) {
        Some(holder) if Some(holder.id) != own => Err(ChangeError::Conflict {
            what: "application uid",
            key: uid.to_string(),
        }),
        _ => Ok(()),
    }
}

fn free_subscription_uid(
    registry: &Registry,
    application: ApplicationId,
    uid: Option<&Uid>,
    own: Option<SubscriptionId>,
) -> Result<(), ChangeError> {
    let Some(uid) = uid else { return Ok(()) };
    match registry.find_subscription(application, uid.as_str()) {
        Some(holder) if Some(holder.id) != own => Err(ChangeError::Conflict {
            what: "subscription uid",
            key: uid.to_string(),
        }),
        _ => Ok(()),
    }
}
