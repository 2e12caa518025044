//! Endpoints in JSON: subscriptions that push.
//!
//! **Invariant:** a secret leaves only through [`SecretOut`].
//! **Next:** `wire/message.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use hooklog_signature::Secret;
use hooklog_storage::{
    Channel, Condition, EventTypeName, Expired, Filter, Header, Subscription, SubscriptionId,
    SubscriptionState, Timestamp, Uid,
};
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;
use utoipa::ToSchema;

use super::fields::{Fields, required};
use super::push::{PushOut, PushPatch, StartFrom};
use super::{Issue, Patch, headers, kept_unless_given, schemas, text, time};

/// Longest URL: twice what browsers and proxies commonly take.
pub(super) const URL_BYTES_MAX: usize = 4096;
/// Longest description; a page of text.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Most event types of one endpoint: at 256 bytes each they stay below what one value of the
/// storage engine may have.
pub(super) const EVENT_TYPES_MAX: usize = 256;
/// Most channels of one endpoint (the API family's bound).
pub(super) const CHANNELS_MAX: usize = 10;
/// How long an old secret goes on signing unless told otherwise, and at most (the API family's).
pub(super) const GRACE_DEFAULT: Duration = Duration::from_hours(24);
pub(super) const GRACE_MAX: Duration = Duration::from_hours(7 * 24);

/// An endpoint to create, or to put in the place of another.
#[derive(Debug)]
pub(crate) struct EndpointIn {
    pub(crate) url: Url,
    pub(crate) description: String,
    pub(crate) uid: Option<Uid>,
    pub(crate) is_enabled: bool,
    pub(crate) filter: Filter,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) secret: Option<Secret>,
    pub(crate) headers: Option<Vec<Header>>,
    pub(crate) start: Option<StartFrom>,
    pub(crate) push: PushPatch,
}

impl EndpointIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let filter = Filter {
            event_types: event_types(fields)?,
            channels: channels(fields)?,
            condition: condition(fields)?,
        };
        Ok(Self {
            url: url(fields)?.ok_or_else(required("url"))?,
            description: description(fields)?,
            uid: fields.uid("uid", SubscriptionId::PREFIX)?,
            is_enabled: is_enabled(fields)?,
            filter,
            metadata: fields.metadata()?,
            secret: secret(fields, "secret")?,
            headers: headers::parse(fields, "headers")?,
            start: StartFrom::parse(fields)?,
            push: PushPatch::parse(fields)?,
        })
    }
}

/// What to change of an endpoint.
#[derive(Debug)]
pub(crate) struct EndpointPatch {
    pub(crate) url: Patch<Url>,
    pub(crate) event_types: Patch<Option<Vec<EventTypeName>>>,
    description: Patch<String>,
    uid: Patch<Option<Uid>>,
    is_enabled: Patch<bool>,
    channels: Patch<Option<Vec<Channel>>>,
    condition: Patch<Option<Condition>>,
    metadata: Patch<BTreeMap<String, String>>,
    secret: Patch<Secret>,
    headers: Patch<Vec<Header>>,
    push: PushPatch,
}

