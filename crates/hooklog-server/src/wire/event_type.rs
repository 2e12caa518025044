//! Event types in JSON.
//!
//! **Invariant:** schemas are kept as the text they came in.
//! **Next:** `wire/endpoint.rs`.

use hooklog_storage::{EventType, EventTypeName, OrganisationId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use super::fields::{Fields, required};
use super::{Issue, time};

/// Longest description; a page of text.
const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Longest group name or feature flag, as other names.
const NAME_BYTES_MAX: usize = 256;
/// Largest schemas: below what one value of the storage engine may have.
const SCHEMAS_BYTES_MAX: usize = 64 << 10;

/// An event type to create.
#[derive(Debug)]
pub(crate) struct EventTypeIn {
    name: EventTypeName,
    description: String,
    archived: bool,
    deprecated: bool,
    schemas: Option<String>,
    feature_flag: Option<String>,
    group_name: Option<String>,
}

impl EventTypeIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        fields.refuse(&["featureFlags"])?;
        let description = fields.text("description", DESCRIPTION_BYTES_MAX)?;
        Ok(Self {
            name: fields.name("name")?.ok_or_else(required("name"))?,
            description: description.ok_or_else(required("description"))?,
            archived: fields.value("archived")?.unwrap_or(false),
            deprecated: fields.value("deprecated")?.unwrap_or(false),
            schemas: schemas(fields)?,
            feature_flag: fields.text("featureFlag", NAME_BYTES_MAX)?,
            group_name: fields.text("groupName", NAME_BYTES_MAX)?,
        })
    }

    /// The event type of an organisation; the log sets its times.
    pub(crate) fn of(self, organisation: OrganisationId) -> EventType {
        EventType {
            organisation,
            name: self.name,
            description: self.description,
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: self.schemas,
            feature_flag: self.feature_flag,
            group_name: self.group_name,
            created: Timestamp::default(),
            updated: Timestamp::default(),
        }
    }
}

fn schemas(fields: &Fields<'_>) -> Result<Option<String>, Issue> {
    let Some(raw) = fields.raw("schemas") else {
        return Ok(None);
    };
    let text = raw.get();
    if !text.starts_with('{') {
        return Err(Issue::body("schemas", "must be an object"));
    }
    if text.len() > SCHEMAS_BYTES_MAX {
        let message = format!(
            "has {} bytes, more than the limit of {SCHEMAS_BYTES_MAX}",
            text.len()
        );
        return Err(Issue::body("schemas", message));
    }
    Ok(Some(text.to_owned()))
}

/// An event type as clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeOut<'a> {
    name: &'a str,
    description: &'a str,
    archived: bool,
    deprecated: bool,
    schemas: Option<&'a RawValue>,
    feature_flag: Option<&'a str>,
    group_name: Option<&'a str>,
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    updated_at: Timestamp,
}

impl<'a> EventTypeOut<'a> {
    /// With its schemas, or without them.
    pub(crate) fn new(value: &'a EventType, content: super::Content) -> Self {
        let schemas = value
            .schemas
            .as_deref()
            .filter(|_| content == super::Content::Full);
        Self {
            name: value.name.as_str(),
            description: &value.description,
            archived: value.archived,
            deprecated: value.deprecated,
            // It was JSON when it came in.
            schemas: schemas.and_then(|text| serde_json::from_str(text).ok()),
            feature_flag: value.feature_flag.as_deref(),
            group_name: value.group_name.as_deref(),
            created_at: value.created,
            updated_at: value.updated,
        }
    }
}
