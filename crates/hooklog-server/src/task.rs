//! Background tasks: recover what failed, replay what is missing, replay in bulk; list, show, cancel.
//!
//! **Invariant:** a task is durable when it is answered; the dispatcher does it, across restarts.
//! **Next:** `message.rs`.

use std::sync::Arc;

use hooklog_storage::{Offset, Replay, Task, TaskId, TaskState, Timestamp};
use http::StatusCode;

use crate::error::ApiError;
use crate::page::PageRequest;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::state::State;
use crate::wire::{
    Between, Fields, Issue, TaskOut, replay_filter, task_kind, task_status, task_weight,
};

/// Sends again what was given up since a time.
pub(crate) async fn recover(call: Call) -> Answer {
    let between = Between::parse(&Fields::parse(call.bytes())?)?;
    start(call, Replay::Failed, between).await
}

/// Sends what was never tried since a time.
pub(crate) async fn replay_missing(call: Call) -> Answer {
    let between = Between::parse(&Fields::parse(call.bytes())?)?;
    start(call, Replay::Missing, between).await
}

/// Sends again whatever a filter takes.
pub(crate) async fn bulk_replay(call: Call) -> Answer {
    let (between, filter) = {
        let fields = Fields::parse(call.bytes())?;
        (Between::parse(&fields)?, replay_filter(&fields)?)
    };
    start(call, Replay::All(filter), between).await
}

async fn start(call: Call, replay: Replay, between: Between) -> Answer {
    let subscription = call.subscription()?.id;
    let offsets = call.state.read(move |log| {
        let until = |until: Timestamp| log.offset_at(until);
        let end = between.until.map_or(Ok(Offset::MAX), until)?;
        Ok::<_, hooklog_storage::ReadError>(log.offset_at(between.since)?..end)
    });
    let range = offsets.await?;
    let log = &call.state.log;
    let task = log.create_task(subscription, replay, range).await?;
    shown(&call.state, StatusCode::ACCEPTED, &task)
}

pub(crate) async fn list(call: Call) -> Answer {
    let page =
        PageRequest::<TaskId>::parse_ordered(&call.query, hooklog_storage::Order::Descending)?;
    let status = match call.query.text("status") {
        None | Some("running" | "finished" | "failed") => call.query.text("status"),
        Some(_) => {
            let message = "must be `running`, `finished` or `failed`";
            return Err(Issue::query("status", message).into());
        }
    };
    let kind = call.query.text("task");
    let organisation = call.organisation()?;
    let scan = {
        let registry = call.state.log.registry();
        let range = page.range();
        let wanted = |task: &&Arc<Task>| {
            std::ops::RangeBounds::contains(&range, &task.id)
                && kind.is_none_or(|kind| kind == task_kind(task))
                && status.is_none_or(|status| status == task_status(task))
        };
        let items: Vec<_> = registry
            .tasks(organisation)
            .filter(wanted)
            .cloned()
            .collect();
        page.take(items.into_iter(), |task| task_weight(task))
    };
    let list = page.list(scan, |value| value.id.to_string());
    let list = {
        let registry = call.state.log.registry();
        list.map(|value| TaskOut::new(value, &registry))
    };
    reply::json(StatusCode::OK, &list)
}

pub(crate) async fn get(call: Call) -> Answer {
    let found = task(&call)?;
    shown(&call.state, StatusCode::OK, &found)
}

/// Stops it; what it has asked for already is sent. Of one that has ended, nothing changes.
pub(crate) async fn cancel(call: Call) -> Answer {
    let id = task(&call)?.id;
    let task = call.state.log.end_task(id, TaskState::Cancelled).await?;
    shown(&call.state, StatusCode::OK, &task)
}

/// A task in an answer.
pub(crate) fn shown(state: &State, status: StatusCode, task: &Task) -> Answer {
    let shown = TaskOut::new(task, &state.log.registry());
    reply::json(status, &shown)
}

/// The tenant's task in the path.
fn task(call: &Call) -> Result<Arc<Task>, ApiError> {
    let id: TaskId = call.part("task")?.parse().map_err(|_| ApiError::NotFound)?;
    let organisation = call.organisation()?;
    let registry = call.state.log.registry();
    let own = registry
        .task(id)
        .filter(|task| task.organisation == organisation);
    own.cloned().ok_or(ApiError::NotFound)
}
