//! The registry in memory: who may publish what, and who wants it.
//!
//! **Invariant:** it holds exactly the changes that are on disk in the journal or in sled, in their
//! order; `commit.rs` applies a change only after its `fdatasync`. All keys sort by id, and ids
//! sort by time, so lists are ranges.
//! **Next:** `commands.rs`, which plans changes; `commit.rs`, which makes them durable.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::Arc;

use crate::change::Change;
use crate::delivery::Policy;
use crate::expunged;
use crate::id::{ApplicationId, OrganisationId, SubscriptionId, TaskId};
use crate::name::{EventTypeName, Uid};
use crate::revocation::{Revocations, TokenCut, TokenHash};
use crate::sessions::Sessions;
use crate::subscription::{Application, ApplicationKind, EventType, Organisation, Subscription};
use crate::task::Task;

use names::Names;
use subscriptions::Subscriptions;
use tasks::Tasks;

mod names;
mod subscriptions;
mod tasks;

/// Applications, event types and subscriptions of all organisations.
#[derive(Debug, Default)]
pub struct Registry {
    organisations: BTreeMap<OrganisationId, Arc<Organisation>>,
    applications: BTreeMap<(OrganisationId, ApplicationId), Arc<Application>>,
    application_owners: HashMap<ApplicationId, OrganisationId>,
    application_uids: HashMap<(OrganisationId, Uid), ApplicationId>,
    application_counts: HashMap<OrganisationId, usize>,
    /// The applications of operational events; they are in none of the maps by organisation.
    operational: HashMap<OrganisationId, Arc<Application>>,
    operational_owners: HashMap<ApplicationId, OrganisationId>,
    event_types: BTreeMap<OrganisationId, BTreeMap<EventTypeName, Arc<EventType>>>,
    subscriptions: Subscriptions,
    pub(crate) revocations: Revocations,
    pub(crate) sessions: Sessions,
    pub(crate) expunged: expunged::Table,
    tasks: Tasks,
    /// What filters have in common.
    names: Names,
    no_policy: Arc<Policy>,
}

impl Registry {
    /// The organisation with this id, if it was ever used.
    pub fn organisation(&self, id: OrganisationId) -> Option<&Arc<Organisation>> {
        self.organisations.get(&id)
    }

    /// The application with this id, in whichever organisation.
    pub fn application(&self, id: ApplicationId) -> Option<&Arc<Application>> {
        match self.application_owners.get(&id) {
            Some(owner) => self.applications.get(&(*owner, id)),
            None => self.operational.get(self.operational_owners.get(&id)?),
        }
    }

    /// The application of an organisation's operational events, if there is one.
    pub fn operational(&self, organisation: OrganisationId) -> Option<ApplicationId> {
        self.operational.get(&organisation).map(|value| value.id)
    }

    /// Whether any organisation has one.
    pub(crate) fn has_operational(&self) -> bool {
        !self.operational.is_empty()
    }

    /// The application of an organisation by its id or uid.
    pub fn find_application(
        &self,
        organisation: OrganisationId,
        id_or_uid: &str,
    ) -> Option<&Arc<Application>> {
        let id = match id_or_uid.parse::<ApplicationId>() {
            Ok(id) => id,
            Err(_) => *self
                .application_uids
                .get(&(organisation, id_or_uid.parse().ok()?))?,
        };
        self.applications.get(&(organisation, id))
    }

    /// Applications of an organisation with ids in `range`, ascending.
    pub fn applications(
        &self,
        organisation: OrganisationId,
        range: (Bound<ApplicationId>, Bound<ApplicationId>),
    ) -> impl DoubleEndedIterator<Item = &Arc<Application>> {
        let low = ApplicationId::from_bytes([0; 20]);
        let high = ApplicationId::from_bytes([0xff; 20]);
        self.applications
            .range(within(organisation, range, low, high))
            .map(|(_, value)| value)
    }

    /// How many applications an organisation has.
    pub fn application_count(&self, organisation: OrganisationId) -> usize {
        self.application_counts
            .get(&organisation)
            .copied()
            .unwrap_or(0)
    }

    /// How many event types an organisation has, archived ones included.
    pub fn event_type_count(&self, organisation: OrganisationId) -> usize {
        self.event_types.get(&organisation).map_or(0, BTreeMap::len)
    }

