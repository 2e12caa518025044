//! Event types from an `OpenAPI` document in JSON: what is asked, and what came of it.
//!
//! **Invariant:** as `wire.rs`; what becomes an event type passes the checks of `event_type.rs`.
//! **Next:** `wire/openapi.rs`.

use hooklog_storage::{EventType, OrganisationId};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::event_type::EventTypeIn;
use super::fields::Fields;
use super::{Issue, openapi, schemas};

/// A document to take event types from.
#[derive(Debug)]
pub(crate) struct ImportIn {
    /// The field that it was given as.
    field: &'static str,
    spec: Value,
    pub(crate) is_dry_run: bool,
    pub(crate) replaces_all: bool,
}

/// Why there is no document.
#[derive(Debug)]
pub(crate) enum ImportError {
    /// Neither `spec` nor `specRaw`, or both.
    Count,
    Issue(Issue),
}

impl From<Issue> for ImportError {
    fn from(issue: Issue) -> Self {
        Self::Issue(issue)
    }
}

impl ImportIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ImportError> {
        let (parsed, raw) = (fields.raw("spec"), fields.value::<String>("specRaw")?);
        let (field, spec) = match (parsed, raw) {
            (Some(parsed), None) => ("spec", document("spec", parsed.get())?),
            (None, Some(raw)) => ("specRaw", document("specRaw", &raw)?),
            (None, None) | (Some(_), Some(_)) => return Err(ImportError::Count),
        };
        Ok(Self {
            field,
            spec,
            is_dry_run: fields.value("dryRun")?.unwrap_or(false),
            replaces_all: fields.value("replaceAll")?.unwrap_or(false),
        })
    }

    /// The event types that its webhooks are, by name.
    pub(crate) fn event_types(&self, owner: OrganisationId) -> Result<Vec<EventType>, Issue> {
        let all = openapi::webhooks(&self.spec, |form| {
            let text = form.to_string();
            let parsed = Fields::parse(text.as_bytes());
            let new = parsed.and_then(|fields| EventTypeIn::parse(&fields));
            new.map(|new| new.of(owner))
                .map_err(|issue| issue.to_string())
        });
        all.map_err(|message| Issue::body(self.field, message))
    }
}

/// The JSON object that a document is.
fn document(field: &'static str, text: &str) -> Result<Value, Issue> {
    if !text.trim_start().starts_with('{') {
        let message = "must be a JSON object; YAML is not read here: convert it first, as by \
                       `yq -o json`";
        return Err(Issue::body(field, message));
    }
    let nested = |issue: Issue| Issue::body(field, format!("is no JSON: {issue}"));
    // As deep as any body, and no field twice on top.
    Fields::parse(text.as_bytes()).map_err(nested)?;
    serde_json::from_str(text).map_err(|error| Issue::body(field, format!("is no JSON: {error}")))
}

/// What an import did, or would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventTypeImportOut)]
pub(crate) struct ImportOut<'a> {
    data: ImportData<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventTypeImportData)]
struct ImportData<'a> {
    /// Event types that were created, or changed.
    modified: Vec<&'a str>,
    /// Those that would be, if nothing was to be done.
    #[schema(required)]
    to_modify: Option<Vec<ImportedOut<'a>>>,
    /// Event types that are not in the document, and were (or would be) archived.
    archived: Vec<&'a str>,
}

/// An event type as a document has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImportedEventTypeOut)]
struct ImportedOut<'a> {
    name: &'a str,
    description: &'a str,
    deprecated: bool,
    #[schema(required, value_type = Option<schemas::AnyObject>)]
    schemas: Option<&'a RawValue>,
    #[schema(required)]
    feature_flag: Option<&'a str>,
    feature_flags: &'a [String],
    #[schema(required)]
    group_name: Option<&'a str>,
}

impl<'a> ImportOut<'a> {
    /// Of what is new or changed, and what is not in the document any more.
    pub(crate) fn new(is_dry_run: bool, changed: &'a [EventType], archived: &'a [String]) -> Self {
        let names = changed.iter().map(|value| value.name.as_str());
        let (modified, to_modify) = if is_dry_run {
            let shown = changed.iter().map(ImportedOut::from);
            (Vec::new(), Some(shown.collect()))
        } else {
            (names.collect(), None)
        };
        let archived = archived.iter().map(String::as_str).collect();
        Self {
            data: ImportData {
                modified,
                to_modify,
                archived,
            },
        }
    }
}

impl<'a> From<&'a EventType> for ImportedOut<'a> {
    fn from(value: &'a EventType) -> Self {
        let schemas = value.schemas.as_deref();
        Self {
            name: value.name.as_str(),
            description: &value.description,
            deprecated: value.deprecated,
            schemas: schemas.and_then(|text| serde_json::from_str(text).ok()),
            feature_flag: value.feature_flags.first().map(String::as_str),
            feature_flags: &value.feature_flags,
            group_name: value.group_name.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
