//! The order of a lane: who goes next of those that wait for each other.
//!
//! Deliveries of one order key wait for each other: all of a lane (`Fifo`), those of one ordering key
//! (`FifoByKey`), none (`None`). What holds up the others is read off the parked deliveries and the
//! attempts in flight, whatever the ordering was when they came to be, so it may change at any time.
//!
//! **Invariant:** of one order key at most one delivery that was not settled before is in flight, and
//! it is the lowest; a redelivery of a settled event waits for nobody and holds up nobody.
//! **Next:** `lane/judge.rs`.

use std::collections::BTreeMap;

use hooklog_storage::{Offset, Ordering, Record, Retry, Timestamp};

use super::{Lane, Limits};

/// Hash of a record's ordering key. It is on disk with parked deliveries, so it is FNV-1a of 64 bits
/// for good; two keys with one hash only wait for each other.
pub(crate) fn key_of(record: &Record) -> Option<u64> {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let key = record.event.ordering_key.as_ref()?;
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    Some(key.as_str().as_bytes().iter().fold(BASIS, mix))
}

/// What waits for what.
pub(super) struct Order {
    ordering: Ordering,
    /// For each order key that is held up: the parked delivery that goes next, or `None` while an
    /// attempt is in flight.
    heads: BTreeMap<u64, Option<Offset>>,
}

impl Order {
    fn order_key(&self, key: Option<u64>) -> Option<u64> {
        match self.ordering {
            Ordering::None => None,
            Ordering::Fifo => Some(0),
            Ordering::FifoByKey => key,
        }
    }
}

impl Lane {
    /// What waits for what now.
    pub(super) fn order(&self, ordering: Ordering) -> Order {
        let heads = BTreeMap::new();
        let mut order = Order { ordering, heads };
        if ordering == Ordering::None {
            return order;
        }
        for (offset, retry) in self.parked.from(Offset::ZERO) {
            let key = order.order_key(retry.key);
            if let Some(key) = key.filter(|_| retry.is_awaited && self.is_passed(offset)) {
                order.heads.entry(key).or_insert(Some(offset));
            }
        }
        for flight in self.in_flight.values().filter(|flight| flight.is_awaited) {
            if let Some(key) = order.order_key(flight.key) {
                order.heads.insert(key, None);
            }
        }
        order
    }

    /// Whether a parked delivery may go as far as order is concerned.
    pub(super) fn may_go(&self, order: &Order, offset: Offset, retry: &Retry) -> bool {
        if retry.is_skipped {
            return false;
        }
        if order.ordering == Ordering::None {
            return true;
        }
        let head = order
            .order_key(retry.key)
            .filter(|_| retry.is_awaited)
            .map(|key| order.heads.get(&key));
        let goes_next = match head {
            None => true,
            Some(head) => head == Some(&Some(offset)),
        };
        // What was asked for before its turn goes from the queue.
        goes_next && self.is_passed(offset)
    }

    /// The first in the queue that may have its first attempt now.
    pub(super) fn first_in_queue(
        &self,
        order: Order,
        now: Timestamp,
        limits: &Limits,
    ) -> Option<usize> {
        // If it fails it must fit into the retry table.
        if self.held() + self.in_flight.len() >= limits.retries_max {
            return None;
        }
        let mut order = order;
        for (index, queued) in self.queue.iter().enumerate() {
            let offset = queued.record.offset;
            let fits = if index == 0 {
                self.ack.may_start(limits.window)
            } else {
                self.ack.has_room(limits.window)
            };
            if !fits {
                return None;
            }
            let parked = self.parked.get(offset);
            let is_done = self.ack.is_settled(offset)
                || self.is_in_flight(offset)
                || parked.is_some_and(|retry| retry.is_skipped);
            if is_done {
                continue;
            }
            let key = order.order_key(queued.key);
            let is_free = key.is_none_or(|key| !order.heads.contains_key(&key));
            if is_free && (parked.is_none() || self.parked.is_due(offset, now)) {
                return Some(index);
            }
            match key {
                // Others of this key, behind it, wait for it.
                Some(key) => drop(order.heads.insert(key, None)),
                None if order.ordering == Ordering::FifoByKey => {}
                None => return None,
            }
            if order.ordering == Ordering::Fifo {
                return None;
            }
        }
        None
    }
}
