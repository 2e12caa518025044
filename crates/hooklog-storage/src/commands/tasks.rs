//! Background tasks, as methods of the log.
//!
//! **Invariant:** a step is taken only if the task still stands where the step began, so two
//! runners, or a runner and somebody who cancels, never both win.
//! **Next:** `registry.rs`.

use std::sync::Arc;

use crate::change::{Change, ChangeError};
use crate::commit_error::CommitError;
use crate::id::{SubscriptionId, TaskId};
use crate::log::EventLog;
use crate::offset::{Offset, OffsetRange};
use crate::task::{
    Replay, TASKS_KEPT_MAX, TASKS_RUNNING_ALL_MAX, TASKS_RUNNING_MAX, Task, TaskState,
};

const NO_TASK: ChangeError = ChangeError::NotFound { what: "task" };

/// One step of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStep {
    /// Where the task stood.
    pub from: Offset,
    /// Where it goes on.
    pub next: Offset,
    /// Events to send again.
    pub again: Vec<Offset>,
}

impl EventLog {
    /// Starts to send past events to a subscription again: those of `range` (cut off at the log's
    /// end) that `replay` takes. It is done in the background, and goes on after a restart. `Busy`
    /// while [`TASKS_RUNNING_ALL_MAX`] of all organisations run.
    pub async fn create_task(
        &self,
        subscription: SubscriptionId,
        replay: Replay,
        range: OffsetRange,
    ) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let owner = registry
                .subscription(subscription)
                .ok_or(super::NO_SUBSCRIPTION)?;
            let application = registry
                .application(owner.application)
                .ok_or(super::NO_APPLICATION)?;
            let organisation = application.organisation;
            let running = registry.running_tasks();
            let own = running.filter(|task| task.organisation == organisation);
            super::below(
                "the number of running tasks",
                own.count(),
                TASKS_RUNNING_MAX,
            )?;
            if registry.running_tasks().count() >= TASKS_RUNNING_ALL_MAX {
                // No fault of whoever asks; some of them end.
                let what = "the table of running tasks";
                return Err(CommitError::Busy { what }.into());
            }
            let mut changes = Vec::new();
            if registry.task_count(organisation) >= TASKS_KEPT_MAX {
                let mut oldest = registry.tasks(organisation);
                let ended = oldest.find(|task| task.next().is_none());
                changes.extend(ended.map(|task| Change::DeleteTask(task.id)));
            }
            let range = range.start.min(turn.end)..range.end.min(turn.end);
            let state = if range.is_empty() {
                TaskState::Finished
            } else {
                TaskState::Running { next: range.start }
            };
            let value = Arc::new(Task {
                id: TaskId::new(turn.now, turn.entropy),
                organisation,
                application: application.id,
                subscription,
                replay,
                range,
                state,
                replayed: 0,
                created: turn.now,
                updated: turn.now,
            });
            changes.push(Change::PutTask(Arc::clone(&value)));
            Ok((changes, value))
        })
        .await
    }

    /// Takes a step of a running task: events are sent again, and it goes on behind them, in one
    /// commit. `NotFound` if it does not stand where the step began (any more).
    pub async fn advance_task(&self, id: TaskId, step: TaskStep) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let old = registry.task(id).ok_or(NO_TASK)?;
            if old.next() != Some(step.from) {
                return Err(NO_TASK);
            }
            let mut value = Task::clone(old);
            value.state = if step.next < value.range.end {
                TaskState::Running { next: step.next }
            } else {
                TaskState::Finished
            };
            value.replayed += step.again.len() as u64;
            value.updated = turn.now;
            let again = step.again.iter().map(|offset| Change::Redeliver {
                subscription: value.subscription,
                offset: *offset,
                asked: turn.now,
            });
            let mut changes: Vec<_> = again.collect();
            let value = Arc::new(value);
            changes.push(Change::PutTask(Arc::clone(&value)));
            Ok((changes, value))
        })
        .await
    }

    /// Ends a running task without its work done.
    pub async fn end_task(&self, id: TaskId, state: TaskState) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let old = registry.task(id).ok_or(NO_TASK)?;
            let mut value = Task::clone(old);
            if value.next().is_some() {
                value.state = state;
                value.updated = turn.now;
            }
            let value = Arc::new(value);
            Ok((vec![Change::PutTask(Arc::clone(&value))], value))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
