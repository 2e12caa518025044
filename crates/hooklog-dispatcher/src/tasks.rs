//! Runs the background tasks of the log: replays of past events, and counts, a page at a time.
//!
//! **Invariant:** a task holds one page of events in memory, however long its range, a few tasks at a
//! time, and asks for no more redeliveries while its subscription has many waiting or is disabled; if that
//! lasts it ends as failed, so that its place is free. Each step is one commit, so a restart goes on where
//! the last step ended. A task whose code panics ends as failed, with what the panic said.
//! **Next:** `tasks/count.rs`; then `board/follow.rs`, where the redeliveries arrive.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hooklog_storage::{
    Change, ChangeError, CommitError, CountStep, EventLog, Limit, Offset, Order, ReadError,
    Replaying, Subscription, SubscriptionState, TailItem, Task, TaskId, TaskState, TaskStep,
    Timestamp, Work,
};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

mod count;

/// Events that one step looks at: what it reads stays below a few MiB and a commit stays small.
const PAGE: Limit = Limit {
    items: 256,
    bytes: 1 << 20,
};
/// Steps taken at once, of all tasks: each holds a page and keeps a thread busy.
const STEPS_MAX: usize = 4;
/// A task whose endpoint has been disabled for so long fails: it would hold a place that others of all
/// organisations wait for, and who wanted a short break has had it.
const DISABLED_MAX: Duration = Duration::from_hours(1);
/// Parked deliveries of the subscription at which a task waits: as many as the dispatcher keeps
/// busy with, so that it never idles for a task.
const PARKED_ENOUGH: usize = 256;
/// Pause before it looks again whether they became fewer: at first, and at most (an endpoint that is
/// down).
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whether there may be more to run after an item of the tail.
pub(crate) fn concerns(item: &TailItem) -> bool {
    match item {
        TailItem::Registry(_) | TailItem::Change(Change::PutTask(_)) => true,
        TailItem::Change(_) | TailItem::Records(_) | TailItem::Expired(_) => false,
    }
}

/// Starts what runs, now and whenever `changed` says that there may be more.
pub(crate) async fn run(log: EventLog, changed: watch::Receiver<u64>, clock: Clock) {
    run_with(log, changed, clock, step).await;
}

/// As [`run`], with these steps.
async fn run_with(log: EventLog, mut changed: watch::Receiver<u64>, clock: Clock, step: StepFn) {
    let mut running = JoinSet::new();
    let mut known = BTreeSet::new();
    let steps = Arc::new(Semaphore::new(STEPS_MAX));
    loop {
        changed.mark_unchanged();
        let wanted: Vec<Arc<Task>> = log.registry().running_tasks().cloned().collect();
        for task in wanted {
            if known.insert(task.id) {
                let (log, steps) = (log.clone(), Arc::clone(&steps));
                running.spawn(async move {
                    let id = task.id;
                    let working = AssertUnwindSafe(work(&log, task, clock, step, &steps));
                    if let Err(panic) = working.catch_unwind().await {
                        give_up(&log, id, said(panic)).await;
                    }
                    id
                });
            }
        }
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            Some(done) = running.join_next() => match done {
                Ok(id) => { known.remove(&id); }
                // Panics are caught inside; the runtime is going down, and the log remembers it.
                Err(error) => tracing::error!(%error, "a background task broke off"),
            },
        }
    }
}

/// Ends a task whose code panicked: it would do so again.
async fn give_up(log: &EventLog, id: TaskId, said: String) {
    let reason = format!("the task broke off inside the server: {said}");
    tracing::error!(task = %id, reason, "a background task failed");
    loop {
        let failed = TaskState::Failed {
            reason: reason.clone(),
        };
        match log.end_task(id, failed).await {
            Err(ChangeError::Commit(CommitError::Busy { .. })) => {
                tokio::time::sleep(PAUSE_MAX).await;
            }
            // Ended, or gone, or the log is stopped: then the next open goes on with it.
            _ => return,
        }
    }
}

/// What a panic said.
fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => "nothing".to_owned(),
        },
    }
}

