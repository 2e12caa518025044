//! What the registry holds: organisations, applications, event types and subscriptions.
//!
//! **Invariant:** these are plain values; only `registry.rs` keeps them, and only `commit.rs`
//! changes it. Secrets never show in `Debug`.
//! **Next:** `registry.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::delivery::{Format, Ordering, Policy};
use crate::filter::Filter;
use crate::header::Header;
use crate::id::{ApplicationId, OrganisationId, SubscriptionId};
use crate::name::{EventTypeName, Uid};
use crate::offset::Offset;
use crate::rare::Rare;
use crate::time::Timestamp;

/// A tenant. Tokens speak for one; none sees another's anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Public id.
    pub id: OrganisationId,
    /// When it was first used.
    pub created: Timestamp,
}

/// The scope in which events are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Public id.
    pub id: ApplicationId,
    /// The tenant it belongs to.
    pub organisation: OrganisationId,
    /// The user's own id, unique within the organisation.
    pub uid: Option<Uid>,
    /// What it is for.
    pub kind: ApplicationKind,
    /// Name for people.
    pub name: String,
    /// How events of all its subscriptions are pushed, where these do not say otherwise.
    pub policy: Policy,
    /// Free key-value pairs.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// What an application is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplicationKind {
    /// A customer of the tenant.
    #[default]
    Customer,
    /// The tenant's own: its events tell what happens to endpoints and deliveries of the others. It
    /// is in no list, and there is at most one.
    Operational,
}

/// A named kind of event of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    /// The tenant it belongs to.
    pub organisation: OrganisationId,
    /// Its name, unique within the organisation.
    pub name: EventTypeName,
    /// Text for people.
    pub description: String,
    /// Archived types are hidden from lists, and events of them are still accepted.
    pub archived: bool,
    /// Shown to users as on its way out.
    pub deprecated: bool,
    /// JSON text of the schemas, verbatim.
    pub schemas: Option<String>,
    /// Feature flags, one of which a viewer needs; none if everyone may see it.
    pub feature_flags: Vec<String>,
    /// Group for display.
    pub group_name: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Key bytes of a signing secret. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKey(Box<[u8]>);

impl SecretKey {
    /// Wraps the decoded key (24 to 75 bytes; checked by the signature crate).
    pub fn new(key: Vec<u8>) -> Self {
        Self(key.into())
    }

    /// The key bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// A rotated-out secret that still signs until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    /// The key.
    pub key: SecretKey,
    /// From this time on it no longer signs.
    pub expires: Timestamp,
}

/// Where a subscription's events are pushed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Absolute http or https URL.
    pub url: Arc<str>,
    /// The secret that signs.
    pub secret: SecretKey,
    /// Secrets that sign beside it, newest first; at most `MAX_OLD_SECRETS`.
    pub old_secrets: Rare<Vec<OldSecret>>,
    /// Headers of each request to it; at most [`Header::COUNT_MAX`].
    pub headers: Rare<Vec<Header>>,
    /// What it is sent.
    pub format: Format,
}

/// Most unexpired old secrets (the limit that users of Svix-compatible APIs know).
pub const MAX_OLD_SECRETS: usize = 10;

impl Endpoint {
    /// An endpoint that gets payloads as they are, with no headers of its own.
    pub fn new(url: impl Into<Arc<str>>, secret: SecretKey) -> Self {
        Self {
            url: url.into(),
            secret,
            old_secrets: Rare::default(),
            headers: Rare::default(),
            format: Format::Payload,
        }
    }

    /// The keys that sign at `now`, current first.
    pub fn signing_keys(&self, now: Timestamp) -> impl Iterator<Item = &SecretKey> {
        let old = self
            .old_secrets
            .iter()
            .filter(move |old| old.expires > now)
            .map(|old| &old.key);
        std::iter::once(&self.secret).chain(old)
    }
}

/// Whether a subscription takes part in the dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionState {
    /// Matching events are pushed.
    Enabled,
    /// Nothing is pushed; the cursor stays, so enabling resumes without loss.
    Disabled {
        /// Since when.
        since: Timestamp,
        /// By whom.
        reason: DisableReason,
    },
}

impl SubscriptionState {
    /// As its owner wants it from `now` on.
    pub fn wanted(is_enabled: bool, now: Timestamp) -> Self {
        if is_enabled {
            return Self::Enabled;
        }
        Self::Disabled {
            since: now,
            reason: DisableReason::Owner,
        }
    }

    /// Whether matching events are pushed.
    pub fn is_enabled(self) -> bool {
        self == Self::Enabled
    }
}

/// Why a subscription is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DisableReason {
    /// Its owner wanted it.
    Owner,
    /// It answered 410 Gone.
    Gone,
    /// It gave nothing but failures for too long.
    Failing,
}

/// A filter and a cursor (on the wire: an endpoint).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Public id.
    pub id: SubscriptionId,
    /// The application whose events it takes.
    pub application: ApplicationId,
    /// The user's own id, unique within the application.
    pub uid: Option<Uid>,
    /// Text for people.
    pub description: Rare<String>,
    /// Where its events go.
    pub endpoint: Endpoint,
    /// Which events it takes.
    pub filter: Filter,
    /// Whether it takes part in the dispatch.
    pub state: SubscriptionState,
    /// In which order its events are pushed.
    pub ordering: Ordering,
    /// How they are pushed, where it differs from the application's. Most say nothing, and share that.
    pub policy: Arc<Policy>,
    /// Free key-value pairs.
    pub metadata: Rare<BTreeMap<String, String>>,
    /// The first offset that it can match: the log's end when it was created.
    pub start: Offset,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}
