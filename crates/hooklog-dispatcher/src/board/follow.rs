//! ③ What the tail brings: records to route, changes of subscriptions, commands.
//!
//! **Invariant:** changes are taken in the order of the journal, between the records that they
//! stand between. A subscription that is disabled keeps a `Behind` cursor on record, so whatever is
//! published meanwhile is delivered when it is enabled.
//! **Next:** `board/flush.rs`, which records where the lanes stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hooklog_storage::{
    Change, Cursor, CursorState, DispatchState, Listing, Offset, OffsetRange, Policy, Record,
    Retry, Subscription, SubscriptionId, TailItem, Timestamp,
};

use super::table::Slot;
use super::{Board, Waiting};
use crate::lane::{Input, Lane};
use crate::route::{Entry, Matches};

/// What the log held at the start, by subscription.
#[derive(Debug, Default)]
pub(super) struct Restored {
    cursors: BTreeMap<SubscriptionId, Cursor>,
    /// Who has something parked.
    parked: BTreeSet<SubscriptionId>,
}

impl Restored {
    pub(super) fn new(state: DispatchState) -> Self {
        Self {
            cursors: state.cursors.into_iter().collect(),
            parked: state.parked.into_iter().collect(),
        }
    }
}

impl Board {
    pub(super) fn follow(&mut self, item: TailItem, now: Timestamp) {
        match item {
            TailItem::Registry(listing) => self.registry(listing, now),
            TailItem::Records(records) => self.route(&records, now),
            TailItem::Expired(range) => self.passed_over(&range, now),
            TailItem::Change(change) => self.change(change, now),
        }
    }

    fn route(&mut self, records: &[Record], now: Timestamp) {
        // A subscription that was created in the midst of these records comes after them.
        self.markable = self.routed;
        let (mut matches, mut budget) = (Matches::default(), self.budget);
        for record in records {
            self.ahead.hear(record.timestamp);
            self.routes.matching(record, &mut budget, &mut matches);
            if !matches.certain.is_empty() {
                // One copy for all lanes: they share it, and it does not pin the whole batch.
                let shared = Arc::new(record.clone());
                for id in &matches.certain {
                    self.route_to(*id, Input::Routed(Arc::clone(&shared)), record.offset, now);
                }
            }
            self.routed = self.routed.max(record.offset.next());
            for id in &matches.unsure {
                self.route_to(*id, Input::Unread(record.offset), record.offset, now);
            }
        }
    }

    /// Events that expired before the tail brought them: whoever is fed by the tail lost them.
    fn passed_over(&mut self, range: &OffsetRange, now: Timestamp) {
        let losers: Vec<_> = self
            .routes
            .ids()
            .filter_map(|id| Some((id, self.routes.get(id)?)))
            .filter(|(id, entry)| entry.is_enabled() && !self.reads_for_itself(*id))
            .map(|(id, entry)| (id, entry.from.max(range.start)..range.end))
            .collect();
        for (id, range) in losers {
            self.lost(id, range, now);
        }
        self.routed = self.routed.max(range.end);
    }

    /// Whether a subscription will read from the log what the tail does not bring.
    fn reads_for_itself(&self, id: SubscriptionId) -> bool {
        let behind = |slot: &Slot| slot.lane.is_behind();
        self.waiting.contains_key(&id) || self.slots.get(&id).is_some_and(behind)
    }

    /// Notes that a subscription lost events to retention; an empty range is none.
    pub(super) fn lost(&mut self, id: SubscriptionId, range: OffsetRange, now: Timestamp) {
        if range.is_empty() {
            return;
        }
        let (from, to) = (range.start, range.end);
        tracing::warn!(subscription = %id, %from, %to, "events expired before they were delivered");
        self.flush.lose(id, range, now);
    }

    fn route_to(&mut self, id: SubscriptionId, input: Input, at: Offset, now: Timestamp) {
        if self.waiting.contains_key(&id) {
            // Its lane will start behind and read this record from the log.
            return;
        }
        if !self.slots.contains_key(&id) {
            self.add_lane(id, Lane::live(at));
        }
        self.tell_at(id, input, self.routed.max(at), now);
    }

    fn change(&mut self, change: Change, now: Timestamp) {
        if let Some(at) = time_of(&change) {
            self.ahead.hear(at);
        }
        match change {
            Change::PutSubscription(value) => self.put(value, now),
            Change::DeleteSubscription(id) => self.delete(id),
            Change::DeleteApplication(id) => {
                for id in self.routes.members(id) {
                    self.delete(id);
                }
                self.put_policy(id, &Policy::default(), now);
            }
            Change::Redeliver {
                subscription,
                offset,
                asked,
            } => self.parked_by(
                subscription,
                asked,
                Input::Redeliver { offset, asked },
                offset,
                now,
            ),
            Change::Release(release) => {
                let (offset, retry) = (release.offset, Retry::released(release.at, release.key));
                for id in &release.to {
                    let input = Input::Released { offset, retry };
                    self.parked_by(*id, release.at, input, offset, now);
                }
            }
            Change::Skip {
                subscription,
                offset,
                ..
            } => self.command(subscription, Input::Skip { offset }, now),
            Change::RetryNow {
                subscription,
                offset,
                asked,
            } => self.command(subscription, Input::RetryNow { offset, asked }, now),
            Change::PutApplication(value) => self.put_policy(value.id, &value.policy, now),
            Change::PutOrganisation(_)
            | Change::PutEventType(_)
            | Change::DeleteEventType(..)
            | Change::PutTokenCuts(_)
            | Change::RevokeToken(_)
            | Change::ForgetToken(_)
            // An attempt asks the log whether its event still has a content.
            | Change::Expunge(_)
            | Change::ForgetExpunged(_)
            | Change::PutSessionCuts(_)
            | Change::ForgetSession { .. }
            // `tasks.rs` sees to them.
            | Change::PutTask(_)
            | Change::DeleteTask(_) => {}
        }
    }

