//! ④ The routing index: which subscriptions want this record?
//!
//! A pure index by application, event type and channel. A record looks at the subscriptions that
//! take its type (or every type) and one of its channels (or all), and at no others. Conditions on the
//! payload are evaluated here only as far as a budget goes, on a payload that is parsed once; above
//! it, whoever has one reads the record from the log and evaluates it beside the loop.
//!
//! **Invariant:** the cost of a record grows with its matches and channels, not with the number of
//! subscriptions, and not with its payload; the order of matches is the order of ids, so a seed
//! replays. A subscription takes some 50 bytes here, and 20 for each pair of type and channel.
//! **Next:** `lane.rs`, where a matching record is queued.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use hooklog_storage::{
    ApplicationId, Channel, EventTypeName, Offset, Parsed, Record, Subscription, SubscriptionId,
};

use numbers::Numbers;

mod numbers;

/// All subscriptions, and the enabled ones by what they want.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Places of subscriptions in `entries`.
    places: BTreeMap<SubscriptionId, u32>,
    entries: Vec<Option<Entry>>,
    /// Places that are free.
    free: Vec<u32>,
    applications: Numbers<ApplicationId>,
    types: Numbers<EventTypeName>,
    channels: Numbers<Channel>,
    /// Flat and made of numbers: sets within maps would cost a subscription kilobytes if it is the
    /// only one of its application.
    index: BTreeSet<Key>,
    /// Keys that are to go into the index all at once, which then has no room to spare.
    staged: Option<Vec<Key>>,
}

/// Whoever takes this type on this channel of this application. The order of fields is that of the
/// index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    application: u32,
    event_type: u32,
    channel: u32,
    place: u32,
}

/// Every type, or every channel.
const ALL: u32 = u32::MAX;
/// In place of a type: a subscription of the application that takes nothing, since it is disabled.
const NONE: u32 = u32::MAX - 1;

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

/// Who wants a record, ascending, each once.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    pub(crate) certain: Vec<SubscriptionId>,
    /// Those whose condition was not evaluated.
    pub(crate) unsure: Vec<SubscriptionId>,
}

/// Payload that may still be looked at before the loop goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    bytes: usize,
}

impl Default for Budget {
    /// Parsing so many bytes takes about half a millisecond (JSON at some 150 MB/s), which is little
    /// beside a commit; most payloads are far smaller.
    fn default() -> Self {
        Self { bytes: 64 << 10 }
    }
}

impl Budget {
    #[cfg(test)]
    pub(crate) fn of(bytes: usize) -> Self {
        Self { bytes }
    }

