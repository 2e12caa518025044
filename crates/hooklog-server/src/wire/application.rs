//! Applications in JSON.
//!
//! **Invariant:** as `wire.rs`.
//! **Next:** `wire/event_type.rs`.

use std::collections::BTreeMap;

use hooklog_storage::{Application, ApplicationId, Timestamp, Uid};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::{Fields, required};
use super::policy::{PolicyOut, PolicyPatch};
use super::{Issue, Patch, kept_unless_given, schemas, text, time};

/// Longest name, as of other servers' database columns.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// An application to create, or to put in the place of another.
#[derive(Debug)]
pub(crate) struct ApplicationIn {
    pub(crate) name: String,
    pub(crate) uid: Option<Uid>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) policy: PolicyPatch,
}

impl ApplicationIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        Ok(Self {
            name: name(fields)?.ok_or_else(required("name"))?,
            uid: fields.uid("uid", ApplicationId::PREFIX)?,
            metadata: fields.metadata()?,
            policy: PolicyPatch::parse(fields)?,
        })
    }
}

/// What to change of an application.
#[derive(Debug)]
pub(crate) struct ApplicationPatch {
    name: Patch<String>,
    uid: Patch<Option<Uid>>,
    metadata: Patch<BTreeMap<String, String>>,
    policy: PolicyPatch,
}

impl ApplicationPatch {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        Ok(Self {
            name: match name(fields)? {
                Some(name) => Patch::Set(name),
                None => Patch::Keep,
            },
            uid: Patch::set_if(fields.has("uid"), || {
                fields.uid("uid", ApplicationId::PREFIX)
            })?,
            metadata: Patch::set_if(fields.has("metadata"), || fields.metadata())?,
            policy: PolicyPatch::parse(fields)?,
        })
    }

    pub(crate) fn apply(self, application: &mut Application) {
        self.name.apply(&mut application.name);
        self.uid.apply(&mut application.uid);
        self.metadata.apply(&mut application.metadata);
        self.policy.apply(&mut application.policy);
    }
}

impl From<ApplicationIn> for ApplicationPatch {
    fn from(new: ApplicationIn) -> Self {
        Self {
            name: Patch::Set(new.name),
            uid: kept_unless_given(new.uid),
            metadata: Patch::Set(new.metadata),
            policy: new.policy.replacing(),
        }
    }
}

fn name(fields: &Fields<'_>) -> Result<Option<String>, Issue> {
    let name = fields.text("name", NAME_BYTES_MAX)?;
    match name {
        Some(name) if name.is_empty() => Err(Issue::body("name", "must not be empty")),
        name => Ok(name),
    }
}

/// An application as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationOut<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::ApplicationId)]
    id: ApplicationId,
    #[schema(required)]
    uid: Option<&'a str>,
    name: &'a str,
    #[schema(value_type = BTreeMap<String, String>)]
    metadata: &'a BTreeMap<String, String>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    updated_at: Timestamp,
    /// What its endpoints do that do not say otherwise.
    #[serde(flatten)]
    policy: PolicyOut<'a>,
}

impl<'a> From<&'a Application> for ApplicationOut<'a> {
    fn from(application: &'a Application) -> Self {
        Self {
            id: application.id,
            uid: application.uid.as_ref().map(Uid::as_str),
            name: &application.name,
            metadata: &application.metadata,
            created_at: application.created,
            updated_at: application.updated,
            policy: PolicyOut::from(&application.policy),
        }
    }
}
