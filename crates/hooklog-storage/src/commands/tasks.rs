//! Background tasks, as methods of the log.
//!
//! **Invariant:** a step is taken only if the task still stands where the step began, so two
//! runners, or a runner and somebody who cancels, never both win.
//! **Next:** `registry.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::change::{Change, ChangeError, Planned, Turn};
use crate::commit_error::CommitError;
use crate::id::{ApplicationId, OrganisationId, SubscriptionId, TaskId};
use crate::log::EventLog;
use crate::offset::{AttemptSeq, Offset, OffsetRange};
use crate::registry::Registry;
use crate::subscription::SubscriptionState;
use crate::task::{
    COUNTED_MAX, COUNTS_KEPT_MAX, Counted, Counting, Replay, Replaying, TASKS_KEPT_MAX,
    TASKS_RUNNING_ALL_MAX, TASKS_RUNNING_MAX, Task, TaskState, Work,
};

const NO_TASK: ChangeError = ChangeError::NotFound { what: "task" };
const TOO_MANY_COUNTED: ChangeError = ChangeError::Limit {
    what: "the number of applications of one count",
    limit: COUNTED_MAX,
};

/// One step of a task that sends again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStep {
    /// Where the task stood.
    pub from: Offset,
    /// Where it goes on.
    pub next: Offset,
    /// Events to send again.
    pub again: Vec<Offset>,
}

/// One step of a task that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountStep {
    /// Where the task stood.
    pub from: AttemptSeq,
    /// Where it goes on.
    pub next: AttemptSeq,
    /// How many more deliveries there are, by application.
    pub more: BTreeMap<ApplicationId, u64>,
}

impl EventLog {
    /// Starts to send past events to a subscription again: those of `range` (cut off at the log's
    /// end) that `replay` takes. It is done in the background, and goes on after a restart. `Busy`
    /// while [`TASKS_RUNNING_ALL_MAX`] of all organisations run; `Disabled` if the subscription is,
    /// for nothing would be sent.
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
            if matches!(owner.state, SubscriptionState::Disabled { .. }) {
                return Err(ChangeError::Disabled { subscription });
            }
            let application = registry
                .application(owner.application)
                .ok_or(super::NO_APPLICATION)?;
            let range = range.start.min(turn.end)..range.end.min(turn.end);
            let state = unless_empty(range.is_empty());
            let work = Work::Replay(Replaying {
                application: application.id,
                subscription,
                replay,
                next: range.start,
                range,
                replayed: 0,
            });
            new(registry, turn, application.organisation, work, state)
        })
        .await
    }

    /// Starts to count the deliveries whose first attempts are those of `range`: of these
    /// applications of an organisation, or of all. In the background, as
    /// [`create_task`](Self::create_task).
    pub async fn create_count(
        &self,
        organisation: OrganisationId,
        of: Option<BTreeSet<ApplicationId>>,
        range: Range<AttemptSeq>,
    ) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let state = unless_empty(range.is_empty());
            let counted = if of.is_some() {
                Counted::Named
            } else {
                Counted::All
            };
            let counts: BTreeMap<_, _> = of.into_iter().flatten().map(|id| (id, 0)).collect();
            if counts.len() > COUNTED_MAX {
                return Err(TOO_MANY_COUNTED);
            }
            let work = Work::Count(Counting {
                of: counted,
                next: range.start,
                range,
                counts,
            });
            new(registry, turn, organisation, work, state)
        })
        .await
    }

    /// Takes the payloads of all past events of an application out, for good and in one commit, by
    /// one mark. Returns a task that is finished, for those who ask for it later.
    pub async fn expunge_application(
        &self,
        application: ApplicationId,
    ) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let owner = registry
                .application(application)
                .ok_or(super::NO_APPLICATION)?;
            let work = Work::Expunge(application);
            let state = TaskState::Finished;
            let (mut changes, task) = new(registry, turn, owner.organisation, work, state)?;
            changes.extend(registry.expunged.below(application, turn.end)?);
            Ok((changes, task))
        })
        .await
    }

    /// Takes a step of a running replay: events are sent again, and it goes on behind them, in one
    /// commit. `NotFound` if it does not stand where the step began (any more).
    pub async fn advance_task(&self, id: TaskId, step: TaskStep) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let mut value = running(registry, id)?;
            let Work::Replay(work) = &mut value.work else {
                return Err(NO_TASK);
            };
            if work.next != step.from {
                return Err(NO_TASK);
            }
            work.next = step.next;
            work.replayed += step.again.len() as u64;
            let again = step.again.iter().map(|offset| Change::Redeliver {
                subscription: work.subscription,
                offset: *offset,
                asked: turn.now,
            });
            let mut changes: Vec<_> = again.collect();
            value.state = unless_empty(work.next >= work.range.end);
            value.updated = turn.now;
            let value = Arc::new(value);
            changes.push(Change::PutTask(Arc::clone(&value)));
            Ok((changes, value))
        })
        .await
    }

    /// Takes a step of a running count. `NotFound` as for
    /// [`advance_task`](Self::advance_task); `Limit` if there are more than [`COUNTED_MAX`]
    /// applications to tell of.
    pub async fn advance_count(
        &self,
        id: TaskId,
        step: CountStep,
    ) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let mut value = running(registry, id)?;
            let Work::Count(work) = &mut value.work else {
                return Err(NO_TASK);
            };
            if work.next != step.from {
                return Err(NO_TASK);
            }
            work.next = step.next;
            for (application, more) in step.more {
                *work.counts.entry(application).or_default() += more;
            }
            if work.counts.len() > COUNTED_MAX {
                return Err(TOO_MANY_COUNTED);
            }
            value.state = unless_empty(work.next >= work.range.end);
            value.updated = turn.now;
            let value = Arc::new(value);
            Ok((vec![Change::PutTask(Arc::clone(&value))], value))
        })
        .await
    }

    /// Ends a running task without its work done.
    pub async fn end_task(&self, id: TaskId, state: TaskState) -> Result<Arc<Task>, ChangeError> {
        self.change(move |registry, turn| {
            let old = registry.task(id).ok_or(NO_TASK)?;
            let mut value = Task::clone(old);
            if value.is_running() {
                value.state = state;
                value.updated = turn.now;
            }
            let value = Arc::new(value);
            Ok((vec![Change::PutTask(Arc::clone(&value))], value))
        })
        .await
    }
}