    /// Whether so many conditions may look at a payload; each may look at all of it.
    fn covers(&mut self, payload: &[u8], conditions: usize) -> bool {
        let rest = payload
            .len()
            .checked_mul(conditions)
            .and_then(|bytes| self.bytes.checked_sub(bytes));
        self.bytes = rest.unwrap_or(self.bytes);
        rest.is_some()
    }
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
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            // Memory ends long before numbers do.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        self.places.insert(subscription.id, place);
        let keys = self.keys_of(&subscription, place, Numbering::Take);
        match &mut self.staged {
            Some(staged) => staged.extend(keys),
            None => self.index.extend(keys),
        }
        let entry = Entry { subscription, from };
        if let Some(slot) = self.entries.get_mut(at(place)) {
            *slot = Some(entry);
        }
        old
    }

    /// Very many are to come, if there is none yet: what they want is not found before `pack`.
    pub(crate) fn stage(&mut self) {
        self.staged = self.index.is_empty().then(Vec::new);
    }

    fn unstage(&mut self) {
        if let Some(keys) = self.staged.take() {
            self.index = keys.into_iter().collect();
        }
    }

    /// They are there. Gives back what tables keep free after very many insertions, a third of them.
    pub(crate) fn pack(&mut self) {
        self.unstage();
        self.places = std::mem::take(&mut self.places).into_iter().collect();
        self.entries.shrink_to_fit();
        self.free.shrink_to_fit();
        self.applications.pack();
    }

    /// Takes a subscription out.
    pub(crate) fn remove(&mut self, id: SubscriptionId) -> Option<Entry> {
        let place = self.places.remove(&id)?;
        self.unstage();
        self.free.push(place);
        let entry = self.entries.get_mut(at(place))?.take()?;
        for key in self.keys_of(&entry.subscription, place, Numbering::GiveBack) {
            self.index.remove(&key);
        }
        Some(entry)
    }

    /// The subscription with this id.
    pub(crate) fn get(&self, id: SubscriptionId) -> Option<&Entry> {
        self.entry(*self.places.get(&id)?)
    }

    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(at(place))?.as_ref()
    }

    /// Every subscription's id, ascending.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SubscriptionId> {
        self.places.keys().copied()
    }

    /// The ids of an application's subscriptions, ascending.
    pub(crate) fn members(&self, application: ApplicationId) -> Vec<SubscriptionId> {
        let Some(application) = self.applications.get(&application) else {
            return Vec::new();
        };
        let keys = self.index.range(of(application));
        let entries = keys.filter_map(|key| self.entry(key.place));
        let mut ids: Vec<_> = entries.map(|entry| entry.subscription.id).collect();
        // Each is there once for each type and channel.
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Fills `matches` with the subscriptions that want this record.
    pub(crate) fn matching(&self, record: &Record, budget: &mut Budget, matches: &mut Matches) {
        let Matches { certain, unsure } = matches;
        certain.clear();
        unsure.clear();
        if record.event.only.is_some() {
            return;
        }
        let Some(application) = self.applications.get(&record.event.application) else {
            return;
        };
        let reached = |entry: &Entry| {
            entry.from <= record.offset && !is_released(&entry.subscription, record)
        };
        let named = self.types.get(&record.event.event_type);
        for event_type in named.into_iter().chain([ALL]) {
            self.collect(application, event_type, ALL, certain, reached);
            let channels = record.event.channels.iter();
            for channel in channels.filter_map(|channel| self.channels.get(channel)) {
                self.collect(application, event_type, channel, certain, reached);
            }
        }
        // Several channels of one event may lead to the same subscription.
        certain.sort_unstable();
        certain.dedup();
        self.sift(record, budget, matches);
    }

    /// Looks at conditions; the index has looked at all the rest.
    fn sift(&self, record: &Record, budget: &mut Budget, matches: &mut Matches) {
        let filter = |id: &SubscriptionId| {
            let filter = &self.get(*id)?.subscription.filter;
            filter.condition.is_some().then_some(filter)
        };
        let Matches { certain, unsure } = matches;
        let conditions = certain.iter().filter_map(filter).count();
        if conditions == 0 {
            return;
        }
        if budget.covers(&record.event.payload, conditions) {
            let parsed = Parsed::new(&record.event);
            certain.retain(|id| filter(id).is_none_or(|filter| filter.takes_parsed(&parsed)));
        } else {
            unsure.extend(certain.extract_if(.., |id| filter(id).is_some()));
        }
    }

    /// Adds those that stand under a type and a channel and pass `takes`.
    fn collect(
        &self,
        application: u32,
        event_type: u32,
        channel: u32,
        ids: &mut Vec<SubscriptionId>,
        takes: impl Fn(&Entry) -> bool,
    ) {
        let keys = self.index.range(under(application, event_type, channel));
        let entries = keys.filter_map(|key| self.entry(key.place));
        let taken = entries.filter(|entry| takes(entry));
        ids.extend(taken.map(|entry| entry.subscription.id));
    }

    /// All keys of a subscription, whose numbers are taken or given back.
    fn keys_of(
        &mut self,
        subscription: &Subscription,
        place: u32,
        numbering: Numbering,
    ) -> Vec<Key> {
        let application = numbering.number(&mut self.applications, &subscription.application);
        if !subscription.state.is_enabled() {
            return vec![Key {
                application,
                event_type: NONE,
                channel: ALL,
                place,
            }];
        }
        let filter = &subscription.filter;
        let types = numbering.numbers(&mut self.types, filter.event_types.as_deref());
        let channels = numbering.numbers(&mut self.channels, filter.channels.as_deref());
        let mut keys = Vec::with_capacity(types.len() * channels.len());
        for event_type in types {
            keys.extend(channels.iter().map(|channel| Key {
                application,
                event_type,
                channel: *channel,
                place,
            }));
        }
        keys
    }
}

/// What becomes of the numbers of keys that are listed.
#[derive(Clone, Copy, Debug)]
enum Numbering {
    Take,
    GiveBack,
}

impl Numbering {
    fn number<K: Ord + Clone>(self, numbers: &mut Numbers<K>, key: &K) -> u32 {
        match self {
            Self::Take => numbers.take(key),
            Self::GiveBack => {
                let number = numbers.get(key).unwrap_or(ALL);
                numbers.give_back(key);
                number
            }
        }
    }

    /// The numbers of names; of none, what stands for all.
    fn numbers<K: Ord + Clone>(self, numbers: &mut Numbers<K>, names: Option<&[K]>) -> Vec<u32> {
        let Some(names) = names else { return vec![ALL] };
        let mut all: Vec<_> = names
            .iter()
            .map(|name| self.number(numbers, name))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn under(application: u32, event_type: u32, channel: u32) -> RangeInclusive<Key> {
    let key = |place| Key {
        application,
        event_type,
        channel,
        place,
    };
    key(0)..=key(u32::MAX)
}

/// All keys of an application.
fn of(application: u32) -> RangeInclusive<Key> {
    let key = |number| Key {
        application,
        event_type: number,
        channel: number,
        place: number,
    };
    key(0)..=key(u32::MAX)
}

fn at(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