    /// The state of the registry as a whole: what differs from the index is taken as changes.
    fn registry(&mut self, listing: Listing, now: Timestamp) {
        let Listing {
            subscriptions: all,
            applications,
        } = listing;
        self.put_policies(&applications, now);
        let mut gone: BTreeSet<_> = self.routes.ids().collect();
        for value in &all {
            gone.remove(&value.id);
        }
        for id in gone {
            self.delete(id);
        }
        self.routes.stage();
        for value in all {
            self.put(value, now);
        }
        self.routes.pack();
        self.restored = None;
        // Between the state that was read at the start, or the last change that was seen, and this
        // registry something may have been asked of any delivery.
        self.loads.resync();
    }

    fn put(&mut self, value: Arc<Subscription>, now: Timestamp) {
        let id = value.id;
        let old = self.routes.get(id);
        if old.is_some_and(|old| old.subscription == value) {
            // If it was disabled meanwhile, it is enabled again.
            self.rules_changed(id, false, now);
            return;
        }
        let was_enabled = old.map(Entry::is_enabled);
        let url_before = old.map(|old| Arc::clone(&old.subscription.endpoint.url));
        let (cursor, has_parked) = match &mut self.restored {
            Some(restored) => (restored.cursors.remove(&id), restored.parked.remove(&id)),
            None => (None, false),
        };
        let floor = cursor.as_ref().map_or(Offset::ZERO, |cursor| cursor.floor);
        let from = old.map_or(value.start.max(floor), |old| old.from);
        let is_enabled = value.state.is_enabled();
        let is_again = was_enabled == Some(false) && is_enabled;
        let is_elsewhere = url_before.is_some_and(|url| url != value.endpoint.url);
        self.routes.insert(value, from);
        self.rules_changed(id, is_again || is_elsewhere, now);
        match (was_enabled, is_enabled) {
            (None, true) => self.restore(id, from, cursor, has_parked, now),
            (None, false) => {
                if cursor.is_none_or(|cursor| cursor.state == CursorState::CaughtUp) {
                    self.pause(id, from, now);
                    // Enabled before its cursor is on record, it goes on without another look.
                    if has_parked {
                        self.tell(id, Input::Unheard, now);
                    }
                }
            }
            (Some(true), false) => self.pause(id, from, now),
            (Some(false), true) => self.resume(id, now),
            // Endpoint, secrets and filter are looked up when they are needed.
            (Some(true), true) | (Some(false), false) => {}
        }
    }

    /// A subscription that is new to the board gets a lane only if something may be outstanding.
    pub(super) fn restore(
        &mut self,
        id: SubscriptionId,
        from: Offset,
        cursor: Option<Cursor>,
        has_parked: bool,
        now: Timestamp,
    ) {
        let behind = cursor.filter(|cursor| cursor.state == CursorState::Behind);
        let lane = match behind {
            Some(cursor) => Lane::restored(&cursor),
            // The tail brings a commit's records before its changes, so the first records of a new
            // subscription may have gone by. At the start it stands at the mark instead.
            None if self.restored.is_none() && from < self.routed => Lane::behind(from),
            None if !has_parked => return,
            None => Lane::live(from),
        };
        self.add_lane(id, lane);
        if has_parked {
            self.tell(id, Input::Unheard, now);
        } else {
            self.tell(id, Input::Resumed, now);
        }
    }

    fn pause(&mut self, id: SubscriptionId, from: Offset, now: Timestamp) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            // It was paused before, so its cursor is on record as it should be.
            waiting.cancelled = true;
            return;
        }
        if !self.slots.contains_key(&id) {
            self.add_lane(id, Lane::live(from.max(self.routed)));
        }
        self.tell(id, Input::Paused, now);
    }

    fn resume(&mut self, id: SubscriptionId, now: Timestamp) {
        if self.slots.contains_key(&id) {
            self.tell(id, Input::Resumed, now);
        } else if let Some(waiting) = self.waiting.get_mut(&id) {
            *waiting = Waiting {
                again: true,
                cancelled: false,
                ..*waiting
            };
        } else {
            let since = self.routed;
            self.waiting.insert(
                id,
                Waiting {
                    since,
                    again: false,
                    cancelled: false,
                },
            );
            self.loads.push_cursor(id);
        }
    }

    fn delete(&mut self, id: SubscriptionId) {
        self.routes.remove(id);
        self.waiting.remove(&id);
        self.drop_lane(id);
        self.health.remove(&id);
        self.flush.health.remove(&id);
        self.ahead.forget(id);
    }
}

/// The time of the commit that a command came with.
fn time_of(change: &Change) -> Option<Timestamp> {
    match change {
        Change::Redeliver { asked, .. }
        | Change::Skip { asked, .. }
        | Change::RetryNow { asked, .. } => Some(*asked),
        Change::Release(release) => Some(release.at),
        _ => None,
    }
}
