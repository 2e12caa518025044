//! The throttles that all endpoints of an application share.
//!
//! **Invariant:** within any second at most the application's rate and a burst of attempts start at all
//! of its endpoints together; endpoints take turns, an attempt at a time. Whoever waits either stands
//! behind a timer or behind another lane whose turn it is, so no turn is lost. A bucket lives as long
//! as the rate does, so a restart adds one burst at most.
//! **Next:** `settle.rs`, which asks for turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use hooklog_storage::{ApplicationId, SubscriptionId, Timestamp};

use crate::retries::earlier;
use crate::throttle::Throttle;

/// The applications that have a throttle.
#[derive(Default)]
pub(super) struct Throttles {
    applications: BTreeMap<ApplicationId, Shared>,
    timers: BTreeSet<(Timestamp, ApplicationId)>,
}

struct Shared {
    rate: NonZeroU32,
    bucket: Throttle,
    /// Lanes that are ready and wait for a token, in the order of their turns.
    waiting: VecDeque<SubscriptionId>,
    wake: Option<Timestamp>,
}

impl Throttles {
    /// Sets the rate of an application. Returns whoever waited, to be asked again.
    pub(super) fn set(
        &mut self,
        application: ApplicationId,
        rate: Option<NonZeroU32>,
    ) -> VecDeque<SubscriptionId> {
        let old = self.applications.remove(&application);
        let (bucket, waiting) = old.map_or_else(Default::default, |old| {
            if let Some(at) = old.wake {
                self.timers.remove(&(at, application));
            }
            (old.bucket, old.waiting)
        });
        if let Some(rate) = rate {
            let shared = Shared {
                rate,
                bucket,
                waiting: VecDeque::new(),
                wake: None,
            };
            self.applications.insert(application, shared);
        }
        waiting
    }

    /// Whether a lane of an application may start an attempt; if not, it waits for its turn.
    pub(super) fn admits(
        &mut self,
        application: ApplicationId,
        id: SubscriptionId,
        now: Timestamp,
    ) -> bool {
        let Some(shared) = self.applications.get_mut(&application) else {
            return true;
        };
        let ready_at = shared.bucket.ready_at(Some(shared.rate), now);
        if let Some(at) = ready_at {
            shared.waiting.push_back(id);
            self.arm(application, at);
        }
        ready_at.is_none()
    }

    /// An attempt starts.
    pub(super) fn begin(&mut self, application: ApplicationId, now: Timestamp) {
        if let Some(shared) = self.applications.get_mut(&application) {
            shared.bucket.take(Some(shared.rate), now);
        }
    }

    /// Whose turn it is, if there is a token; otherwise a timer tells when there is one.
    pub(super) fn next_for(
        &mut self,
        application: ApplicationId,
        now: Timestamp,
    ) -> Option<SubscriptionId> {
        let shared = self.applications.get_mut(&application)?;
        if shared.waiting.is_empty() {
            return None;
        }
        match shared.bucket.ready_at(Some(shared.rate), now) {
            None => shared.waiting.pop_front(),
            Some(at) => {
                self.arm(application, at);
                None
            }
        }
    }

    /// A lane is gone whose turn it may have been: the next one is to be asked.
    pub(super) fn nudge(&mut self, application: ApplicationId) {
        self.arm(application, Timestamp::default());
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, by: Duration) {
        self.timers.clear();
        for (id, shared) in &mut self.applications {
            shared.bucket.set_back(by);
            shared.wake = shared.wake.map(|at| earlier(at, by));
            self.timers.extend(shared.wake.map(|at| (at, *id)));
        }
    }

    /// When a token is there that somebody waits for.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// An application whose timer has passed.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<ApplicationId> {
        let (at, application) = self.timers.first().copied()?;
        if at > now {
            return None;
        }
        self.timers.pop_first();
        if let Some(shared) = self.applications.get_mut(&application) {
            shared.wake = None;
        }
        Some(application)
    }

    /// Looks at an application again at this time, or earlier.
    fn arm(&mut self, application: ApplicationId, at: Timestamp) {
        let Some(shared) = self.applications.get_mut(&application) else {
            return;
        };
        if shared.waiting.is_empty() || shared.wake.is_some_and(|wake| wake <= at) {
            return;
        }
        if let Some(later) = shared.wake.replace(at) {
            self.timers.remove(&(later, application));
        }
        self.timers.insert((at, application));
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        let mut all = self.applications.values();
        self.timers.is_empty() && all.all(|shared| shared.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{application, subscription_id};

    #[test]
    fn endpoints_take_turns_at_the_rate_of_their_application() {
        let mut throttles = Throttles::default();
        let (own, other) = (application(1), application(2));
        throttles.set(own, NonZeroU32::new(10));
        let mut now = Timestamp::from_millis(1_000_000);
        let ids = [1, 2, 3].map(subscription_id);
        assert!(throttles.admits(own, ids[0], now));
        throttles.begin(own, now);
        for id in ids {
            assert!(!throttles.admits(own, id, now));
            assert!(throttles.admits(other, id, now), "it has no throttle");
        }
        let mut started = Vec::new();
        while let Some(at) = throttles.deadline() {
            assert!(at > now, "nobody is woken for nothing");
            now = at;
            while let Some(own) = throttles.due(now) {
                let id = throttles.next_for(own, now).unwrap();
                throttles.begin(own, now);
                started.push((id, now));
                // Each has more to send, five times in all.
                if started.len() <= 2 {
                    assert!(!throttles.admits(own, id, now));
                }
                assert_eq!(throttles.next_for(own, now), None);
            }
        }
        let order: Vec<_> = started.iter().map(|(id, _)| *id).collect();
        assert_eq!(order, [ids[0], ids[1], ids[2], ids[0], ids[1]]);
        let took = now.since(Timestamp::from_millis(1_000_000));
        assert_eq!(took, Duration::from_millis(500), "ten a second");
        assert!(throttles.is_quiet());
    }

    #[test]
    fn who_waits_is_asked_again_when_the_rate_changes_or_a_turn_is_lost() {
        let mut throttles = Throttles::default();
        let (own, id, now) = (application(1), subscription_id(1), Timestamp::default());
        throttles.set(own, NonZeroU32::new(1));
        throttles.begin(own, now);
        throttles.nudge(own);
        assert_eq!(throttles.deadline(), None, "nobody waits");
        assert!(!throttles.admits(own, id, now));
        throttles.nudge(own);
        assert_eq!(throttles.due(now), Some(own));
        assert_eq!(throttles.next_for(own, now), None);
        assert!(throttles.deadline().is_some(), "there is no token yet");
        assert_eq!(throttles.set(own, NonZeroU32::new(2)), [id]);
        assert!(!throttles.admits(own, id, now), "its debt is kept");
        assert_eq!(throttles.set(own, None), [id]);
        assert!(throttles.is_quiet() && throttles.admits(own, id, now));
    }
}