impl EndpointPatch {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        if fields.raw("startFrom").is_some() {
            let message = "can be said only when an endpoint is created";
            return Err(Issue::body("startFrom", message));
        }
        let has_types = fields.has("eventTypes") || fields.has("filterTypes");
        Ok(Self {
            url: url(fields)?.map_or(Patch::Keep, Patch::Set),
            event_types: Patch::set_if(has_types, || event_types(fields))?,
            description: Patch::set_if(fields.has("description"), || description(fields))?,
            uid: Patch::set_if(fields.has("uid"), || {
                fields.uid("uid", SubscriptionId::PREFIX)
            })?,
            is_enabled: Patch::set_if(fields.has("disabled"), || is_enabled(fields))?,
            channels: Patch::set_if(fields.has("channels"), || channels(fields))?,
            condition: Patch::set_if(fields.has("filter"), || condition(fields))?,
            metadata: Patch::set_if(fields.has("metadata"), || fields.metadata())?,
            secret: secret(fields, "secret")?.map_or(Patch::Keep, Patch::Set),
            headers: headers::parse(fields, "headers")?.map_or(Patch::Keep, Patch::Set),
            push: PushPatch::parse(fields)?,
        })
    }

    /// Changes `subscription`. A new secret takes the place of the old one at once, without grace.
    pub(crate) fn apply(self, subscription: &mut Subscription, now: Timestamp) {
        if let Patch::Set(url) = self.url {
            subscription.endpoint.url = url.as_str().into();
        }
        if let Patch::Set(secret) = self.secret {
            subscription.endpoint.secret =
                hooklog_storage::SecretKey::new(secret.as_bytes().to_vec());
        }
        self.event_types.apply(&mut subscription.filter.event_types);
        self.description.apply(&mut subscription.description);
        self.uid.apply(&mut subscription.uid);
        // Said again, it stays as it is, with its reason.
        if let Patch::Set(wanted) = self.is_enabled
            && wanted != subscription.state.is_enabled()
        {
            subscription.state = SubscriptionState::wanted(wanted, now);
        }
        self.channels.apply(&mut subscription.filter.channels);
        self.condition.apply(&mut subscription.filter.condition);
        self.metadata.apply(&mut subscription.metadata);
        self.headers.apply(&mut subscription.endpoint.headers);
        self.push.apply(subscription);
    }
}

impl From<EndpointIn> for EndpointPatch {
    fn from(new: EndpointIn) -> Self {
        Self {
            url: Patch::Set(new.url),
            event_types: Patch::Set(new.filter.event_types),
            description: Patch::Set(new.description),
            uid: kept_unless_given(new.uid),
            is_enabled: Patch::Set(new.is_enabled),
            channels: Patch::Set(new.filter.channels),
            condition: Patch::Set(new.filter.condition),
            metadata: Patch::Set(new.metadata),
            // The update of this API family has no secret; rotation has.
            secret: Patch::Keep,
            headers: new.headers.map_or(Patch::Keep, Patch::Set),
            push: new.push.replacing(),
        }
    }
}

/// A rotation of the secret.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// The new secret; `None` for a generated one.
    pub(crate) secret: Option<Secret>,
    /// How long the old one goes on signing.
    pub(crate) grace: Duration,
}

impl Rotation {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let grace = fields
            .value("gracePeriodSeconds")?
            .map_or(GRACE_DEFAULT, Duration::from_secs);
        if grace > GRACE_MAX {
            let message = format!("must be at most {}", GRACE_MAX.as_secs());
            return Err(Issue::body("gracePeriodSeconds", message));
        }
        Ok(Self {
            secret: secret(fields, "key")?,
            grace,
        })
    }
}

fn url(fields: &Fields<'_>) -> Result<Option<Url>, Issue> {
    let Some(text) = fields.text("url", URL_BYTES_MAX)? else {
        return Ok(None);
    };
    let bad = |message: String| Issue::body("url", message);
    let url = Url::parse(&text).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("must start with `https://` or `http://`".to_owned()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("must name a host".to_owned()));
    }
    // They would be shown to whoever may list endpoints.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("must not hold a user name or a password".to_owned()));
    }
    Ok(Some(url))
}

fn description(fields: &Fields<'_>) -> Result<String, Issue> {
    Ok(fields
        .text("description", DESCRIPTION_BYTES_MAX)?
        .unwrap_or_default())
}

fn is_enabled(fields: &Fields<'_>) -> Result<bool, Issue> {
    let disabled: Option<bool> = fields.value("disabled")?;
    Ok(!disabled.unwrap_or(false))
}

