//! Releases events whose time has come: parks their deliveries, a few at a time.
//!
//! **Invariant:** nothing is released before its time by the clock. A step is one commit that names
//! where it goes on, so nothing is lost or released twice by a restart; what one step looks at is bounded,
//! and an event that cannot be looked at holds up no other. Between two times that come nothing is read.
//! **Next:** `releases/turns.rs`, whose turn it is; `board/follow.rs`, where released deliveries arrive.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    Delayed, Delivered, EventLog, Expired, Offset, Progress, ReadError, ReleaseStep, Subscription,
    SubscriptionId, TailItem, Timestamp,
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::lane;
use crate::releases::turns::Turns;

mod turns;

/// Subscriptions that one step looks at: their ids take 5 KiB in the commit.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Longest sleep while something waits: a clock that was set must be noticed.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// Pause between two rounds, so that times that lie close together share one.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after an error.
const AGAIN: Duration = Duration::from_secs(1);
/// Steps that rest on one wait for the log's applier: what was skipped or sent by hand within so many
/// may be parked all the same.
const STEPS_APPLIED: usize = 8;

/// Tells that there is an event which waits for a time.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// The earliest of the times that were told.
    at: Mutex<Option<Timestamp>>,
    told: Notify,
}

impl Alarm {
    /// There is one that is due then.
    pub(crate) fn set(&self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        let mut at = self.at.lock();
        *at = Some(at.map_or(due, |at| at.min(due)));
        self.told.notify_one();
    }

    fn take(&self) -> Option<Timestamp> {
        self.at.lock().take()
    }
}

/// When an item of the tail wants something released: at once if it cannot be told.
pub(crate) fn earliest(item: &TailItem) -> Option<Timestamp> {
    match item {
        TailItem::Registry(_) | TailItem::Expired(_) => Some(Timestamp::default()),
        TailItem::Change(_) => None,
        TailItem::Records(records) => {
            let due = records.iter().filter_map(|record| record.event.deliver_at);
            due.min()
        }
    }
}

/// Releases whatever is due, until it is dropped.
pub(crate) async fn run(log: EventLog, alarm: Arc<Alarm>, clock: fn() -> Timestamp) {
    run_with(log, alarm, clock, Look::event).await;
}

