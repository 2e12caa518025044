//! Event types in JSON.
//!
//! **Invariant:** schemas are kept as the text they came in.
//! **Next:** `wire/endpoint.rs`.

use hooklog_storage::{EventType, EventTypeName, OrganisationId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::fields::{Fields, required};
use super::{Issue, Patch, portal, schemas, time};

/// Longest description; a page of text.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Longest group name or feature flag, as other names.
pub(super) const NAME_BYTES_MAX: usize = 256;
/// Largest schemas: below what one value of the storage engine may have.
pub(super) const SCHEMAS_BYTES_MAX: usize = 64 << 10;

/// An event type to create.
#[derive(Debug)]
pub(crate) struct EventTypeIn {
    name: EventTypeName,
    description: String,
    archived: bool,
    deprecated: bool,
    schemas: Option<String>,
    feature_flags: Vec<String>,
    group_name: Option<String>,
}

impl EventTypeIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let name = fields.name("name")?.ok_or_else(required("name"))?;
        Self::parse_named(fields, name)
    }

    /// As [`parse`](Self::parse), for one whose name is said elsewhere.
    pub(crate) fn parse_named(fields: &Fields<'_>, name: EventTypeName) -> Result<Self, Issue> {
        let description = fields.text("description", DESCRIPTION_BYTES_MAX)?;
        Ok(Self {
            name,
            description: description.ok_or_else(required("description"))?,
            archived: fields.value("archived")?.unwrap_or(false),
            deprecated: fields.value("deprecated")?.unwrap_or(false),
            schemas: schemas(fields)?,
            feature_flags: flags(fields)?,
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
            feature_flags: self.feature_flags,
            group_name: self.group_name,
            created: Timestamp::default(),
            updated: Timestamp::default(),
        }
    }
}

/// What to change of an event type.
#[derive(Debug)]
pub(crate) struct EventTypePatch {
    description: Patch<String>,
    archived: Patch<bool>,
    deprecated: Patch<bool>,
    schemas: Patch<Option<String>>,
    feature_flags: Patch<Vec<String>>,
    group_name: Patch<Option<String>>,
}

impl EventTypePatch {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let has_flags = fields.has("featureFlags") || fields.has("featureFlag");
        Ok(Self {
            description: fields
                .text("description", DESCRIPTION_BYTES_MAX)?
                .map_or(Patch::Keep, Patch::Set),
            archived: fields.value("archived")?.map_or(Patch::Keep, Patch::Set),
            deprecated: fields.value("deprecated")?.map_or(Patch::Keep, Patch::Set),
            schemas: Patch::set_if(fields.has("schemas"), || schemas(fields))?,
            feature_flags: Patch::set_if(has_flags, || flags(fields))?,
            group_name: Patch::set_if(fields.has("groupName"), || {
                fields.text("groupName", NAME_BYTES_MAX)
            })?,
        })
    }

    pub(crate) fn apply(self, value: &mut EventType) {
        self.description.apply(&mut value.description);
        self.archived.apply(&mut value.archived);
        self.deprecated.apply(&mut value.deprecated);
        self.schemas.apply(&mut value.schemas);
        self.feature_flags.apply(&mut value.feature_flags);
        self.group_name.apply(&mut value.group_name);
    }
}

/// By the newer name, of several, or the older one, of one.
fn flags(fields: &Fields<'_>) -> Result<Vec<String>, Issue> {
    let older = fields.text("featureFlag", NAME_BYTES_MAX)?;
    match (portal::feature_flags(fields)?, older) {
        (Some(newer), Some(older)) if !newer.contains(&older) => Err(Issue::body(
            "featureFlag",
            "is not among `featureFlags`, its newer name",
        )),
        (Some(newer), _) => Ok(newer),
        (None, older) => Ok(older.into_iter().collect()),
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
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeOut<'a> {
    name: &'a str,
    description: &'a str,
    archived: bool,
    deprecated: bool,
    #[schema(required, value_type = Option<schemas::AnyObject>)]
    schemas: Option<&'a RawValue>,
    /// The first of them: older clients know one.
    #[schema(required)]
    feature_flag: Option<&'a str>,
    feature_flags: &'a [String],
    #[schema(required)]
    group_name: Option<&'a str>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
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
            feature_flag: value.feature_flags.first().map(String::as_str),
            feature_flags: &value.feature_flags,
            group_name: value.group_name.as_deref(),
            created_at: value.created,
            updated_at: value.updated,
        }
    }
}
