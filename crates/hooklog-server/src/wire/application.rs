//! Applications in JSON.
//!
//! **Invariant:** as `wire.rs`.
//! **Next:** `wire/event_type.rs`.

use std::collections::BTreeMap;

use hooklog_storage::{Application, ApplicationId, Timestamp, Uid};
use serde::Serialize;

use super::fields::{Fields, required};
use super::{Issue, Patch, kept_unless_given, text, time};

/// Longest name, as of other servers' database columns.
const NAME_BYTES_MAX: usize = 1024;
const UNSUPPORTED: &[&str] = &["throttleRate", "rateLimit"];

/// An application to create, or to put in the place of another.
#[derive(Debug)]
pub(crate) struct ApplicationIn {
    pub(crate) name: String,
    pub(crate) uid: Option<Uid>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl ApplicationIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        fields.refuse(UNSUPPORTED)?;
        Ok(Self {
            name: name(fields)?.ok_or_else(required("name"))?,
            uid: fields.uid("uid", ApplicationId::PREFIX)?,
            metadata: fields.metadata()?,
        })
    }
}

/// What to change of an application.
#[derive(Debug)]
pub(crate) struct ApplicationPatch {
    name: Patch<String>,
    uid: Patch<Option<Uid>>,
    metadata: Patch<BTreeMap<String, String>>,
}

impl ApplicationPatch {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        fields.refuse(UNSUPPORTED)?;
        Ok(Self {
            name: match name(fields)? {
                Some(name) => Patch::Set(name),
                None => Patch::Keep,
            },
            uid: Patch::set_if(fields.has("uid"), || {
                fields.uid("uid", ApplicationId::PREFIX)
            })?,
            metadata: Patch::set_if(fields.has("metadata"), || fields.metadata())?,
        })
    }

    pub(crate) fn apply(self, application: &mut Application) {
        self.name.apply(&mut application.name);
        self.uid.apply(&mut application.uid);
        self.metadata.apply(&mut application.metadata);
    }
}

impl From<ApplicationIn> for ApplicationPatch {
    fn from(new: ApplicationIn) -> Self {
        Self {
            name: Patch::Set(new.name),
            uid: kept_unless_given(new.uid),
            metadata: Patch::Set(new.metadata),
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
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationOut<'a> {
    #[serde(serialize_with = "text")]
    id: ApplicationId,
    uid: Option<&'a str>,
    name: &'a str,
    metadata: &'a BTreeMap<String, String>,
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    updated_at: Timestamp,
    /// Never set here; there for clients that read it.
    throttle_rate: Option<u16>,
    /// The same by its older name.
    rate_limit: Option<u16>,
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
            throttle_rate: None,
            rate_limit: None,
        }
    }
}