    /// How many subscriptions an application has.
    pub fn subscription_count(&self, application: ApplicationId) -> usize {
        self.subscriptions.count(application)
    }

    /// The event type of an organisation, archived or not.
    pub fn event_type(
        &self,
        organisation: OrganisationId,
        name: &EventTypeName,
    ) -> Option<&Arc<EventType>> {
        self.event_types.get(&organisation)?.get(name)
    }

    /// Event types of an organisation, by name, ascending.
    pub fn event_types(
        &self,
        organisation: OrganisationId,
    ) -> impl DoubleEndedIterator<Item = &Arc<EventType>> {
        self.event_types
            .get(&organisation)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// The subscription with this id, in whichever application.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(id)
    }

    /// The subscription of an application by its id or uid.
    pub fn find_subscription(
        &self,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Option<&Arc<Subscription>> {
        let Ok(id) = id_or_uid.parse::<SubscriptionId>() else {
            return self.subscriptions.by_uid(application, id_or_uid);
        };
        let value = self.subscriptions.get(id)?;
        (value.application == application).then_some(value)
    }

    /// Subscriptions of an application with ids in `range`, ascending.
    pub fn subscriptions(
        &self,
        application: ApplicationId,
        range: (Bound<SubscriptionId>, Bound<SubscriptionId>),
    ) -> impl DoubleEndedIterator<Item = &Arc<Subscription>> {
        self.subscriptions.of(application, range)
    }

    /// Every application of every organisation.
    pub(crate) fn all_applications(&self) -> impl Iterator<Item = &Arc<Application>> {
        self.applications.values()
    }

    /// Every subscription of every application, by its id.
    pub fn all_subscriptions(&self) -> impl ExactSizeIterator<Item = &Arc<Subscription>> {
        self.subscriptions.all()
    }

    /// Which tokens of an application are refused for their age.
    pub fn token_cuts(&self, application: ApplicationId) -> &[TokenCut] {
        self.revocations.cuts(application)
    }

    /// Whether an organisation has revoked single tokens.
    pub fn has_revoked_tokens(&self, organisation: OrganisationId) -> bool {
        self.revocations.token_count(organisation) > 0
    }

    /// Whether a single token of an organisation is revoked.
    pub fn is_revoked(&self, organisation: OrganisationId, hash: &TokenHash) -> bool {
        self.revocations.is_revoked(organisation, hash)
    }

    /// The task with this id, in whichever organisation.
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(id)
    }

    /// Tasks of an organisation, oldest first.
    pub fn tasks(
        &self,
        organisation: OrganisationId,
    ) -> impl DoubleEndedIterator<Item = &Arc<Task>> {
        self.tasks.of(organisation)
    }

    /// How many tasks of an organisation are remembered.
    pub fn task_count(&self, organisation: OrganisationId) -> usize {
        self.tasks(organisation).count()
    }

