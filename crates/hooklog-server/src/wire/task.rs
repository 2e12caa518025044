//! Background tasks in JSON.
//!
//! **Invariant:** kinds and statuses are those that SDKs know; what they lack is in `data`.
//! **Next:** `wire/message.rs`.

use hooklog_storage::{
    ApplicationId, COUNTED_MAX, Channel, Delivered, EventTypeName, Registry, Replay, ReplayFilter,
    SubscriptionId, Tag, Task, TaskId, TaskState, Timestamp, Uid, Work,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::{Fields, required};
use super::{Issue, schemas, some_text, text, time};

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

/// How far it is, and what came of it; each kind has fields of its own.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TaskData)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_text")]
    #[schema(nullable = false, value_type = Option<schemas::ApplicationId>)]
    app_id: Option<ApplicationId>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_text")]
    #[schema(nullable = false, value_type = Option<schemas::EndpointId>)]
    endpoint_id: Option<SubscriptionId>,
    /// Messages that it asked to be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replayed: Option<u64>,
    /// Places of the log that it has looked at, and is to look at, over all applications: of
    /// messages, or of attempts.
    done: u64,
    total: u64,
    /// What was counted, once it is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_stats: Option<Vec<AppStatOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'a str>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    created_at: Timestamp,
}

/// How many deliveries an application had.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AppStatOut {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::ApplicationId)]
    app_id: ApplicationId,
    #[schema(required)]
    app_uid: Option<String>,
    message_destinations: u64,
}

impl<'a> Data<'a> {
    fn new(value: &'a Task, registry: &Registry) -> Self {
        let nothing = Self {
            app_id: value.application(),
            endpoint_id: None,
            replayed: None,
            done: 0,
            total: 0,
            app_stats: None,
            reason: None,
            created_at: value.created,
        };
        match &value.work {
            Work::Replay(work) => Self {
                endpoint_id: Some(work.subscription),
                replayed: Some(work.replayed),
                done: work.next.since(work.range.start),
                total: work.range.end.since(work.range.start),
                ..nothing
            },
            Work::Count(work) => Self {
                done: work.next.since(work.range.start),
                total: work.range.end.since(work.range.start),
                app_stats: (value.state == TaskState::Finished).then(|| {
                    let counts = work.counts.iter();
                    counts
                        .map(|count| AppStatOut::new(count, registry))
                        .collect()
                }),
                ..nothing
            },
            Work::Expunge(_) => nothing,
        }
    }
}

impl AppStatOut {
    fn new((id, count): (&ApplicationId, &u64), registry: &Registry) -> Self {
        let application = registry.application(*id);
        Self {
            app_id: *id,
            app_uid: application.and_then(|value| value.uid.as_ref().map(ToString::to_string)),
            message_destinations: *count,
        }
    }
}

impl<'a> TaskOut<'a> {
    /// The task, with the uids that applications have now.
    pub(crate) fn new(value: &'a Task, registry: &Registry) -> Self {
        let reason = match &value.state {
            TaskState::Running | TaskState::Finished => None,
            TaskState::Cancelled => Some("cancelled"),
            TaskState::Failed { reason } => Some(reason.as_str()),
        };
        let data = Data::new(value, registry);
        Self {
            id: value.id,
            status: task_status(value),
            task: kind(value),
            data: Data { reason, ..data },
            updated_at: value.updated,
        }
    }
}

/// The API family's word for how a task is.
pub(crate) fn task_status(task: &Task) -> &'static str {
    match &task.state {
        TaskState::Running => "running",
        TaskState::Finished => "finished",
        TaskState::Cancelled | TaskState::Failed { .. } => "failed",
    }
}

/// The API family's name of a kind of task.
pub(crate) fn kind(task: &Task) -> &'static str {
    match &task.work {
        Work::Replay(work) => match work.replay {
            Replay::Failed => "endpoint.recover",
            Replay::Missing => "endpoint.replay",
            Replay::All(_) => "endpoint.bulk-replay",
        },
        Work::Count(_) => "application.stats",
        Work::Expunge(_) => "application.purge_content",
    }
}

/// About what a task takes in an answer.
pub(crate) fn task_weight(task: &Task) -> usize {
    let rows = match &task.work {
        Work::Count(work) => work.counts.len(),
        Work::Replay(_) | Work::Expunge(_) => 0,
    };
    512 + rows * (100 + Uid::LIMIT)
}

/// Deliveries to count.
#[derive(Debug)]
pub(crate) struct UsageIn {
    pub(crate) between: Between,
    /// Ids and uids of applications; `None` for all.
    pub(crate) apps: Option<Vec<String>>,
}

impl UsageIn {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, Issue> {
        let apps: Option<Vec<String>> = fields.value("appIds")?;
        if apps
            .as_ref()
            .is_some_and(|apps| !(1..=COUNTED_MAX).contains(&apps.len()))
        {
            let message = format!("must have 1 to {COUNTED_MAX} items");
            return Err(Issue::body("appIds", message));
        }
        Ok(Self {
            between: Between::parse(fields)?,
            apps,
        })
    }
}

/// A count that was begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageOut {
    #[serde(serialize_with = "text")]
    #[schema(value_type = schemas::TaskId)]
    id: TaskId,
    status: &'static str,
    task: &'static str,
    #[serde(serialize_with = "time")]
    #[schema(value_type = schemas::Time)]
    updated_at: Timestamp,
    /// Those of `appIds` that are no application's.
    unresolved_app_ids: Vec<String>,
}

impl UsageOut {
    pub(crate) fn new(task: &Task, unresolved_app_ids: Vec<String>) -> Self {
        Self {
            id: task.id,
            status: task_status(task),
            task: kind(task),
            updated_at: task.updated,
            unresolved_app_ids,
        }
    }
}
