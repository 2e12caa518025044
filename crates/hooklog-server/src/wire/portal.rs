//! Tokens for customers in JSON.
//!
//! **Invariant:** what would narrow a token and is not enforced is refused by name.
//! **Next:** `wire/application.rs`.

use std::time::Duration;

use hooklog_storage::{ApplicationId, OrganisationId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Fields;
use super::{ApplicationIn, Issue, schemas, some_text, time};
use crate::token::{Capability, Grant, Scope, Subject};

/// How long a token is good unless told otherwise, and within which bounds (the API family's).
pub(super) const EXPIRY_DEFAULT: Duration = Duration::from_hours(28 * 24);
pub(super) const EXPIRY_MIN: Duration = Duration::from_hours(1);
pub(super) const EXPIRY_MAX: Duration = Duration::from_hours(28 * 24);
/// Latest time that tokens may go on after "expire all" (the API family's).
pub(super) const AFTER_MAX: Duration = Duration::from_hours(7 * 24);
/// Longest id of a session, as other names.
pub(super) const SESSION_BYTES_MAX: usize = 256;
/// Most sessions that are ended at once: in one commit, of some ten kilobytes.
pub(super) const SESSIONS_AT_ONCE_MAX: usize = 100;
/// Most feature flags of one token, so that it fits a header, and their size.
pub(super) const FLAGS_MAX: usize = 32;
pub(super) const FLAG_BYTES_MAX: usize = 256;
pub(super) const FLAGS_BYTES_MAX: usize = 2048;

/// A token to make.
#[derive(Debug)]
pub(crate) struct AccessIn {
    pub(crate) scope: Scope,
    pub(crate) expiry: Duration,
    /// The application to create if there is none.
    pub(crate) application: Option<ApplicationIn>,
}

impl Default for AccessIn {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            expiry: EXPIRY_DEFAULT,
            application: None,
        }
    }
}

impl AccessIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let expiry = match fields.value("expiry")?.map(Duration::from_secs) {
            None => EXPIRY_DEFAULT,
            Some(expiry) if (EXPIRY_MIN..=EXPIRY_MAX).contains(&expiry) => expiry,
            Some(_) => {
                let (low, high) = (EXPIRY_MIN.as_secs(), EXPIRY_MAX.as_secs());
                let message = format!("must be {low} to {high} seconds");
                return Err(Issue::body("expiry", message));
            }
        };
        let application = match fields.raw("application") {
            Some(raw) => Some(ApplicationIn::parse(&Fields::parse(raw.get().as_bytes())?)?),
            None => None,
        };
        Ok(Self {
            scope: Scope {
                id: None,
                feature_flags: feature_flags(fields)?.unwrap_or_default(),
                capabilities: capabilities(fields)?,
                session: session(fields)?,
            },
            expiry,
            application,
        })
    }
}

/// The session that a token belongs to.
fn session(fields: &Fields<'_>) -> Result<Option<String>, Issue> {
    let name = "sessionId";
    let session = fields.value::<String>(name)?;
    match &session {
        Some(text) if !is_session(text) => Err(Issue::body(name, not_a_session())),
        Some(_) | None => Ok(session),
    }
}

fn is_session(text: &str) -> bool {
    (1..=SESSION_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn not_a_session() -> String {
    format!("must have 1 to {SESSION_BYTES_MAX} bytes without control characters")
}

/// What a token may do, by `capabilities` or `readOnly`.
fn capabilities(fields: &Fields<'_>) -> Result<Option<Vec<Capability>>, Issue> {
    let name = "capabilities";
    let read_only = fields.value("readOnly")?.unwrap_or(false);
    let Some(mut all) = fields.value::<Vec<Capability>>(name)? else {
        return Ok(read_only.then(|| vec![Capability::ViewBase]));
    };
    if all.len() > Capability::ALL.len() || !all.contains(&Capability::ViewBase) {
        let message = format!(
            "must have `ViewBase`, and at most {} items",
            Capability::ALL.len()
        );
        return Err(Issue::body(name, message));
    }
    if read_only {
        let sees = [Capability::ViewBase, Capability::ViewEndpointSecret];
        all.retain(|one| sees.contains(one));
    }
    Ok(Some(all))
}

/// The field `featureFlags`: of a token, or of an event type.
pub(super) fn feature_flags(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Issue> {
    let name = "featureFlags";
    let Some(flags) = fields.value::<Vec<String>>(name)? else {
        return Ok(None);
    };
    let bytes: usize = flags.iter().map(String::len).sum();
    let is_bad = |flag: &String| {
        flag.is_empty() || flag.len() > FLAG_BYTES_MAX || flag.chars().any(char::is_control)
    };
    if flags.len() > FLAGS_MAX || bytes > FLAGS_BYTES_MAX || flags.iter().any(is_bad) {
        let message = format!(
            "must have at most {FLAGS_MAX} texts of 1 to {FLAG_BYTES_MAX} bytes without control \
             characters, {FLAGS_BYTES_MAX} bytes altogether"
        );
        return Err(Issue::body(name, message));
    }
    Ok(Some(flags))
}

/// A token and where to go with it.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccessOut {
    pub(crate) url: String,
    pub(crate) token: String,
}

/// When tokens are to end.
#[derive(Debug)]
pub(crate) struct ExpireIn {
    pub(crate) after: Duration,
    /// Those of these sessions; `None` for all.
    pub(crate) sessions: Option<Vec<String>>,
}

impl ExpireIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let name = "sessionIds";
        let sessions: Vec<String> = fields.value(name)?.unwrap_or_default();
        if sessions.len() > SESSIONS_AT_ONCE_MAX {
            let message = format!("must have at most {SESSIONS_AT_ONCE_MAX} items");
            return Err(Issue::body(name, message));
        }
        if !sessions.iter().all(|session| is_session(session)) {
            return Err(Issue::body(name, format!("each {}", not_a_session())));
        }
        let after = fields.value("expiry")?.map(Duration::from_secs);
        let after = after.unwrap_or_default();
        if after > AFTER_MAX {
            let message = format!("must be at most {}", AFTER_MAX.as_secs());
            return Err(Issue::body("expiry", message));
        }
        let sessions = (!sessions.is_empty()).then_some(sessions);
        Ok(Self { after, sessions })
    }
}

/// Who a token speaks for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WhoamiOut<'a> {
    #[serde(serialize_with = "some_text")]
    #[schema(required, value_type = Option<schemas::OrganisationId>)]
    organization_id: Option<OrganisationId>,
    #[serde(serialize_with = "some_text")]
    #[schema(required, value_type = Option<schemas::ApplicationId>)]
    application_id: Option<ApplicationId>,
    feature_flags: &'a [String],
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    expires_at: Timestamp,
}

impl<'a> From<&'a Grant> for WhoamiOut<'a> {
    fn from(grant: &'a Grant) -> Self {
        let application_id = match grant.subject {
            Subject::Application { application, .. } => Some(application),
            Subject::Organisation(_) | Subject::Operator => None,
        };
        Self {
            organization_id: grant.subject.organisation(),
            application_id,
            feature_flags: &grant.feature_flags,
            expires_at: grant.expires,
        }
    }
}
