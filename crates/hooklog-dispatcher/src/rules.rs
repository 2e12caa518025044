//! The rules of one lane: what its subscription says, completed by its application and the server.
//!
//! An application's throttle is one that its endpoints share (`board/throttles.rs`), beside that which an
//! endpoint may have of its own. All else that an application says is what holds for each of its
//! endpoints that does not say otherwise.
//!
//! **Invariant:** a schedule that cannot be one (the edge lets none pass) falls back to the wider one.
//! **Next:** `lane.rs`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{Ordering, Policy, Subscription};

use crate::backoff::Schedule;
use crate::config::Config;
use crate::lane::Limits;

/// What holds where nobody says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    schedule: Arc<Schedule>,
    concurrency: usize,
    disable_after: Duration,
}

impl Defaults {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            schedule: Arc::new(config.schedule.clone()),
            concurrency: config.lane_concurrency,
            disable_after: config.disable_after,
        }
    }
}

/// How the events of one subscription are pushed.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) give_up_statuses: Vec<u16>,
    /// After so long of nothing but failures it is disabled; `None`: never.
    pub(crate) disable_after: Option<Duration>,
    pub(crate) ordering: Ordering,
    rate: Option<NonZeroU32>,
    concurrency: usize,
}

impl Rules {
    pub(crate) fn of(
        subscription: &Subscription,
        application: Option<&Policy>,
        defaults: &Defaults,
    ) -> Self {
        let own = &subscription.policy;
        let policy = match application {
            Some(wider) => own.or(wider),
            None => Policy::clone(own),
        };
        let schedule = policy.schedule.and_then(|delays| {
            let jitter = defaults.schedule.jitter();
            Schedule::try_new(delays, jitter).ok().map(Arc::new)
        });
        let disable_after = policy.disable_after.unwrap_or(defaults.disable_after);
        Self {
            schedule: schedule.unwrap_or_else(|| Arc::clone(&defaults.schedule)),
            give_up_statuses: policy.give_up_statuses.unwrap_or_default(),
            disable_after: (!disable_after.is_zero()).then_some(disable_after),
            ordering: subscription.ordering,
            rate: own.throttle_rate,
            concurrency: policy
                .concurrency
                .map_or(defaults.concurrency, |most| usize::from(most.get())),
        }
    }

    /// The bounds of a lane under these rules.
    pub(crate) fn limits(&self, all: &Limits) -> Limits {
        Limits {
            concurrency: self.concurrency,
            ordering: self.ordering,
            rate: self.rate,
            ..*all
        }
    }
}
