//! Runs the background tasks of the log: replays of past events, a page at a time.
//!
//! **Invariant:** a task holds one page of events in memory, however long its range, and asks for no
//! more redeliveries while its subscription has many waiting. Each step is one commit, so a restart
//! goes on where the last step ended.
//! **Next:** `board/follow.rs`, where the redeliveries arrive.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    Change, ChangeError, EventLog, Limit, Order, ReadError, Subscription, TailItem, Task,
    TaskState, TaskStep,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Events that one step looks at: what it reads stays below a few MiB and a commit stays small.
const PAGE: Limit = Limit {
    items: 256,
    bytes: 1 << 20,
};
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
pub(crate) async fn run(log: EventLog, mut changed: watch::Receiver<u64>) {
    let mut running = JoinSet::new();
    let mut known = BTreeSet::new();
    loop {
        changed.mark_unchanged();
        let wanted: Vec<Arc<Task>> = log.registry().running_tasks().cloned().collect();
        for task in wanted {
            if known.insert(task.id) {
                let log = log.clone();
                running.spawn(async move {
                    let id = task.id;
                    work(&log, task).await;
                    id
                });
            }
        }
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            Some(done) = running.join_next() => match done {
                Ok(id) => { known.remove(&id); }
                // Its panic was told; it goes on with the next restart.
                Err(error) => tracing::error!(%error, "a background task broke off"),
            },
        }
    }
}

/// Takes steps until the task is done.
async fn work(log: &EventLog, mut task: Arc<Task>) {
    let mut pause = PAUSE_MIN;
    while task.next().is_some() {
        let step = {
            let (log, task) = (log.clone(), Arc::clone(&task));
            tokio::task::spawn_blocking(move || step(&log, &task)).await
        };
        let advanced = match step {
            Ok(Step::Take(step)) => {
                pause = PAUSE_MIN;
                log.advance_task(task.id, step).await
            }
            Ok(Step::Fail(reason)) => log.end_task(task.id, TaskState::Failed { reason }).await,
            Ok(Step::Wait) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                match log.registry().task(task.id) {
                    Some(value) => Ok(Arc::clone(value)),
                    None => return,
                }
            }
            // The runtime is going down, and the log remembers the task.
            Err(_) => return,
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

enum Step {
    Take(TaskStep),
    Wait,
    Fail(String),
}

/// What to do next. Blocks.
fn step(log: &EventLog, task: &Task) -> Step {
    let Some(subscription) = log.registry().subscription(task.subscription).cloned() else {
        return Step::Fail("the endpoint was deleted".to_owned());
    };
    match look(log, task, &subscription) {
        Ok(Some(step)) => Step::Take(step),
        Ok(None) => Step::Wait,
        Err(error) => {
            tracing::warn!(task = %task.id, %error, "a background task cannot read; trying again");
            Step::Wait
        }
    }
}

fn look(
    log: &EventLog,
    task: &Task,
    subscription: &Subscription,
) -> Result<Option<TaskStep>, ReadError> {
    let Some(from) = task.next() else {
        return Ok(None);
    };
    let Some(standing) = log.standings([subscription])?.pop() else {
        return Ok(None);
    };
    if standing.parked.len() >= PARKED_ENOUGH {
        return Ok(None);
    }
    let range = from..task.range.end;
    let page = log.read_application(task.application, range, Order::Ascending, PAGE)?;
    let mut again = Vec::new();
    for record in &page.records {
        if subscription.filter.takes(&record.event) {
            let status = log.status(record, subscription, standing.position)?;
            if task.replay.takes(&record.event, status) {
                again.push(record.offset);
            }
        }
    }
    let next = if page.rest.is_empty() {
        task.range.end
    } else {
        page.rest.start
    };
    Ok(Some(TaskStep { from, next, again }))
}