    /// Tasks of all organisations that are not done.
    pub fn running_tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.running()
    }

    /// Lets a subscription to come share with the others what it has in common with them.
    pub(crate) fn share(&self, value: &mut Subscription) {
        self.names.share(&mut value.filter);
        if *value.policy == *self.no_policy {
            value.policy = Arc::clone(&self.no_policy);
        }
    }

    /// Makes a subscription ready for [`load`](Self::load): it shares with those before it.
    pub(crate) fn adopt(&mut self, mut value: Subscription) -> Arc<Subscription> {
        self.share(&mut value);
        self.names.add(&value.filter);
        Arc::new(value)
    }

    /// Takes in all subscriptions of a log that is opened, each adopted before.
    pub(crate) fn load(&mut self, subscriptions: &[Arc<Subscription>]) {
        self.subscriptions = Subscriptions::load(subscriptions);
    }

    /// Gives back what tables keep free after very many insertions, a third of them.
    pub(crate) fn pack(&mut self) {
        pack(&mut self.applications);
        self.application_owners.shrink_to_fit();
        self.application_uids.shrink_to_fit();
    }

    /// Applies one change.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutOrganisation(value) => {
                self.organisations.insert(value.id, Arc::clone(value));
            }
            Change::PutApplication(value) => self.put_application(value),
            Change::DeleteApplication(id) => self.delete_application(*id),
            Change::PutEventType(value) => {
                let names = self.event_types.entry(value.organisation).or_default();
                names.insert(value.name.clone(), Arc::clone(value));
            }
            Change::DeleteEventType(organisation, name) => {
                if let Some(names) = self.event_types.get_mut(organisation) {
                    names.remove(name);
                }
            }
            Change::PutSubscription(value) => self.put_subscription(value),
            Change::DeleteSubscription(id) => self.delete_subscription(*id),
            Change::PutTask(value) => self.tasks.put(value),
            Change::DeleteTask(id) => self.tasks.delete(*id),
            // Commands for the dispatcher; the registry does not change.
            Change::Redeliver { .. }
            | Change::Skip { .. }
            | Change::RetryNow { .. }
            | Change::Release(_) => {}
            Change::PutTokenCuts(value) => self.revocations.put_cuts(value),
            Change::RevokeToken(token) => self.revocations.revoke(*token),
            Change::ForgetToken(token) => self.revocations.forget_token(token),
            Change::Expunge(what) => self.expunged.add(*what),
            Change::ForgetExpunged(what) => self.expunged.forget(*what),
            Change::PutSessionCuts(value) => self.sessions.put(value),
            Change::ForgetSession {
                organisation,
                owner,
                session,
            } => self.sessions.forget(*organisation, *owner, session),
        }
    }

    fn put_application(&mut self, value: &Arc<Application>) {
        let owner = value.organisation;
        if value.kind == ApplicationKind::Operational {
            self.operational_owners.insert(value.id, owner);
            self.operational.insert(owner, Arc::clone(value));
            return;
        }
        let old = self
            .applications
            .insert((owner, value.id), Arc::clone(value));
        if old.is_none() {
            *self.application_counts.entry(owner).or_default() += 1;
        }
        if let Some(uid) = old.and_then(|old| old.uid.clone()) {
            self.application_uids.remove(&(owner, uid));
        }
        if let Some(uid) = value.uid.clone() {
            self.application_uids.insert((owner, uid), value.id);
        }
        self.application_owners.insert(value.id, owner);
    }

    fn delete_application(&mut self, id: ApplicationId) {
        let Some(owner) = self.application_owners.remove(&id) else {
            return;
        };
        self.revocations.forget_application(id);
        self.sessions.forget_application(owner, id);
        let all = (Bound::Unbounded, Bound::Unbounded);
        let subscriptions: Vec<_> = self.subscriptions(id, all).map(|value| value.id).collect();
        for subscription in subscriptions {
            self.delete_subscription(subscription);
        }
        self.tasks.delete_application(owner, id);
        let old = self.applications.remove(&(owner, id));
        uncount(&mut self.application_counts, &owner);
        if let Some(uid) = old.and_then(|old| old.uid.clone()) {
            self.application_uids.remove(&(owner, uid));
        }
    }

    fn put_subscription(&mut self, value: &Arc<Subscription>) {
        self.names.add(&value.filter);
        if let Some(old) = self.subscriptions.put(value) {
            self.names.remove(&old.filter);
        }
    }

    fn delete_subscription(&mut self, id: SubscriptionId) {
        if let Some(old) = self.subscriptions.remove(id) {
            self.names.remove(&old.filter);
        }
    }
}

/// Builds a map anew, with full nodes.
fn pack<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}

/// One less of an owner's.
fn uncount<K: Eq + Hash>(counts: &mut HashMap<K, usize>, owner: &K) {
    if let Some(count) = counts.get_mut(owner) {
        *count = count.saturating_sub(1);
    }
}

type Bounds<K> = (Bound<K>, Bound<K>);

/// The bounds of `range` among the keys of one owner.
fn within<O: Copy, K: Copy>(owner: O, range: Bounds<K>, low: K, high: K) -> Bounds<(O, K)> {
    let lower = match range.0 {
        Bound::Unbounded => Bound::Included((owner, low)),
        Bound::Included(key) => Bound::Included((owner, key)),
        Bound::Excluded(key) => Bound::Excluded((owner, key)),
    };
    let upper = match range.1 {
        Bound::Unbounded => Bound::Included((owner, high)),
        Bound::Included(key) => Bound::Included((owner, key)),
        Bound::Excluded(key) => Bound::Excluded((owner, key)),
    };
    (lower, upper)
}