/// As [`run`], with this look at an event.
async fn run_with(log: EventLog, alarm: Arc<Alarm>, clock: fn() -> Timestamp, look: LookFn) {
    let mut next = Some(Timestamp::default());
    let mut again = None;
    loop {
        next = [next, alarm.take()].into_iter().flatten().min();
        let now = clock();
        if next.is_some_and(|at| at <= now) {
            let round = round(&log, clock, look).await;
            let Ok(ended) = round else { return };
            next = ended.next;
            // By the time that passes, whatever the clock says.
            again = ended.is_failed.then(|| Box::pin(sleep(AGAIN)));
            sleep(PAUSE).await;
            continue;
        }
        let wait = next.map(|at| sleep(at.since(now).min(SLEEP_MAX)));
        let due = async {
            match wait {
                Some(wait) => wait.await,
                None => std::future::pending().await,
            }
        };
        let failed = async {
            match &mut again {
                Some(again) => again.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = alarm.told.notified() => {}
            () = failed => (again, next) = (None, Some(Timestamp::default())),
        }
    }
}

/// The log takes nothing more, or the runtime goes down.
struct Stopped;

/// What a round came to.
#[derive(Default)]
struct Ended {
    /// When something is to be done; at once if a step did not do all.
    next: Option<Timestamp>,
    /// Something could not be read, or was refused.
    is_failed: bool,
}

/// Takes a step for each event that is due. A step is committed while the next one is looked for.
async fn round(log: &EventLog, clock: fn() -> Timestamp, look: LookFn) -> Result<Ended, Stopped> {
    let (mut ended, mut turns) = (Ended::default(), Turns::default());
    let mut looked: Option<Look> = None;
    let mut is_again = false;
    for step in 0_usize.. {
        let looking = {
            let (log, mut turns, now) = (log.clone(), std::mem::take(&mut turns), clock());
            tokio::task::spawn_blocking(move || {
                if step.is_multiple_of(STEPS_APPLIED) {
                    log.wait_applied();
                }
                let found = Look::new(&log, &mut turns, now, look);
                (found, turns)
            })
        };
        let (looking, taken) = tokio::join!(looking, take(log, looked.take()));
        is_again |= taken?.is_some_and(|left_out| left_out > 0);
        let found = match looking {
            Ok((Ok(found), back)) => {
                turns = back;
                found
            }
            Ok((Err(error), _)) => {
                tracing::warn!(%error, "cannot read which events are due; trying again");
                (ended.is_failed, ended.next) = (true, None);
                break;
            }
            // The panic hook has told where.
            Err(error) if error.is_panic() => {
                tracing::error!("a look at which events are due broke off; trying again");
                (ended.is_failed, ended.next) = (true, None);
                break;
            }
            Err(_) => return Err(Stopped),
        };
        ended.is_failed |= found.is_failed;
        is_again |= found.steps.iter().any(|step| !step.is_last);
        let is_all = found.is_all;
        ended.next = found.next;
        if is_all {
            is_again |= take(log, Some(found))
                .await?
                .is_some_and(|left_out| left_out > 0);
            break;
        }
        looked = Some(found);
    }
    if is_again {
        ended.next = Some(Timestamp::default());
    }
    Ok(ended)
}

/// Commits what was found, if anything was; returns how many steps were left out because more
/// subscriptions are to be looked at.
async fn take(log: &EventLog, look: Option<Look>) -> Result<Option<usize>, Stopped> {
    let Some(look) = look else { return Ok(None) };
    let count = look.steps.len();
    if !look.lost.is_empty() && log.record(look.lost).await.is_err() {
        return refused(log, count).await;
    }
    if count == 0 {
        return Ok(None);
    }
    match log.release(look.steps).await {
        Ok(left_out) => Ok(Some(left_out)),
        Err(_) => refused(log, count).await,
    }
}

/// A busy log is asked again.
async fn refused(log: &EventLog, count: usize) -> Result<Option<usize>, Stopped> {
    if log.poisoned().is_some() {
        return Err(Stopped);
    }
    sleep(AGAIN).await;
    Ok(Some(count.max(1)))
}

/// How the steps for an event are found.
type LookFn = fn(&mut Look, &EventLog, Delayed, Timestamp) -> Result<(), ReadError>;

/// What is to be done for some events that are due.
#[derive(Default)]
struct Look {
    steps: Vec<ReleaseStep>,
    /// What subscriptions are told of events that expired before their time.
    lost: Vec<Progress>,
    /// There are no others.
    is_all: bool,
    /// When the next event is due.
    next: Option<Timestamp>,
    /// Something could not be read.
    is_failed: bool,
}

impl Look {
    /// Blocks.
    fn new(
        log: &EventLog,
        turns: &mut Turns,
        now: Timestamp,
        event: LookFn,
    ) -> Result<Self, ReadError> {
        let picked = turns.pick(|behind, most| log.delayed_as_applied(behind, now, most))?;
        let mut look = Self {
            is_all: picked.is_all,
            next: picked.next,
            ..Self::default()
        };
        for delayed in picked.events {
            let offset = delayed.offset;
            let looking = AssertUnwindSafe(|| event(&mut look, log, delayed, now));
            match catch_unwind(looking) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%offset, %error, "cannot release an event; trying again");
                    look.is_failed = true;
                }
                Err(_) => {
                    tracing::error!(%offset, "the release of an event broke off; trying again");
                    look.is_failed = true;
                }
            }
        }
        Ok(look)
    }

    fn event(&mut self, log: &EventLog, of: Delayed, now: Timestamp) -> Result<(), ReadError> {
        let (due, offset) = (of.due, of.offset);
        let low = of.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut seen: Vec<Arc<Subscription>> = {
            let registry = log.registry();
            let all = registry.subscriptions(of.application, (low, Bound::Unbounded));
            all.take(SUBSCRIPTIONS_MAX + 1).cloned().collect()
        };
        let is_last = seen.len() <= SUBSCRIPTIONS_MAX;
        seen.truncate(SUBSCRIPTIONS_MAX);
        let mut step = ReleaseStep {
            of,
            key: None,
            seen: seen.iter().map(|value| value.id).collect(),
            to: Vec::new(),
            is_last,
        };
        seen.retain(|value| value.awaits(offset, due));
        if let Some(record) = log.get_at(offset)? {
            step.key = lane::key_of(&record);
            seen.retain(|value| value.filter.takes(&record.event));
            let skipped = log.delayed_skips(offset)?;
            // Whoever asked for it before its time, and got it, does not get it again.
            let pairs = seen.iter().map(|value| (&**value, Offset::ZERO));
            let statuses = log.statuses(&record, pairs)?;
            let of_step = seen.iter().zip(statuses);
            let due_to = of_step.filter(|(value, status)| {
                status.delivered != Delivered::Yes && !skipped.contains(&value.id)
            });
            step.to = due_to.map(|(value, _)| value.id).collect();
        } else {
            tracing::warn!(%offset, "an event expired before the time that it waited for");
            let lost = |id: SubscriptionId| {
                let range = offset..offset.next();
                Progress::Expired(id, Expired { range, at: now })
            };
            self.lost.extend(seen.iter().map(|value| lost(value.id)));
        }
        self.steps.push(step);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
