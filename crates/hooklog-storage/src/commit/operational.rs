//! Operational events: what happens to endpoints and deliveries, as events of a tenant's own hidden
//! application.
//!
//! **Invariant:** an operational event is in the same commit as what it tells of, so neither is ever
//! without the other; nothing is told of the hidden application itself, so nothing feeds itself.
//! **Next:** `commit/assign.rs`, which gives it its place.

use serde::Serialize;

use crate::attempt::{NewAttempt, Outcome, Trigger};
use crate::change::Change;
use crate::event::Event;
use crate::id::{ApplicationId, SubscriptionId};
use crate::name::{EventTypeName, Uid};
use crate::registry::Registry;
use crate::subscription::{Application, DisableReason, Subscription, SubscriptionState};

/// Attempts of one delivery that failed when it is told as failing (as the API family has it).
const FAILING_AFTER: u16 = 4;

/// Most bytes of an operational event in a commit: two uids of 256, three ids, names and times. What
/// may be told counts with what it tells of, so that a frame of the journal stays within its bound.
pub(crate) const TOLD_BYTES_MAX: usize = 1536;

/// Every type of operational event.
pub const OPERATIONAL_EVENT_TYPES: [&str; 8] = [
    "endpoint.created",
    "endpoint.updated",
    "endpoint.deleted",
    "endpoint.disabled",
    "endpoint.enabled",
    "message.attempt.exhausted",
    "message.attempt.failing",
    "message.attempt.recovered",
];

#[derive(Serialize)]
struct Body<'a, T> {
    #[serde(rename = "type")]
    event_type: &'static str,
    data: &'a T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointData<'a> {
    app_id: String,
    app_uid: Option<&'a str>,
    endpoint_id: String,
    endpoint_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptData<'a> {
    app_id: String,
    app_uid: Option<&'a str>,
    endpoint_id: String,
    endpoint_uid: Option<&'a str>,
    msg_id: String,
    last_attempt: LastAttempt,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastAttempt {
    response_status_code: u16,
    /// Milliseconds since the Unix epoch.
    timestamp_ms: i64,
    attempts: u32,
}

/// What changes of the registry are to be told, judged by the registry before them.
pub(super) fn of_changes(registry: &Registry, changes: &[Change]) -> Vec<Event> {
    if !registry.has_operational() {
        return Vec::new();
    }
    let mut events = Vec::new();
    for change in changes {
        match change {
            Change::PutSubscription(new) => {
                let old = registry.subscription(new.id);
                let name = match old.map(|old| (old.state, new.state)) {
                    None => "endpoint.created",
                    Some((old, new)) if old.is_enabled() && !new.is_enabled() => {
                        "endpoint.disabled"
                    }
                    Some((old, new)) if !old.is_enabled() && new.is_enabled() => "endpoint.enabled",
                    Some(_) => "endpoint.updated",
                };
                events.extend(endpoint(registry, new, name));
            }
            Change::DeleteSubscription(id) => {
                let old = registry.subscription(*id);
                events.extend(old.and_then(|old| endpoint(registry, old, "endpoint.deleted")));
            }
            Change::PutOrganisation(_)
            | Change::PutApplication(_)
            | Change::DeleteApplication(_)
            | Change::PutEventType(_)
            | Change::DeleteEventType(..)
            | Change::PutTokenCuts(_)
            | Change::RevokeToken(_)
            | Change::ForgetToken(_)
            | Change::Expunge(_)
            | Change::PutTask(_)
            | Change::DeleteTask(_)
            | Change::Redeliver { .. }
            | Change::Skip { .. }
            | Change::RetryNow { .. }
            | Change::Release(_)
            | Change::ForgetExpunged(_)
            | Change::PutSessionCuts(_)
            | Change::ForgetSession { .. } => {}
        }
    }
    events
}

/// What an attempt is to be told as, if it is.
pub(super) fn of_attempt(registry: &Registry, attempt: &NewAttempt) -> Option<Event> {
    if !registry.has_operational() {
        return None;
    }
    let failed = attempt.number.saturating_add(1);
    let name = match attempt.outcome {
        Outcome::Exhausted => "message.attempt.exhausted",
        Outcome::Retry { .. } if failed == FAILING_AFTER => "message.attempt.failing",
        Outcome::Delivered
            if attempt.number >= FAILING_AFTER && attempt.trigger == Trigger::Scheduled =>
        {
            "message.attempt.recovered"
        }
        Outcome::Retry { .. } | Outcome::Delivered => return None,
    };
    let subscription = registry.subscription(attempt.subscription)?;
    let (application, target) = scope(registry, subscription.application)?;
    let data = AttemptData {
        app_id: application.id.to_string(),
        app_uid: application.uid.as_ref().map(Uid::as_str),
        endpoint_id: subscription.id.to_string(),
        endpoint_uid: subscription.uid.as_ref().map(Uid::as_str),
        msg_id: attempt.event.to_string(),
        last_attempt: LastAttempt {
            response_status_code: attempt.status_code.unwrap_or(0),
            timestamp_ms: attempt.started.as_millis(),
            attempts: u32::from(attempt.number) + 1,
        },
    };
    event(target, name, subscription.id, &data)
}

fn endpoint(registry: &Registry, value: &Subscription, name: &'static str) -> Option<Event> {
    let (application, target) = scope(registry, value.application)?;
    let reason = match value.state {
        SubscriptionState::Disabled { reason, .. } if name == "endpoint.disabled" => {
            Some(match reason {
                DisableReason::Owner => "owner",
                DisableReason::Gone => "gone",
                DisableReason::Failing => "failing",
            })
        }
        SubscriptionState::Disabled { .. } | SubscriptionState::Enabled => None,
    };
    let data = EndpointData {
        app_id: application.id.to_string(),
        app_uid: application.uid.as_ref().map(Uid::as_str),
        endpoint_id: value.id.to_string(),
        endpoint_uid: value.uid.as_ref().map(Uid::as_str),
        reason,
    };
    event(target, name, value.id, &data)
}

/// An application of which is told, and where; `None` if nobody listens, or it is the hidden one.
fn scope(registry: &Registry, id: ApplicationId) -> Option<(&Application, ApplicationId)> {
    let application = registry.application(id)?;
    let target = registry.operational(application.organisation)?;
    let heard = target != id && registry.subscription_count(target) > 0;
    heard.then_some((application, target))
}

fn event<T: Serialize>(
    application: ApplicationId,
    name: &'static str,
    about: SubscriptionId,
    data: &T,
) -> Option<Event> {
    let event_type: EventTypeName = name.parse().ok()?;
    let body = Body {
        event_type: name,
        data,
    };
    let payload = serde_json::to_vec(&body).ok()?;
    // What happens to one endpoint is told in order, where order is asked for.
    let ordering_key = about.to_string().parse().ok();
    Some(Event {
        ordering_key,
        ..Event::new(application, event_type, payload)
    })
}
