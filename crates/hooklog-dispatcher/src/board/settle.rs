//! Where attempts start and end: whose turn it is, and what an outcome leads to.
//!
//! **Invariant:** every attempt that was handed out is counted until it ends, once, whatever became of
//! its subscription meanwhile.
//! **Next:** `board/flush.rs`, which records outcomes.

use std::sync::Arc;

use hooklog_storage::{
    ApplicationId, DisableReason, EventId, NewAttempt, SubscriptionId, Timestamp,
};

use super::{Board, Effect, Finished};
use crate::lane::{self, Ended, Judged};

impl Board {
    pub(super) fn next_attempt(&mut self, now: Timestamp) -> Option<Effect> {
        // Each lane that stands in line is asked once: whoever is above its share stays in line.
        let mut left = self.ready.len();
        while left > 0 {
            if self.stopping || !self.flights.has_room() || !self.flush.has_room() {
                return None;
            }
            let id = self.ready.pop_front()?;
            left -= 1;
            let Some(slot) = self.slots.get(&id) else {
                continue;
            };
            let others = self.ready.len();
            if self.flights.may_start(id) {
                let effect = self.ask(id, now);
                if effect.is_some() {
                    return effect;
                }
                if self.ready.len() > others {
                    // Somebody got its turn instead, who might be at the end.
                    left = self.ready.len();
                }
            } else {
                let (application, host) = (slot.application, Arc::clone(&slot.host));
                // It stays in this line, and those behind it in others get the turns that it had there.
                self.pass_turn_on(application, now);
                self.pass_on(&host);
                if self.ready.len() > others {
                    left += self.ready.len() - others;
                }
                self.ready.push_back(id);
            }
        }
        None
    }

    /// Asks a lane whose turn it is for an attempt. If it makes none now, its turns at its host and in
    /// its application go to the next ones.
    fn ask(&mut self, id: SubscriptionId, now: Timestamp) -> Option<Effect> {
        let slot = self.slots.get_mut(&id)?;
        let (application, host) = (slot.application, Arc::clone(&slot.host));
        if !self.throttles.admits(application, id, now) {
            self.pass_on(&host);
            return None;
        }
        if !self.flights.host_takes(&host, id) {
            self.pass_turn_on(application, now);
            return None;
        }
        slot.in_ready = false;
        let before = slot.lane.queue_bytes();
        let start = slot.lane.start(now, &slot.rules.limits(&self.limits));
        self.queue_bytes = self.queue_bytes - before + slot.lane.queue_bytes();
        if start.is_some() {
            self.throttles.begin(application, now);
        }
        self.refresh(id, now);
        self.pass_turn_on(application, now);
        let (Some(start), Some(entry)) = (start, self.routes.get(id)) else {
            self.pass_on(&host);
            return None;
        };
        let subscription = Arc::clone(&entry.subscription);
        self.flights.begin(id, start.offset, &host);
        Some(Effect::Attempt {
            subscription,
            start,
        })
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

    /// Puts the next one that waits for its application's throttle into line, if there is a token.
    pub(super) fn pass_turn_on(&mut self, application: ApplicationId, now: Timestamp) {
        while let Some(id) = self.throttles.next_for(application, now) {
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

    /// Takes in attempts that have ended. What follows from them for a lane is looked at once for all of
    /// its attempts that come one after the other: it costs as much as an outcome itself.
    pub(super) fn finished(&mut self, finished: Vec<Finished>, now: Timestamp) {
        let mut last = None;
        for finished in finished {
            let id = finished.subscription;
            if let Some(last) = last.replace(id).filter(|last| *last != id) {
                self.refresh(last, now);
            }
            self.ended(finished, now);
        }
        if let Some(last) = last {
            self.refresh(last, now);
        }
    }

    fn ended(&mut self, finished: Finished, now: Timestamp) {
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
        self.pass(id, lane::Input::Finished { offset, outcome }, self.routed);
    }

    fn disable(&mut self, id: SubscriptionId, url: &Arc<str>, reason: Option<DisableReason>) {
        if let Some(reason) = reason {
            self.disables.push_back((id, Arc::clone(url), reason));
        }
    }
}
