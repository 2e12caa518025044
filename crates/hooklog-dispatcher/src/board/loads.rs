//! What lanes want to know of the log about their parked deliveries, and who is asked when.
//!
//! **Invariant:** what is loaded at a time is bounded, however much is parked: lanes share a load, each
//! gets a few pages of it, and whoever needs more of them stands in line again.
//! **Next:** `follow.rs`, what the tail brings; `../lane/scan.rs`, what is wanted of a page.

use std::collections::VecDeque;

use hooklog_storage::{Cursor, CursorState, DispatchState, SubscriptionId, Timestamp};

use super::{Board, Effect, Waiting};
use crate::lane::{self, Input, Scan};

/// Loads at a time; each waits for the log's applier.
const LOADS_MAX: usize = 2;
/// Lanes that share a load: they wait for the applier once. Together they hold at most 5 MiB of rows.
const SCANS_MAX: usize = 64;

/// Who waits for what.
#[derive(Default)]
pub(super) struct Loads {
    under_way: usize,
    /// Subscriptions that were enabled and have no lane yet.
    cursors: VecDeque<SubscriptionId>,
    /// Lanes with a look at what they have parked.
    scans: VecDeque<SubscriptionId>,
    /// All that have something parked are to be told that they may have missed something about it, from
    /// behind this one on.
    resync: Option<Behind>,
    /// They are being looked up.
    resyncing: bool,
}

/// Behind this one, or from the first on.
#[derive(Clone, Copy)]
struct Behind(Option<SubscriptionId>);

impl Loads {
    /// Whoever has something parked is to look at it again.
    pub(super) fn resync(&mut self) {
        self.resync = Some(Behind(None));
    }

    pub(super) fn push_cursor(&mut self, id: SubscriptionId) {
        self.cursors.push_back(id);
    }

    pub(super) fn push_scan(&mut self, id: SubscriptionId) {
        self.scans.push_back(id);
    }
}

impl Board {
    pub(super) fn next_load(&mut self) -> Option<Effect> {
        if self.stopping || self.loads.under_way >= LOADS_MAX || self.loads.resyncing {
            // What is loaded during a resync would be loaded again.
            return None;
        }
        let effect = if let Some(Behind(behind)) = self.loads.resync.take() {
            self.loads.resyncing = true;
            Effect::Resync(behind)
        } else if let Some(id) = self.loads.cursors.pop_front() {
            Effect::Load(id)
        } else {
            Effect::Scan(self.next_scans()?)
        };
        self.loads.under_way += 1;
        Some(effect)
    }

    fn next_scans(&mut self) -> Option<Vec<(SubscriptionId, Scan)>> {
        let mut scans = Vec::new();
        while scans.len() < SCANS_MAX
            && let Some(id) = self.loads.scans.pop_front()
        {
            let scan = self.slots.get_mut(&id).and_then(|slot| slot.scan.take());
            scans.extend(scan.map(|scan| (id, scan)));
        }
        (!scans.is_empty()).then_some(scans)
    }

    /// Looks at what is parked have ended, or have come as far as one may at a time.
    pub(super) fn scanned(&mut self, scans: Vec<(SubscriptionId, Scan)>, now: Timestamp) {
        self.loads.under_way = self.loads.under_way.saturating_sub(1);
        for (id, scan) in scans {
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            if scan.next().is_some() {
                slot.scan = Some(scan);
                self.loads.push_scan(id);
                continue;
            }
            let mut found = scan.found();
            lane::bound(&mut found.rows, &slot.rules, now);
            self.ahead.read(id, &found.rows);
            self.tell(id, Input::Loaded(found), now);
        }
    }

    /// Some of those that have something parked; `None` behind them are all.
    pub(super) fn resynced(
        &mut self,
        ids: &[SubscriptionId],
        next: Option<SubscriptionId>,
        now: Timestamp,
    ) {
        self.loads.under_way = self.loads.under_way.saturating_sub(1);
        self.loads.resyncing = false;
        // If it is wanted again meanwhile, it begins anew.
        if self.loads.resync.is_none() {
            self.loads.resync = next.map(|last| Behind(Some(last)));
        }
        for id in ids {
            self.command(*id, Input::Unheard, now);
        }
    }

    /// Where a subscription stands that was enabled.
    pub(super) fn loaded(&mut self, id: SubscriptionId, state: DispatchState, now: Timestamp) {
        self.loads.under_way = self.loads.under_way.saturating_sub(1);
        let Some(waiting) = self.waiting.remove(&id) else {
            return;
        };
        let Some(entry) = self.routes.get(id) else {
            return;
        };
        if waiting.again {
            let again = false;
            self.waiting.insert(id, Waiting { again, ..waiting });
            self.loads.push_cursor(id);
        } else if !waiting.cancelled {
            let from = entry.from.max(waiting.since);
            let has_parked = !state.parked.is_empty();
            // Nothing was routed to it while it waited, so it starts behind in any case.
            let mut cursors = state.cursors.into_iter().map(|(_, cursor)| cursor);
            let cursor = cursors
                .find(|cursor| cursor.state == CursorState::Behind)
                .unwrap_or(Cursor {
                    floor: from,
                    settled: Vec::new(),
                    state: CursorState::Behind,
                });
            self.restore(id, from, Some(cursor), has_parked, now);
            // What waited because of the endpoint was not told that it is to be tried again.
            self.tell(id, Input::Changed { is_forgiven: true }, now);
        }
    }
}
