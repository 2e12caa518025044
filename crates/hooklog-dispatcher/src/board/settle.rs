//! Where attempts start and end: whose turn it is, and what an outcome leads to.
//!
//! **Invariant:** every attempt that was handed out is counted until it ends, once, whatever became of
//! its subscription meanwhile.
//! **Next:** `board/flush.rs`, which records outcomes.

use std::sync::Arc;

use hooklog_storage::{DisableReason, EventId, NewAttempt, SubscriptionId, Timestamp};

use super::{Board, Effect, Finished};
use crate::lane::{self, Ended, Judged};

impl Board {
    pub(super) fn next_attempt(&mut self, now: Timestamp) -> Option<Effect> {
        // Each lane that stands in line is asked once: whoever is above its share stays in line.
        for _ in 0..self.ready.len() {
            if self.stopping || !self.flights.has_room() || !self.flush.has_room() {
                return None;
            }
            let id = self.ready.pop_front()?;
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            if !self.flights.may_start(id) {
                self.ready.push_back(id);
                continue;
            }
            if !self.flights.host_takes(&slot.host, id) {
                continue;
            }
            slot.in_ready = false;
            let (before, host) = (slot.lane.queue_bytes(), Arc::clone(&slot.host));
            let start = slot.lane.start(now, &slot.rules.limits(&self.limits));
            self.queue_bytes = self.queue_bytes - before + slot.lane.queue_bytes();
            self.refresh(id, now);
            let (Some(start), Some(entry)) = (start, self.routes.get(id)) else {
                self.pass_on(&host);
                continue;
            };
            let subscription = Arc::clone(&entry.subscription);
            self.flights.begin(id, start.offset, &host);
            return Some(Effect::Attempt {
                subscription,
                start,
            });
        }
        None
    }

    /// Puts the next one that waits for a host into line, if the host takes one more.
    pub(super) fn pass_on(&mut self, host: &Arc<str>) {
        while let Some(id) = self.flights.next_for(host) {
            if self.slots.get(&id).is_some_and(|slot| slot.in_ready) {
                self.ready.push_back(id);
                return;
            }
        }
    }

    pub(super) fn next_disable(&mut self) -> Option<Effect> {
        let (subscription, url, reason) = self.disables.pop_front()?;
        Some(Effect::Disable {
            subscription,
            url,
            reason,
        })
    }

    pub(super) fn finished(&mut self, finished: Finished, now: Timestamp) {
        let (id, offset) = (finished.subscription, finished.offset);
        let Some(host) = self.flights.end(id, offset) else {
            return;
        };
        self.pass_on(&host);
        // A deleted subscription's outcome is of no interest any more.
        let (Some(slot), Some(entry)) = (self.slots.get_mut(&id), self.routes.get(id)) else {
            return;
        };
        let ended = Ended {
            answer: &finished.answer,
            rules: &slot.rules,
            is_current: entry.subscription.endpoint.url == finished.url,
            now,
            sample: finished.sample,
        };
        let limits = slot.rules.limits(&self.limits);
        let Some(judged) = slot.lane.judge(offset, &ended, &limits) else {
            return;
        };
        let Judged {
            flight,
            outcome,
            disable,
        } = judged;
        let attempt = NewAttempt {
            // An event that cannot be read has no id at hand; its offset names it.
            event: finished
                .event
                .unwrap_or_else(|| EventId::at(now, offset, [0; 7])),
            subscription: id,
            url: Arc::clone(&finished.url),
            number: flight.number,
            started: finished.started,
            duration: finished.duration,
            status_code: finished.answer.status,
            response: finished.answer.response,
            outcome,
            trigger: flight.trigger,
        };
        self.flush.add(&attempt);
        slot.outcomes.push(attempt);
        self.disable(id, &finished.url, disable);
        self.tell(id, lane::Input::Finished { offset, outcome }, now);
    }

    fn disable(&mut self, id: SubscriptionId, url: &Arc<str>, reason: Option<DisableReason>) {
        if let Some(reason) = reason {
            self.disables.push_back((id, Arc::clone(url), reason));
        }
    }
}
