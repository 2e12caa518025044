//! What a program says of an application or a subscription to create.
//!
//! **Invariant:** plain values; ids and times are given by the commit.
//! **Next:** `commands.rs`, which plans their creation.

use std::collections::BTreeMap;

use crate::delivery::{Ordering, Policy};
use crate::filter::Filter;
use crate::id::{ApplicationId, OrganisationId};
use crate::name::Uid;
use crate::offset::Offset;
use crate::subscription::Endpoint;

/// An application to create.
#[derive(Clone, Debug)]
pub struct NewApplication {
    /// The tenant.
    pub organisation: OrganisationId,
    /// The user's own id.
    pub uid: Option<Uid>,
    /// Name for people.
    pub name: String,
    /// How its events are pushed.
    pub policy: Policy,
    /// Free key-value pairs.
    pub metadata: BTreeMap<String, String>,
}

/// A subscription to create.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// The application.
    pub application: ApplicationId,
    /// The user's own id.
    pub uid: Option<Uid>,
    /// Text for people.
    pub description: String,
    /// Where its events go.
    pub endpoint: Endpoint,
    /// Which events it takes.
    pub filter: Filter,
    /// Whether it takes part in the dispatch from the start.
    pub is_enabled: bool,
    /// In which order its events are pushed.
    pub ordering: Ordering,
    /// How they are pushed, where it differs from the application's.
    pub policy: Policy,
    /// The first offset that it may take; `None` for the log's end.
    pub start: Option<Offset>,
    /// Free key-value pairs.
    pub metadata: BTreeMap<String, String>,
}

impl NewApplication {
    /// An application of which nothing else is said.
    pub fn new(organisation: OrganisationId, name: impl Into<String>) -> Self {
        Self {
            organisation,
            uid: None,
            name: name.into(),
            policy: Policy::default(),
            metadata: BTreeMap::new(),
        }
    }
}

impl NewSubscription {
    /// A subscription to every event of an application from now on.
    pub fn new(application: ApplicationId, endpoint: Endpoint) -> Self {
        Self {
            application,
            uid: None,
            description: String::new(),
            endpoint,
            filter: Filter::default(),
            is_enabled: true,
            ordering: Ordering::None,
            policy: Policy::default(),
            start: None,
            metadata: BTreeMap::new(),
        }
    }
}
