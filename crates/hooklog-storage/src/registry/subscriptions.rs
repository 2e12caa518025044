//! Subscriptions in memory, by id, by application and by uid.
//!
//! There are very many of them, so a table holds nothing but the pointer that it sorts by what the
//! subscription itself says: 12 bytes each, where ids and uids beside it took 30, 46 and 70.
//!
//! **Invariant:** every subscription is in the tables of ids and of applications once, and in that of
//! uids if it has one.
//! **Next:** `names.rs`, what their filters have in common.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use crate::id::{ApplicationId, SubscriptionId};
use crate::subscription::Subscription;

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_id: BTreeSet<Sorted<ById>>,
    members: BTreeSet<Sorted<Member>>,
    by_uid: BTreeSet<Sorted<ByUid>>,
    counts: HashMap<ApplicationId, usize>,
}

impl Subscriptions {
    pub(super) fn get(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        let key: &dyn Key = &(NO_APPLICATION, id.as_bytes().as_slice());
        self.by_id.get(key).map(Sorted::value)
    }

    pub(super) fn by_uid(
        &self,
        application: ApplicationId,
        uid: &str,
    ) -> Option<&Arc<Subscription>> {
        let key: &dyn Key = &(application, uid.as_bytes());
        self.by_uid.get(key).map(Sorted::value)
    }

    /// Those of an application with ids in `range`, ascending.
    pub(super) fn of(
        &self,
        application: ApplicationId,
        range: (Bound<SubscriptionId>, Bound<SubscriptionId>),
    ) -> impl DoubleEndedIterator<Item = &Arc<Subscription>> {
        let (low, high) = ([0; 20], [0xff; 20]);
        let lower = (application, bytes(&range.0).unwrap_or(&low));
        let upper = (application, bytes(&range.1).unwrap_or(&high));
        let bounds = (bound(&range.0, &lower), bound(&range.1, &upper));
        self.members.range::<dyn Key, _>(bounds).map(Sorted::value)
    }

    /// All of them, by id.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Subscription>> {
        self.by_id.iter().map(Sorted::value)
    }

    /// How many an application has.
    pub(super) fn count(&self, application: ApplicationId) -> usize {
        self.counts.get(&application).copied().unwrap_or(0)
    }

    /// Puts one in; returns its former value.
    pub(super) fn put(&mut self, value: &Arc<Subscription>) -> Option<Arc<Subscription>> {
        // Tables sort by what it says, so its former value goes first.
        let old = self.remove(value.id);
        self.by_id.insert(Sorted::of(value));
        self.members.insert(Sorted::of(value));
        if value.uid.is_some() {
            self.by_uid.insert(Sorted::of(value));
        }
        *self.counts.entry(value.application).or_default() += 1;
        old
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        let key: &dyn Key = &(NO_APPLICATION, id.as_bytes().as_slice());
        let old = self.by_id.take(key)?.0;
        self.members.remove(&Sorted::of(&old));
        if old.uid.is_some() {
            self.by_uid.remove(&Sorted::of(&old));
        }
        if let Some(count) = self.counts.get_mut(&old.application) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&old.application);
            }
        }
        Some(old)
    }

    /// All of a log that is opened, no two with one id. Tables are made at once, with full nodes: to put
    /// very many in one by one looks at each several times, and leaves a third of the room unused.
    pub(super) fn load(values: &[Arc<Subscription>]) -> Self {
        let with_uid = values.iter().filter(|value| value.uid.is_some());
        let mut counts: HashMap<ApplicationId, usize> = HashMap::new();
        for value in values {
            *counts.entry(value.application).or_default() += 1;
        }
        counts.shrink_to_fit();
        Self {
            by_id: values.iter().map(Sorted::of).collect(),
            members: values.iter().map(Sorted::of).collect(),
            by_uid: with_uid.map(Sorted::of).collect(),
            counts,
        }
    }
}

/// What a table sorts by. A text or the bytes of an id.
trait Key {
    fn key(&self) -> (ApplicationId, &[u8]);
}

impl Key for (ApplicationId, &[u8]) {
    fn key(&self) -> (ApplicationId, &[u8]) {
        *self
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn Key + '_ {}

impl PartialOrd for dyn Key + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Key + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// An order of subscriptions.
trait Order {
    fn key(of: &Subscription) -> (ApplicationId, &[u8]);
}

/// In place of an application where there is none to sort by.
const NO_APPLICATION: ApplicationId = ApplicationId::from_bytes([0; 20]);

#[derive(Debug)]
enum ById {}
#[derive(Debug)]
enum Member {}
#[derive(Debug)]
enum ByUid {}

impl Order for ById {
    fn key(of: &Subscription) -> (ApplicationId, &[u8]) {
        (NO_APPLICATION, of.id.as_bytes())
    }
}

impl Order for Member {
    fn key(of: &Subscription) -> (ApplicationId, &[u8]) {
        (of.application, of.id.as_bytes())
    }
}

impl Order for ByUid {
    fn key(of: &Subscription) -> (ApplicationId, &[u8]) {
        let uid = of.uid.as_ref().map_or("", |uid| uid.as_str());
        (of.application, uid.as_bytes())
    }
}

/// A subscription in a table.
#[derive(Debug)]
struct Sorted<O>(Arc<Subscription>, PhantomData<O>);

impl<O> Sorted<O> {
    fn of(value: &Arc<Subscription>) -> Self {
        Self(Arc::clone(value), PhantomData)
    }

    fn value(&self) -> &Arc<Subscription> {
        &self.0
    }
}

impl<O: Order> Key for Sorted<O> {
    fn key(&self) -> (ApplicationId, &[u8]) {
        O::key(&self.0)
    }
}

impl<'a, O: Order + 'a> Borrow<dyn Key + 'a> for Sorted<O> {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl<O: Order> PartialEq for Sorted<O> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<O: Order> Eq for Sorted<O> {}

impl<O: Order> PartialOrd for Sorted<O> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<O: Order> Ord for Sorted<O> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

fn bytes(of: &Bound<SubscriptionId>) -> Option<&[u8]> {
    match of {
        Bound::Unbounded => None,
        Bound::Included(id) | Bound::Excluded(id) => Some(id.as_bytes()),
    }
}

/// The same kind of bound, for a key; one that is open ends with the application.
fn bound<'a>(of: &Bound<SubscriptionId>, key: &'a dyn Key) -> Bound<&'a dyn Key> {
    match of {
        Bound::Excluded(_) => Bound::Excluded(key),
        Bound::Included(_) | Bound::Unbounded => Bound::Included(key),
    }
}

#[cfg(test)]
mod tests;
