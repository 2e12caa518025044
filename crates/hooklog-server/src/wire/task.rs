//! Background tasks in JSON.
//!
//! **Invariant:** kinds and statuses are those that SDKs know; what they lack is in `data`.
//! **Next:** `wire/message.rs`.

use hooklog_storage::{
    Channel, Delivered, EventTypeName, Replay, ReplayFilter, SubscriptionId, Tag, Task, TaskId,
    TaskState, Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::{Fields, required};
use super::{Issue, schemas, text, time};

/// Most event types of one bulk replay, as of an endpoint.
pub(super) const EVENT_TYPES_MAX: usize = 256;

/// The times between which events are looked at.
#[derive(Debug)]
pub(crate) struct Between {
    pub(crate) since: Timestamp,
    /// `None`: up to now.
    pub(crate) until: Option<Timestamp>,
}

impl Between {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let since = fields.time("since")?.ok_or_else(required("since"))?;
        let until = fields.time("until")?;
        if until.is_some_and(|until| until <= since) {
            return Err(Issue::body("until", "must be after `since`"));
        }
        Ok(Self { since, until })
    }
}

/// What a bulk replay takes.
pub(crate) fn replay_filter(fields: &Fields<'_>) -> Result<ReplayFilter, Issue> {
    let event_types = fields.names::<EventTypeName>("eventTypes", EVENT_TYPES_MAX)?;
    let channel: Option<Channel> = fields.name("channel")?;
    let tag: Option<Tag> = fields.name("tag")?;
    let status = match fields.value::<u8>("status")? {
        None => None,
        Some(0) => Some(Delivered::Yes),
        Some(2) => Some(Delivered::Failed),
        Some(_) => {
            let message = "must be 0 (success) or 2 (fail): all else is under way";
            return Err(Issue::body("status", message));
        }
    };
    let status_class = match fields.value::<u16>("statusCodeClass")? {
        Some(class @ (0 | 100 | 200 | 300 | 400 | 500)) => Some(class),
        None => None,
        Some(_) => return Err(Issue::body("statusCodeClass", "must be 0, 100, 200 … 500")),
    };
    Ok(ReplayFilter {
        event_types,
        channels: channel.map(|channel| vec![channel]),
        tag,
        status,
        status_class,
    })
}

/// A task as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskOut<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::TaskId)]
    id: TaskId,
    status: &'static str,
    task: &'static str,
    data: Data<'a>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    updated_at: Timestamp,
}

/// How far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TaskData)]
struct Data<'a> {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::ApplicationId)]
    app_id: hooklog_storage::ApplicationId,
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::EndpointId)]
    endpoint_id: SubscriptionId,
    /// Messages that it asked to be sent again.
    replayed: u64,
    /// Places of the log that it has looked at, and is to look at, over all applications.
    done: u64,
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'a str>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    created_at: Timestamp,
}

impl TaskOut<'_> {
    pub(crate) fn status(&self) -> &'static str {
        self.status
    }
}

impl<'a> From<&'a Task> for TaskOut<'a> {
    fn from(value: &'a Task) -> Self {
        let total = value
            .range
            .end
            .get()
            .saturating_sub(value.range.start.get());
        let done = value.next().map_or(total, |next| {
            next.get().saturating_sub(value.range.start.get())
        });
        let (status, reason) = match &value.state {
            TaskState::Running { .. } => ("running", None),
            TaskState::Finished => ("finished", None),
            TaskState::Cancelled => ("failed", Some("cancelled")),
            TaskState::Failed { reason } => ("failed", Some(reason.as_str())),
        };
        Self {
            id: value.id,
            status,
            task: kind(&value.replay),
            data: Data {
                app_id: value.application,
                endpoint_id: value.subscription,
                replayed: value.replayed,
                done,
                total,
                reason,
                created_at: value.created,
            },
            updated_at: value.updated,
        }
    }
}

/// The API family's name of a kind of task.
pub(crate) fn kind(replay: &Replay) -> &'static str {
    match replay {
        Replay::Failed => "endpoint.recover",
        Replay::Missing => "endpoint.replay",
        Replay::All(_) => "endpoint.bulk-replay",
    }
}
