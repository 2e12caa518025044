//! ④ The routing index: which subscriptions want this record?
//!
//! A pure index by application, event type and channel. A record looks at the subscriptions that
//! take its type (or every type) and one of its channels (or all), and at no others; of these, those
//! with a condition on the payload evaluate it, on a payload that is parsed once.
//!
//! **Invariant:** the cost of a record grows with its matches and channels, not with the number of
//! subscriptions; the order of matches is the order of ids, so a seed replays.
//! **Next:** `lane.rs`, where a matching record is queued.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use hooklog_storage::{
    ApplicationId, Channel, EventTypeName, Offset, Parsed, Record, Subscription, SubscriptionId,
};

/// All subscriptions, and the enabled ones by what they want.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    entries: BTreeMap<SubscriptionId, Entry>,
    members: BTreeSet<(ApplicationId, SubscriptionId)>,
    applications: BTreeMap<ApplicationId, ByType>,
}

/// One subscription in the index.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its present value.
    pub(crate) subscription: Arc<Subscription>,
    /// The first offset that it can match.
    pub(crate) from: Offset,
}

impl Entry {
    pub(crate) fn is_enabled(&self) -> bool {
        self.subscription.state.is_enabled()
    }
}

#[derive(Debug, Default)]
struct ByType {
    all: ByChannel,
    named: BTreeMap<EventTypeName, ByChannel>,
}

#[derive(Debug, Default)]
struct ByChannel {
    all: BTreeSet<SubscriptionId>,
    named: BTreeMap<Channel, BTreeSet<SubscriptionId>>,
}

/// Whether a subscription is to get this record of its application: its filter takes it, and it is
/// not one that is released to it at a time of its own.
pub(crate) fn wants(subscription: &Subscription, record: &Record) -> bool {
    subscription.application == record.event.application
        && !is_released(subscription, record)
        && subscription.filter.takes(&record.event)
}

/// Whether it is `releases.rs` that brings the record to the subscription.
fn is_released(subscription: &Subscription, record: &Record) -> bool {
    let due = record.event.deliver_at;
    due.is_some_and(|due| subscription.awaits(record.offset, due))
}

impl Routes {
    /// Puts a subscription in; replaces its former value, which is returned.
    pub(crate) fn insert(
        &mut self,
        subscription: Arc<Subscription>,
        from: Offset,
    ) -> Option<Entry> {
        let old = self.remove(subscription.id);
        let entry = Entry { subscription, from };
        if entry.is_enabled() {
            self.index(&entry.subscription);
        }
        self.members
            .insert((entry.subscription.application, entry.subscription.id));
        self.entries.insert(entry.subscription.id, entry);
        old
    }

    /// Takes a subscription out.
    pub(crate) fn remove(&mut self, id: SubscriptionId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.members.remove(&(entry.subscription.application, id));
        if entry.is_enabled() {
            self.unindex(&entry.subscription);
        }
        Some(entry)
    }

    /// The subscription with this id.
    pub(crate) fn get(&self, id: SubscriptionId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Every subscription's id, ascending.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SubscriptionId> {
        self.entries.keys().copied()
    }

    /// The ids of an application's subscriptions, ascending.
    pub(crate) fn members(&self, application: ApplicationId) -> Vec<SubscriptionId> {
        let low = SubscriptionId::from_bytes([0; 20]);
        self.members
            .range((Bound::Included((application, low)), Bound::Unbounded))
            .take_while(|(owner, _)| *owner == application)
            .map(|(_, id)| *id)
            .collect()
    }

    /// Fills `matches` with the subscriptions that want this record, ascending, each once.
    pub(crate) fn matching(&self, record: &Record, matches: &mut Vec<SubscriptionId>) {
        matches.clear();
        if record.event.only.is_some() {
            return;
        }
        let Some(by_type) = self.applications.get(&record.event.application) else {
            return;
        };
        let named = by_type.named.get(&record.event.event_type);
        for by_channel in named.into_iter().chain([&by_type.all]) {
            matches.extend(&by_channel.all);
            for channel in &record.event.channels {
                matches.extend(by_channel.named.get(channel).into_iter().flatten());
            }
        }
        // Several channels of one event may lead to the same subscription.
        matches.sort_unstable();
        matches.dedup();
        let parsed = Parsed::new(&record.event);
        matches.retain(|id| {
            self.get(*id).is_some_and(|entry| {
                let filter = &entry.subscription.filter;
                // The index has looked at all the rest.
                let holds = filter.condition.is_none() || filter.takes_parsed(&parsed);
                let comes_now = !is_released(&entry.subscription, record);
                holds && comes_now && entry.from <= record.offset
            })
        });
    }

    fn index(&mut self, subscription: &Subscription) {
        let by_type = self
            .applications
            .entry(subscription.application)
            .or_default();
        match &subscription.filter.event_types {
            None => by_type.all.insert(subscription),
            Some(types) => {
                for name in types {
                    by_type
                        .named
                        .entry(name.clone())
                        .or_default()
                        .insert(subscription);
                }
            }
        }
    }

    fn unindex(&mut self, subscription: &Subscription) {
        let Some(by_type) = self.applications.get_mut(&subscription.application) else {
            return;
        };
        match &subscription.filter.event_types {
            None => by_type.all.remove(subscription),
            Some(types) => {
                for name in types {
                    let Some(by_channel) = by_type.named.get_mut(name) else {
                        continue;
                    };
                    by_channel.remove(subscription);
                    if by_channel.is_empty() {
                        by_type.named.remove(name);
                    }
                }
            }
        }
        if by_type.all.is_empty() && by_type.named.is_empty() {
            self.applications.remove(&subscription.application);
        }
    }
}

impl ByChannel {
    fn insert(&mut self, subscription: &Subscription) {
        match &subscription.filter.channels {
            None => {
                self.all.insert(subscription.id);
            }
            Some(channels) => {
                for channel in channels {
                    self.named
                        .entry(channel.clone())
                        .or_default()
                        .insert(subscription.id);
                }
            }
        }
    }

    fn remove(&mut self, subscription: &Subscription) {
        match &subscription.filter.channels {
            None => {
                self.all.remove(&subscription.id);
            }
            Some(channels) => {
                for channel in channels {
                    let Some(ids) = self.named.get_mut(channel) else {
                        continue;
                    };
                    ids.remove(&subscription.id);
                    if ids.is_empty() {
                        self.named.remove(channel);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.named.is_empty()
    }
}

#[cfg(test)]
mod tests;