/// By its newer name or its older one.
fn event_types(fields: &Fields<'_>) -> Result<Option<Vec<EventTypeName>>, Issue> {
    let newer = fields.names("eventTypes", EVENT_TYPES_MAX)?;
    let older = fields.names("filterTypes", EVENT_TYPES_MAX)?;
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => Err(Issue::body(
            "filterTypes",
            "differs from `eventTypes`, its newer name",
        )),
        (newer, older) => Ok(newer.or(older)),
    }
}

fn channels(fields: &Fields<'_>) -> Result<Option<Vec<Channel>>, Issue> {
    fields.names("channels", CHANNELS_MAX)
}

/// A condition on the payload, as it was written.
pub(crate) fn condition(fields: &Fields<'_>) -> Result<Option<Condition>, Issue> {
    let Some(raw) = fields.raw("filter") else {
        return Ok(None);
    };
    let wrong = |error: hooklog_storage::ConditionError| Issue::body("filter", error.to_string());
    raw.get().parse().map(Some).map_err(wrong)
}

fn secret(fields: &Fields<'_>, name: &'static str) -> Result<Option<Secret>, Issue> {
    let Some(text) = fields.value::<String>(name)? else {
        return Ok(None);
    };
    // The error says what is wrong, never what was given.
    Secret::parse(&text)
        .map(Some)
        .map_err(|error| Issue::body(name, error.to_string()))
}

/// An endpoint as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointOut<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::EndpointId)]
    id: SubscriptionId,
    #[schema(required)]
    uid: Option<&'a str>,
    url: &'a str,
    description: &'a str,
    disabled: bool,
    #[schema(required)]
    event_types: Option<Vec<&'a str>>,
    /// The same by its older name.
    #[schema(required)]
    filter_types: Option<Vec<&'a str>>,
    #[schema(required)]
    channels: Option<Vec<&'a str>>,
    /// Ours: the condition on the payload, as it was written; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<schemas::AnyObject>)]
    filter: Option<&'a RawValue>,
    #[schema(value_type = BTreeMap<String, String>)]
    metadata: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    push: PushOut<'a>,
    /// Deprecated, and required by older clients.
    version: u16,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    updated_at: Timestamp,
    /// Ours: what retention took before it was delivered; absent when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expired: Option<ExpiredOut>,
}

/// Messages that an endpoint missed: their places in the log, over all applications.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExpiredOut {
    first_offset: u64,
    last_offset: u64,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    at: Timestamp,
}

impl EndpointOut<'_> {
    /// With what it missed.
    pub(crate) fn missing(mut self, expired: Option<&Expired>) -> Self {
        self.expired = expired.map(|expired| ExpiredOut {
            first_offset: expired.range.start.get(),
            last_offset: expired.range.end.get().saturating_sub(1),
            at: expired.at,
        });
        self
    }
}

impl<'a> From<&'a Subscription> for EndpointOut<'a> {
    fn from(value: &'a Subscription) -> Self {
        let types = value.filter.event_types.as_ref();
        let types: Option<Vec<_>> =
            types.map(|types| types.iter().map(EventTypeName::as_str).collect());
        let channels = value.filter.channels.as_ref();
        Self {
            id: value.id,
            uid: value.uid.as_ref().map(Uid::as_str),
            url: &value.endpoint.url,
            description: &value.description,
            disabled: !value.state.is_enabled(),
            event_types: types.clone(),
            filter_types: types,
            channels: channels.map(|channels| channels.iter().map(Channel::as_str).collect()),
            filter: written(value.filter.condition.as_ref()),
            metadata: &value.metadata,
            push: PushOut::from(value),
            version: 1,
            created_at: value.created,
            updated_at: value.updated,
            expired: None,
        }
    }
}

/// The text of a condition, which is JSON.
fn written(condition: Option<&Condition>) -> Option<&RawValue> {
    serde_json::from_str(condition?.as_str()).ok()
}

/// A secret as the owner of an endpoint sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretOut {
    key: String,
}

impl From<&Secret> for SecretOut {
    fn from(secret: &Secret) -> Self {
        Self {
            key: secret.expose(),
        }
    }
}
