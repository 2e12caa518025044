//! Rate limits: how many requests a token's subject may make, each class of routes by itself.
//!
//! **Invariant:** a subject never gets more than its burst at once and its rate in the long run,
//! whatever was given back; a poll that found nothing new cost nothing. The table of buckets is bounded, and
//! a bucket is forgotten only while it is full, which is what a new one is.
//! **Next:** `visit.rs`, which says in each answer how much is left.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::token::Subject;

/// `draft-ietf-httpapi-ratelimit-headers-10`: what is allowed, and what is left of it.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// Most buckets: about 10 MB. Each belongs to a subject that made requests just now.
const BUCKETS_MAX: usize = 1 << 16;
/// How often the full ones are looked for when there is no room: it takes about a millisecond.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// So many requests in so much time, and a burst of so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    count: NonZeroU32,
    per: Duration,
    burst: NonZeroU32,
}

/// A text is no rate limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no rate limit as 100/s, 600/m or 100/s,200 (the last is the burst)")]
pub struct RateLimitError {
    /// What was found.
    pub text: String,
}

impl RateLimit {
    /// `count` requests `per` time, `burst` at once.
    pub const fn new(count: NonZeroU32, per: Duration, burst: NonZeroU32) -> Self {
        Self { count, per, burst }
    }

    /// The time in which one more request becomes possible.
    fn period(self) -> Duration {
        (self.per / self.count.get()).max(Duration::from_nanos(1))
    }

    /// The time in which an empty bucket becomes full.
    fn window(self) -> Duration {
        self.period().saturating_mul(self.burst.get())
    }
}

impl FromStr for RateLimit {
    type Err = RateLimitError;

    fn from_str(text: &str) -> Result<Self, RateLimitError> {
        let parse = || {
            let (rate, burst) = match text.split_once(',') {
                Some((rate, burst)) => (rate, Some(burst)),
                None => (text, None),
            };
            let (count, unit) = rate.split_once('/')?;
            let count: NonZeroU32 = count.trim().parse().ok()?;
            let per = match unit.trim() {
                "s" => Duration::from_secs(1),
                "m" => Duration::from_mins(1),
                "h" => Duration::from_hours(1),
                _ => return None,
            };
            let burst = burst.map_or(Some(count), |burst| burst.trim().parse().ok())?;
            Some(Self::new(count, per, burst))
        };
        parse().ok_or_else(|| RateLimitError {
            text: text.to_owned(),
        })
    }
}

impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit},{}", self.count, self.burst)
    }
}

/// The limits by who asks; `None` is no limit. The operator has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// For tokens of an organisation.
    pub organisation: Option<RateLimit>,
    /// For tokens of an application.
    pub application: Option<RateLimit>,
}

impl Default for RateLimits {
    fn default() -> Self {
        let (hundred, burst) = (
            NonZeroU32::MIN.saturating_add(99),
            NonZeroU32::MIN.saturating_add(199),
        );
        Self {
            // An organisation's tokens are the operator's own programs: the queue's 503 holds them
            // back where the disk does, and a lower limit would only waste what there is.
            organisation: None,
            // An application's are in the browsers and scripts of customers. A page of a portal makes
            // some ten requests and a poller one a second; ten times that is a loop without a pause.
            application: Some(RateLimit::new(hundred, Duration::from_secs(1), burst)),
        }
    }
}

impl RateLimits {
    fn of(&self, subject: Subject) -> Option<RateLimit> {
        match subject {
            Subject::Organisation(_) => self.organisation,
            Subject::Application { .. } => self.application,
            Subject::Operator => None,
        }
    }
}

/// Routes that share a bucket. Apart, so that a poller gone wild does not stop who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Takes events.
    Publish,
    /// Changes nothing.
    Read,
    /// Changes anything else.
    Write,
}