/// Takes steps until the task is done.
async fn work(log: &EventLog, mut task: Arc<Task>, clock: Clock, step: StepFn, steps: &Semaphore) {
    let mut pause = PAUSE_MIN;
    while task.is_running() {
        let step = {
            let (log, task) = (log.clone(), Arc::clone(&task));
            // Tasks take turns; nobody closes it.
            let _turn = steps.acquire().await;
            tokio::task::spawn_blocking(move || step(&log, &task, clock())).await
        };
        let advanced = match step {
            Ok(Step::Take(step)) => {
                pause = PAUSE_MIN;
                log.advance_task(task.id, step).await
            }
            Ok(Step::Count(step)) => match log.advance_count(task.id, step).await {
                Err(error @ ChangeError::Limit { .. }) => {
                    let reason = error.to_string();
                    log.end_task(task.id, TaskState::Failed { reason }).await
                }
                advanced => advanced,
            },
            Ok(Step::Fail(reason)) => log.end_task(task.id, TaskState::Failed { reason }).await,
            Ok(Step::Wait) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                match log.registry().task(task.id) {
                    Some(value) => Ok(Arc::clone(value)),
                    None => return,
                }
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and the log remembers the task.
                Err(_) => return,
            },
        };
        match advanced {
            Ok(value) => task = value,
            // Cancelled or forgotten meanwhile.
            Err(ChangeError::NotFound { .. }) => return,
            Err(error) => {
                tracing::warn!(task = %task.id, %error, "a background task waits");
                tokio::time::sleep(PAUSE_MAX).await;
                let stopped = log.poisoned().is_some();
                let known = log.registry().task(task.id).cloned();
                match known {
                    Some(value) if !stopped => task = value,
                    _ => return,
                }
            }
        }
    }
}

/// What tells the time.
type Clock = fn() -> Timestamp;

/// What a step is found with.
type StepFn = fn(&EventLog, &Task, Timestamp) -> Step;

enum Step {
    Take(TaskStep),
    Count(CountStep),
    Wait,
    Fail(String),
}

/// What to do next. Blocks.
fn step(log: &EventLog, task: &Task, now: Timestamp) -> Step {
    let step = match &task.work {
        Work::Replay(work) => {
            let Some(to) = log.registry().subscription(work.subscription).cloned() else {
                return Step::Fail("the endpoint was deleted".to_owned());
            };
            if let SubscriptionState::Disabled { since, .. } = to.state {
                return disabled(since, now);
            }
            look(log, work, &to).map(|step| step.map_or(Step::Wait, Step::Take))
        }
        Work::Count(work) => count::look(log, task, work).map(Step::Count),
        // It was finished when it was made.
        Work::Expunge(_) => Ok(Step::Fail("there is nothing to do".to_owned())),
    };
    step.unwrap_or_else(|error| {
        tracing::warn!(task = %task.id, %error, "a background task cannot read; trying again");
        Step::Wait
    })
}

/// A replay for an endpoint that is disabled since then: nothing would be sent, and what is parked is to
/// fit those that wait for it anyway.
fn disabled(since: Timestamp, now: Timestamp) -> Step {
    if now.since(since) >= DISABLED_MAX {
        let reason = "the endpoint is disabled; enable it and start the task again";
        return Step::Fail(reason.to_owned());
    }
    Step::Wait
}

fn look(
    log: &EventLog,
    work: &Replaying,
    subscription: &Subscription,
) -> Result<Option<TaskStep>, ReadError> {
    let from = work.next;
    let Some(position) = log.positions([subscription])?.pop() else {
        return Ok(None);
    };
    let parked = log.parked(subscription.id, Offset::ZERO, PARKED_ENOUGH)?;
    if parked.len() >= PARKED_ENOUGH {
        return Ok(None);
    }
    let range = from..work.range.end;
    let page = log.read_application(work.application, range, Order::Ascending, PAGE)?;
    let mut again = Vec::new();
    for record in &page.records {
        if subscription.filter.takes(&record.event) {
            let status = log.status(record, subscription, position)?;
            if work.replay.takes(&record.event, status) {
                again.push(record.offset);
            }
        }
    }
    let next = if page.rest.is_empty() {
        work.range.end
    } else {
        page.rest.start
    };
    Ok(Some(TaskStep { from, next, again }))
}

#[cfg(test)]
mod tests;
