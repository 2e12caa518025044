//! The JSON of the API: what comes in and what goes out, by resource.
//!
//! **Invariant:** nowhere else is a JSON shape known. Names here are the API family's (message,
//! endpoint); everything else speaks of events and subscriptions. Output has every field that SDKs
//! in typed languages require, also when it is null.
//! **Next:** `wire/fields.rs`, then a file per resource.

use std::fmt::Display;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::brief::brief;

mod application;
mod attempt;
mod batch;
mod endpoint;
mod event_type;
mod explain;
mod fields;
mod headers;
mod import;
mod message;
mod openapi;
mod policy;
mod poll;
mod portal;
mod problem;
mod push;
mod raw;
mod requests;
pub(crate) mod schemas;
mod standing;
mod task;
mod times;

pub(crate) use application::{ApplicationIn, ApplicationOut, ApplicationPatch};
pub(crate) use attempt::{AttemptOut, status};
pub(crate) use batch::{BatchEndOut, ResultOut};
pub(crate) use endpoint::{EndpointIn, EndpointOut, EndpointPatch, Rotation, SecretOut, condition};
pub(crate) use event_type::{EventTypeIn, EventTypeOut, EventTypePatch};
pub(crate) use explain::{LagOut, TraceOut, TraceStatus};
pub(crate) use fields::{Fields, required};
pub(crate) use headers::{HeadersIn, HeadersOut, HeadersPatch};
pub(crate) use import::{ImportError, ImportIn, ImportOut};
pub(crate) use message::{MessageIn, MessageOut};
pub(crate) use poll::{
    CommitIn, CommittedPollOut, ExpiredRangeOut, PollOut, PolledOut, SeekIn, SeekOut,
};
pub(crate) use portal::{AccessIn, AccessOut, ExpireIn, WhoamiOut};
pub(crate) use problem::{ErrorTold, ProblemOut};
pub(crate) use push::StartFrom;
pub(crate) use requests::{BulkExpungeIn, BulkExpungeOut, ExampleIn, PrecheckIn, PrecheckOut};
pub(crate) use standing::{
    AttemptStatsOut, EndpointMessageOut, MessageEndpointOut, Standing, StatsOut,
};
pub(crate) use task::{
    Between, TaskOut, UsageIn, UsageOut, kind as task_kind, replay_filter, task_status, task_weight,
};
pub(crate) use times::time_text;
use times::{some_time, time};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<T> {
    pub(crate) data: Vec<T>,
    #[schema(required)]
    pub(crate) iterator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) prev_iterator: Option<String>,
    pub(crate) done: bool,
}

impl<T> List<T> {
    /// The same page in another form.
    pub(crate) fn map<'a, O>(&'a self, form: impl FnMut(&'a T) -> O) -> List<O> {
        List {
            data: self.data.iter().map(form).collect(),
            iterator: self.iterator.clone(),
            prev_iterator: self.prev_iterator.clone(),
            done: self.done,
        }
    }
}

/// Any error but 422.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorOut<'a> {
    pub(crate) code: &'a str,
    pub(crate) detail: &'a str,
}

/// The body of a 422.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuesOut {
    #[schema(value_type = Vec<Issue>, min_items = 1, max_items = 1)]
    detail: [Issue; 1],
}

impl IssuesOut {
    pub(crate) fn new(issue: Issue) -> Self {
        Self { detail: [issue] }
    }
}

/// What is wrong with one value of a request.
#[derive(Debug, Serialize, thiserror::Error, ToSchema)]
#[error("{}: {msg}", loc.join("."))]
pub(crate) struct Issue {
    loc: Vec<&'static str>,
    msg: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Issue {
    /// The one way to make one: what it says is short, whatever was sent.
    fn at(loc: &[&'static str], msg: String) -> Self {
        Self {
            loc: loc.to_vec(),
            msg: brief(msg),
            kind: "value_error",
        }
    }

    /// A field of the body.
    pub(crate) fn body(field: &'static str, msg: impl Into<String>) -> Self {
        Self::at(&["body", field], msg.into())
    }

    /// A query parameter.
    pub(crate) fn query(parameter: &'static str, msg: impl Into<String>) -> Self {
        Self::at(&["query", parameter], msg.into())
    }

    /// A part of the path.
    pub(crate) fn path(part: &'static str, msg: impl Into<String>) -> Self {
        Self::at(&["path", part], msg.into())
    }

    /// A header.
    pub(crate) fn header(name: &'static str, msg: impl Into<String>) -> Self {
        Self::at(&["header", name], msg.into())
    }

    /// An attribute of a CloudEvent, wherever it stands.
    pub(crate) fn attribute(name: &'static str, msg: impl Into<String>) -> Self {
        Self::at(&["cloudevent", name], msg.into())
    }

    /// What kind of mistake it is.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The body as a whole.
    fn json(msg: impl Into<String>) -> Self {
        Self::at(&["body"], msg.into()).of_kind("value_error.jsondecode")
    }

    /// The same with another type, which some SDKs tell apart.
    pub(crate) fn of_kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }
}

/// The health of the one part there is; clients of this API family look for `database`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthOut {
    database: PartOut,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthPartOut)]
struct PartOut {
    status: &'static str,
}

impl HealthOut {
    pub(crate) fn from_log(status: &'static str) -> Self {
        Self {
            database: PartOut { status },
        }
    }
}

/// An answer that says nothing but `{}`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmptyOut {}

/// Whether payloads (schemas, responses) are part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// As they are.
    Full,
    /// Left out, as `with_content=false` asks.
    Omitted,
}

/// A change to one value by PATCH or PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Patch<T> {
    /// The field was absent.
    Keep,
    /// The field had this value (or null, and this is what null means).
    Set(T),
}

impl<T> Patch<T> {
    /// Sets `value` if the field is there.
    fn set_if(present: bool, value: impl FnOnce() -> Result<T, Issue>) -> Result<Self, Issue> {
        if present {
            value().map(Self::Set)
        } else {
            Ok(Self::Keep)
        }
    }

    pub(crate) fn apply(self, value: &mut T) {
        if let Self::Set(new) = self {
            *value = new;
        }
    }
}

/// What a PUT does to the uid: it may be the name it came by, so one that the body lacks is kept, or
/// the same PUT again would create again. PATCH can take it away.
fn kept_unless_given<T>(uid: Option<T>) -> Patch<Option<T>> {
    uid.map_or(Patch::Keep, |uid| Patch::Set(Some(uid)))
}

/// Serializes as text.
fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The same, or null.
#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn some_text<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => text(value, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
