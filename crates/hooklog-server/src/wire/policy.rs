//! How events are pushed, in JSON: the fields that applications and endpoints share.
//!
//! **Invariant:** what is stored is within the limits that the dispatcher works with. `null` means
//! "as the next wider scope says". A PUT that does not name a field of ours keeps it: SDKs of the API
//! family know only the throttle.
//! **Next:** `wire/endpoint.rs`.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use hooklog_storage::{Policy, STATUSES_MAX};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Fields;
use super::{Issue, Patch};

/// Most retries of one delivery (the dispatcher makes at most 1,000 attempts) and their longest
/// delay, 30 days: a month is surely a mistake in the unit.
pub(super) const RETRIES_MAX: usize = 999;
pub(super) const DELAY_SECS_MAX: u64 = 30 * 24 * 3600;
/// Most attempts at a time to one endpoint: far above what one receiver takes.
pub(super) const CONCURRENCY_MAX: u16 = 1000;
/// Most attempts a second: above what this server can make.
pub(super) const THROTTLE_RATE_MAX: u32 = 1_000_000;
/// Longest time of nothing but failures before an endpoint is disabled: a year.
pub(super) const DISABLE_AFTER_SECS_MAX: u64 = 365 * 24 * 3600;

/// What to change of a policy.
#[derive(Debug)]
pub(crate) struct PolicyPatch {
    schedule: Patch<Option<Vec<Duration>>>,
    throttle_rate: Patch<Option<NonZeroU32>>,
    concurrency: Patch<Option<NonZeroU16>>,
    give_up_statuses: Patch<Option<Vec<u16>>>,
    disable_after: Patch<Option<Duration>>,
}

impl PolicyPatch {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let has_rate = fields.has("throttleRate") || fields.has("rateLimit");
        Ok(Self {
            schedule: Patch::set_if(fields.has("retrySchedule"), || schedule(fields))?,
            throttle_rate: Patch::set_if(has_rate, || throttle_rate(fields))?,
            concurrency: Patch::set_if(fields.has("concurrency"), || concurrency(fields))?,
            give_up_statuses: Patch::set_if(fields.has("giveUpStatuses"), || statuses(fields))?,
            disable_after: Patch::set_if(fields.has("disableAfterSeconds"), || {
                disable_after(fields)
            })?,
        })
    }

    /// For a body that takes the place of the old one.
    pub(crate) fn replacing(mut self) -> Self {
        if self.throttle_rate == Patch::Keep {
            self.throttle_rate = Patch::Set(None);
        }
        self
    }

    pub(crate) fn apply(self, policy: &mut Policy) {
        self.schedule.apply(&mut policy.schedule);
        self.throttle_rate.apply(&mut policy.throttle_rate);
        self.concurrency.apply(&mut policy.concurrency);
        self.give_up_statuses.apply(&mut policy.give_up_statuses);
        self.disable_after.apply(&mut policy.disable_after);
    }

    /// The policy of something new.
    pub(crate) fn into_policy(self) -> Policy {
        let mut policy = Policy::default();
        self.apply(&mut policy);
        policy
    }
}

/// Delays before the retries, in seconds; the first attempt is made at once.
fn schedule(fields: &Fields<'_>) -> Result<Option<Vec<Duration>>, Issue> {
    let Some(delays) = fields.value::<Vec<u64>>("retrySchedule")? else {
        return Ok(None);
    };
    if delays.len() > RETRIES_MAX || delays.iter().any(|delay| *delay > DELAY_SECS_MAX) {
        let message =
            format!("must have at most {RETRIES_MAX} delays of at most {DELAY_SECS_MAX} seconds");
        return Err(Issue::body("retrySchedule", message));
    }
    let retries = delays.into_iter().map(Duration::from_secs);
    Ok(Some(
        std::iter::once(Duration::ZERO).chain(retries).collect(),
    ))
}

/// By its newer name or its older one.
fn throttle_rate(fields: &Fields<'_>) -> Result<Option<NonZeroU32>, Issue> {
    let of = |name| {
        let rate = fields.value::<u32>(name)?;
        match rate.map(NonZeroU32::new) {
            None => Ok(None),
            Some(Some(rate)) if rate.get() <= THROTTLE_RATE_MAX => Ok(Some(rate)),
            Some(_) => {
                let message = format!("must be 1 to {THROTTLE_RATE_MAX} a second");
                Err(Issue::body(name, message))
            }
        }
    };
    match (of("throttleRate")?, of("rateLimit")?) {
        (Some(newer), Some(older)) if newer != older => Err(Issue::body(
            "rateLimit",
            "differs from `throttleRate`, its newer name",
        )),
        (newer, older) => Ok(newer.or(older)),
    }
}

fn concurrency(fields: &Fields<'_>) -> Result<Option<NonZeroU16>, Issue> {
    match fields.value::<u16>("concurrency")?.map(NonZeroU16::new) {
        None => Ok(None),
        Some(Some(count)) if count.get() <= CONCURRENCY_MAX => Ok(Some(count)),
        Some(_) => {
            let message = format!("must be 1 to {CONCURRENCY_MAX}");
            Err(Issue::body("concurrency", message))
        }
    }
}

fn statuses(fields: &Fields<'_>) -> Result<Option<Vec<u16>>, Issue> {
    let name = "giveUpStatuses";
    let Some(mut statuses) = fields.value::<Vec<u16>>(name)? else {
        return Ok(None);
    };
    statuses.sort_unstable();
    statuses.dedup();
    if statuses.len() > STATUSES_MAX || statuses.iter().any(|code| !(300..600).contains(code)) {
        let message = format!("must have at most {STATUSES_MAX} statuses from 300 to 599");
        return Err(Issue::body(name, message));
    }
    Ok(Some(statuses))
}

fn disable_after(fields: &Fields<'_>) -> Result<Option<Duration>, Issue> {
    let name = "disableAfterSeconds";
    match fields.value::<u64>(name)? {
        None => Ok(None),
        Some(seconds) if seconds <= DISABLE_AFTER_SECS_MAX => {
            Ok(Some(Duration::from_secs(seconds)))
        }
        Some(_) => {
            let message = format!("must be at most {DISABLE_AFTER_SECS_MAX}; 0 for never");
            Err(Issue::body(name, message))
        }
    }
}

/// A policy as clients see it: what it says itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyOut<'a> {
    #[schema(required, value_type = Option<u32>, minimum = 1)]
    throttle_rate: Option<NonZeroU32>,
    /// The same by its older name.
    #[schema(required, value_type = Option<u32>, minimum = 1)]
    rate_limit: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_schedule: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<u16>, minimum = 1)]
    concurrency: Option<NonZeroU16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    give_up_statuses: Option<&'a [u16]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    disable_after_seconds: Option<u64>,
}

impl<'a> From<&'a Policy> for PolicyOut<'a> {
    fn from(policy: &'a Policy) -> Self {
        let schedule = policy.schedule.as_ref();
        Self {
            throttle_rate: policy.throttle_rate,
            rate_limit: policy.throttle_rate,
            retry_schedule: schedule
                .map(|delays| delays.iter().skip(1).map(Duration::as_secs).collect()),
            concurrency: policy.concurrency,
            give_up_statuses: policy.give_up_statuses.as_deref(),
            disable_after_seconds: policy.disable_after.map(|after| after.as_secs()),
        }
    }
}