/// The state of a task that has something left to look at, or has nothing.
fn unless_empty(is_empty: bool) -> TaskState {
    if is_empty {
        TaskState::Finished
    } else {
        TaskState::Running
    }
}

/// A task that still runs, to be changed.
fn running(registry: &Registry, id: TaskId) -> Result<Task, ChangeError> {
    let task = registry.task(id).filter(|task| task.is_running());
    Ok(Task::clone(task.ok_or(NO_TASK)?))
}

/// Adds a task, if there may be one more; the oldest that has ended makes room.
fn new(
    registry: &Registry,
    turn: &Turn,
    organisation: OrganisationId,
    work: Work,
    state: TaskState,
) -> Planned<Arc<Task>> {
    if state == TaskState::Running {
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
    }
    let ended = || {
        registry
            .tasks(organisation)
            .filter(|task| !task.is_running())
    };
    let counts = || ended().filter(|task| matches!(task.work, Work::Count(_)));
    let is_count = matches!(work, Work::Count(_));
    let oldest = if is_count && counts().count() >= COUNTS_KEPT_MAX {
        counts().next()
    } else if registry.task_count(organisation) >= TASKS_KEPT_MAX {
        ended().next()
    } else {
        None
    };
    let mut changes: Vec<_> = oldest
        .map(|task| Change::DeleteTask(task.id))
        .into_iter()
        .collect();
    let value = Arc::new(Task {
        id: TaskId::new(turn.now, turn.entropy),
        organisation,
        work,
        state,
        created: turn.now,
        updated: turn.now,
    });
    changes.push(Change::PutTask(Arc::clone(&value)));
    Ok((changes, value))
}

#[cfg(test)]
mod tests;
