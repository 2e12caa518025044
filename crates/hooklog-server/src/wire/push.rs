//! How an endpoint gets its events, in JSON: order, format, pace, from where on, and why not.
//!
//! **Invariant:** as `wire/policy.rs`.
//! **Next:** `wire/headers.rs`.

use std::sync::Arc;

use hooklog_storage::{
    DisableReason, Format, NewSubscription, Offset, Ordering, Subscription, SubscriptionState,
    Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Fields;
use super::policy::{PolicyOut, PolicyPatch};
use super::{Issue, Patch, schemas, some_time};

/// What to change of how an endpoint gets its events.
#[derive(Debug)]
pub(crate) struct PushPatch {
    ordering: Patch<Ordering>,
    format: Patch<Format>,
    policy: PolicyPatch,
}

impl PushPatch {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        Ok(Self {
            ordering: Patch::set_if(fields.has("ordering"), || {
                one_of(fields, "ordering", &ORDERINGS)
            })?,
            format: Patch::set_if(fields.has("format"), || one_of(fields, "format", &FORMATS))?,
            policy: PolicyPatch::parse(fields)?,
        })
    }

    /// For a body that takes the place of the old one.
    pub(crate) fn replacing(self) -> Self {
        let policy = self.policy.replacing();
        Self { policy, ..self }
    }

    pub(crate) fn apply(self, value: &mut Subscription) {
        self.ordering.apply(&mut value.ordering);
        self.format.apply(&mut value.endpoint.format);
        self.policy.apply(Arc::make_mut(&mut value.policy));
    }

    pub(crate) fn apply_to_new(self, value: &mut NewSubscription) {
        self.ordering.apply(&mut value.ordering);
        self.format.apply(&mut value.endpoint.format);
        self.policy.apply(&mut value.policy);
    }
}

pub(super) const ORDERINGS: [(&str, Ordering); 3] = [
    ("none", Ordering::None),
    ("fifo", Ordering::Fifo),
    ("fifoByKey", Ordering::FifoByKey),
];
pub(super) const FORMATS: [(&str, Format); 3] = [
    ("payload", Format::Payload),
    ("cloudEventsBinary", Format::CloudEventsBinary),
    ("cloudEventsStructured", Format::CloudEventsStructured),
];

/// The value of one of these names; null is the first.
fn one_of<T: Copy + Default>(
    fields: &Fields<'_>,
    field: &'static str,
    names: &[(&str, T)],
) -> Result<T, Issue> {
    let Some(text) = fields.value::<String>(field)? else {
        return Ok(T::default());
    };
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
        Issue::body(field, format!("must be one of {}", names.join(", ")))
    })
}

fn name_of<T: Copy + PartialEq>(value: T, names: &[(&'static str, T)]) -> &'static str {
    let found = names.iter().find(|(_, other)| *other == value);
    found.map_or("", |(name, _)| name)
}

/// From where in the log a new endpoint takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartFrom {
    /// A place.
    Offset(Offset),
    /// The first event that is not older.
    Time(Timestamp),
}

impl StartFrom {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Option<Self>, Issue> {
        let name = "startFrom";
        let Some(raw) = fields.raw(name) else {
            return Ok(None);
        };
        let bad = || {
            let message =
                "must be `\"beginning\"`, a time as \"2026-01-31T12:00:00Z\", or an offset";
            Issue::body(name, message)
        };
        if let Ok(offset) = raw.get().parse() {
            return Ok(Some(Self::Offset(Offset::new(offset))));
        }
        let text = fields.value::<String>(name).map_err(|_| bad())?;
        let text = text.unwrap_or_default();
        if text == "beginning" {
            return Ok(Some(Self::Offset(Offset::ZERO)));
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| bad())?;
        let time = Timestamp::from_millis(time.as_millisecond());
        Ok(Some(Self::Time(time)))
    }
}

/// How an endpoint gets its events, as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PushOut<'a> {
    #[serde(flatten)]
    policy: PolicyOut<'a>,
    ordering: &'static str,
    format: &'static str,
    /// Since when it gets none.
    #[serde(serialize_with = "some_time", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<schemas::Time>)]
    disabled_since: Option<Timestamp>,
    /// And by whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    disabled_reason: Option<&'static str>,
}

impl<'a> From<&'a Subscription> for PushOut<'a> {
    fn from(value: &'a Subscription) -> Self {
        let disabled = match value.state {
            SubscriptionState::Enabled => None,
            SubscriptionState::Disabled { since, reason } => Some((since, reason)),
        };
        Self {
            policy: PolicyOut::from(&*value.policy),
            ordering: name_of(value.ordering, &ORDERINGS),
            format: name_of(value.endpoint.format, &FORMATS),
            disabled_since: disabled.map(|(since, _)| since),
            disabled_reason: disabled.map(|(_, reason)| match reason {
                DisableReason::Owner => "owner",
                DisableReason::Gone => "gone",
                DisableReason::Failing => "failing",
            }),
        }
    }
}