impl Class {
    /// The class of a route by its pattern and the request's method.
    pub(crate) fn of(pattern: &str, method: &Method) -> Self {
        match (method, pattern) {
            (&Method::GET | &Method::HEAD, _) => Self::Read,
            (&Method::POST, "/app/{app}/msg" | "/app/{app}/msg/batch" | "/app/{app}/event") => {
                Self::Publish
            }
            _ => Self::Write,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Time since the server's start.
#[derive(Clone, Copy, Debug)]
struct Ticks(Instant);

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Key = (Subject, Class);

/// What is left to each subject.
#[derive(Debug)]
pub(crate) struct Rates {
    limits: RateLimits,
    clock: Ticks,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    buckets: HashMap<Key, Bucket>,
    swept: Option<Duration>,
}

#[derive(Debug)]
struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks, StateInformationMiddleware>,
    /// Given back. The limiter knows of no such thing, so it is used when the limiter is empty.
    credit: u32,
    full_at: Duration,
}

/// Put on an answer that took next to no work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Free;

/// What a request cost.
#[derive(Debug)]
pub(crate) struct Charge {
    key: Key,
    limit: RateLimit,
    left: u32,
    /// How long to wait if it was too much.
    pub(crate) wait: Option<Duration>,
}

impl Rates {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            clock: Ticks(Instant::now()),
            table: Mutex::default(),
        }
    }

    /// Charges one request, if there is a limit for who makes it.
    pub(crate) fn charge(
        &self,
        subject: Subject,
        class: Class,
    ) -> Result<Option<Charge>, ApiError> {
        let Some(limit) = self.limits.of(subject) else {
            return Ok(None);
        };
        let (key, now) = ((subject, class), self.clock.now());
        let mut table = self.table.lock();
        if !table.buckets.contains_key(&key) && !table.has_room(now) {
            return Err(ApiError::Busy("too many clients at once".to_owned()));
        }
        let bucket = table.buckets.entry(key);
        let bucket = bucket.or_insert_with(|| Bucket::new(limit, self.clock));
        let (left, wait) = bucket.take(limit, now);
        Ok(Some(Charge {
            key,
            limit,
            left,
            wait,
        }))
    }

    /// Gives a charge back: the request cost nothing after all.
    pub(crate) fn refund(&self, charge: &mut Charge) {
        let burst = charge.limit.burst.get();
        if let Some(bucket) = self.table.lock().buckets.get_mut(&charge.key) {
            bucket.credit = (bucket.credit + 1).min(burst);
        }
        charge.left = (charge.left + 1).min(burst);
    }
}

impl Table {
    fn has_room(&mut self, now: Duration) -> bool {
        let is_due = |swept: Duration| now.saturating_sub(swept) >= SWEEP_INTERVAL;
        if self.buckets.len() >= BUCKETS_MAX && self.swept.is_none_or(is_due) {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
        self.buckets.len() < BUCKETS_MAX
    }
}

impl Bucket {
    fn new(limit: RateLimit, clock: Ticks) -> Self {
        let quota = Quota::with_period(limit.period()).unwrap_or(Quota::per_second(limit.count));
        let limiter = RateLimiter::direct_with_clock(quota.allow_burst(limit.burst), clock);
        Self {
            limiter: limiter.with_middleware(),
            credit: 0,
            full_at: Duration::ZERO,
        }
    }

    /// Takes one: what is left then, and how long to wait if there was none.
    fn take(&mut self, limit: RateLimit, now: Duration) -> (u32, Option<Duration>) {
        let burst = limit.burst.get();
        let (left, wait) = match self.limiter.check() {
            Ok(snapshot) => {
                let left = snapshot.remaining_burst_capacity();
                // No bucket holds more than its burst: what was given back to a full one is gone.
                self.credit = self.credit.min((burst - 1).saturating_sub(left));
                (left + self.credit, None)
            }
            Err(refused) => match self.credit.checked_sub(1) {
                Some(credit) => {
                    self.credit = credit;
                    (credit, None)
                }
                None => (0, Some(refused.wait_time_from(now))),
            },
        };
        let missing = limit.period().saturating_mul(burst.saturating_sub(left));
        self.full_at = now.saturating_add(missing);
        (left, wait)
    }
}

impl Charge {
    /// Says in the answer what is allowed and what is left.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let (name, burst) = (self.key.1.name(), self.limit.burst.get());
        // What is left is good for as long as the bucket takes to be full; of nothing, for as long
        // as there is nothing: Retry-After must not be earlier, and need not be later.
        let missing = burst.saturating_sub(self.left);
        let time = self
            .wait
            .unwrap_or(self.limit.period().saturating_mul(missing));
        let policy = format!(
            "\"{name}\";q={burst};w={}",
            seconds(self.limit.window()).max(1)
        );
        let left = format!("\"{name}\";r={};t={}", self.left, seconds(time));
        for (name, text) in [(POLICY, policy), (LEFT, left)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// Whole seconds, rounded up: too late is polite, too early is another 429.
pub(crate) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
