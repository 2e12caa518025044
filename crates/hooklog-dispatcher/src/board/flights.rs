//! The attempts in flight, and how their number is shared: between lanes, and between hosts.
//!
//! **Invariant:** a lane that has its share leaves a quarter of the budget to those that have not, so
//! endpoints that hang never take it all. Endpoints of one host share a bound; whoever waits for it
//! stands in the host's own queue and holds up nobody else.
//! **Next:** `board/settle.rs`, where attempts end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hooklog_storage::{Offset, SubscriptionId};
use url::Url;

/// This part of the budget is kept for lanes that have less than their share.
const RESERVE_PART: usize = 4;

/// The attempts in flight.
pub(super) struct Flights {
    most: usize,
    host_most: usize,
    under_way: BTreeMap<(SubscriptionId, Offset), Arc<str>>,
    lanes: BTreeMap<SubscriptionId, usize>,
    hosts: BTreeMap<Arc<str>, Host>,
}

#[derive(Default)]
struct Host {
    in_flight: usize,
    waiting: VecDeque<SubscriptionId>,
}

/// The host and port that a URL goes to, computed once for each lane.
pub(super) fn host_of(url: &str) -> Arc<str> {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| {
        let port = url.port_or_known_default()?;
        Some(format!("{}:{port}", url.host_str()?))
    });
    // One that cannot be read is its own host; attempts fail before they get anywhere.
    host.unwrap_or_else(|| url.to_owned()).into()
}

impl Flights {
    pub(super) fn new(most: usize, host_most: usize) -> Self {
        Self {
            most,
            host_most,
            under_way: BTreeMap::new(),
            lanes: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether anybody may start an attempt.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < self.most
    }

    /// Whether this lane may start one: within its share always, above it from what is not reserved.
    pub(super) fn may_start(&self, id: SubscriptionId) -> bool {
        let share = (self.most / (self.lanes.len() + 1)).max(1);
        let own = self.lanes.get(&id).copied().unwrap_or(0);
        own < share || self.under_way.len() < self.most - self.most / RESERVE_PART
    }

    /// Whether a host takes one more; if not, the subscription is put into its queue.
    pub(super) fn host_takes(&mut self, host: &Arc<str>, id: SubscriptionId) -> bool {
        let Some(entry) = self.hosts.get_mut(host) else {
            return true;
        };
        let takes = entry.in_flight < self.host_most;
        if !takes {
            entry.waiting.push_back(id);
        }
        takes
    }

    pub(super) fn begin(&mut self, id: SubscriptionId, offset: Offset, host: &Arc<str>) {
        self.under_way.insert((id, offset), Arc::clone(host));
        *self.lanes.entry(id).or_default() += 1;
        self.hosts.entry(Arc::clone(host)).or_default().in_flight += 1;
    }

    /// Takes out an attempt that ended. Returns its host; `None` if it had ended before.
    pub(super) fn end(&mut self, id: SubscriptionId, offset: Offset) -> Option<Arc<str>> {
        let host = self.under_way.remove(&(id, offset))?;
        if let Some(count) = self.lanes.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.lanes.remove(&id);
            }
        }
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.in_flight -= 1;
        }
        Some(host)
    }

    /// Who waited longest for a host that takes one more now.
    pub(super) fn next_for(&mut self, host: &Arc<str>) -> Option<SubscriptionId> {
        let entry = self.hosts.get_mut(host)?;
        let next = (entry.in_flight < self.host_most)
            .then(|| entry.waiting.pop_front())
            .flatten();
        if entry.in_flight == 0 && entry.waiting.is_empty() {
            self.hosts.remove(host);
        }
        next
    }

    /// Whether nothing is kept any more.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.lanes.is_empty() && self.hosts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::subscription_id;

    #[test]
    fn endpoints_of_one_host_have_one_key() {
        let cases = [
            ("https://Example.com/a", "example.com:443"),
            ("https://example.com:443/b?c", "example.com:443"),
            ("http://example.com/b", "example.com:80"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("no url", "no url"),
        ];
        for (url, expected) in cases {
            assert_eq!(&*host_of(url), expected);
        }
    }

    #[test]
    fn who_has_its_share_leaves_the_reserve_to_others() {
        let mut flights = Flights::new(8, 100);
        let (greedy, other, host) = (subscription_id(1), subscription_id(2), host_of("http://a/"));
        let mut taken = 0;
        while flights.may_start(greedy) {
            flights.begin(greedy, Offset::new(taken), &host);
            taken += 1;
        }
        assert_eq!(taken, 6);
        assert!(flights.has_room() && flights.may_start(other));
        flights.begin(other, Offset::ZERO, &host);
        assert!(
            flights.may_start(other),
            "two of eight are less than a share"
        );
        flights.begin(other, Offset::new(1), &host);
        assert!(!flights.has_room());
        assert!(flights.end(greedy, Offset::ZERO).is_some());
        assert!(
            flights.end(greedy, Offset::ZERO).is_none(),
            "it ended before"
        );
        assert!(!flights.may_start(greedy) && flights.may_start(subscription_id(3)));
    }

    #[test]
    fn a_full_host_queues_its_own() {
        let mut flights = Flights::new(100, 2);
        let (a, b) = (host_of("http://a/1"), host_of("http://b/"));
        let ids = [1, 2, 3, 4].map(subscription_id);
        for id in &ids[..2] {
            assert!(flights.host_takes(&a, *id));
            flights.begin(*id, Offset::ZERO, &a);
        }
        assert!(!flights.host_takes(&a, ids[2]) && !flights.host_takes(&a, ids[3]));
        assert!(flights.host_takes(&b, ids[2]));
        assert_eq!(flights.next_for(&a), None, "it is still full");
        flights.end(ids[0], Offset::ZERO);
        assert_eq!(flights.next_for(&a), Some(ids[2]));
        // That one had nothing to send any more, so the next has its turn.
        assert_eq!(flights.next_for(&a), Some(ids[3]));
        flights.end(ids[1], Offset::ZERO);
        assert_eq!(flights.next_for(&a), None);
        assert!(flights.is_empty());
    }
}
