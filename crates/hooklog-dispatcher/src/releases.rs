//! Releases events whose time has come: parks their deliveries, a few at a time.
//!
//! **Invariant:** nothing is released before its time by the log's clock. A step is one commit, made on
//! what the one before it left in the database, so nothing is lost or released twice by a restart;
//! what one round looks at is bounded. Between two times that come nothing is read.
//! **Next:** `board/follow.rs`, where the released deliveries arrive.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    Delayed, Delivered, EventLog, Expired, Offset, Progress, ReadError, ReleaseStep, Subscription,
    SubscriptionId, TailItem, Timestamp,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::lane;

/// Events that one commit releases, at most.
const EVENTS_MAX: usize = 64;
/// Subscriptions that one step looks at: their ids take 5 KiB in the commit.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Longest sleep while something waits: a clock that was set must be noticed.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// Pause between two rounds, so that times that lie close together share one.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after an error.
const AGAIN: Duration = Duration::from_secs(1);

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
    let mut next = Some(Timestamp::default());
    loop {
        next = [next, alarm.take()].into_iter().flatten().min();
        let now = clock();
        match next {
            Some(at) if at <= now => {
                next = match round(&log, now).await {
                    Ok(next) => next,
                    Err(Stopped) => return,
                };
                tokio::time::sleep(PAUSE).await;
            }
            Some(at) => {
                let sleep = tokio::time::sleep(at.since(now).min(SLEEP_MAX));
                tokio::select! {
                    () = sleep => {}
                    () = alarm.told.notified() => {}
                }
            }
            None => alarm.told.notified().await,
        }
    }
}

/// The log takes nothing more, or the runtime goes down.
struct Stopped;

/// Takes a step for each event that is due; returns when to do so again.
async fn round(log: &EventLog, now: Timestamp) -> Result<Option<Timestamp>, Stopped> {
    let mut behind = None;
    // What could not be read, or has more steps to take.
    let mut again: Option<Timestamp> = None;
    loop {
        let look = {
            let (log, behind) = (log.clone(), behind.take());
            tokio::task::spawn_blocking(move || Look::new(&log, behind.as_ref(), now)).await
        };
        let look = match look {
            Ok(Ok(look)) => look,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read which events are due; trying again");
                return Ok(Some(now.plus(AGAIN)));
            }
            Err(_) => return Err(Stopped),
        };
        if look.is_failed {
            again = again.or(Some(now.plus(AGAIN)));
        }
        if look.steps.iter().any(|step| !step.is_last) {
            again = Some(now);
        }
        if !look.lost.is_empty() && log.record(look.lost).await.is_err() {
            return refused(log, now);
        }
        if !look.steps.is_empty() && log.release(look.steps).await.is_err() {
            return refused(log, now);
        }
        match look.last {
            Some(last) => behind = Some(last),
            None => return Ok([again, look.next].into_iter().flatten().min()),
        }
    }
}

/// A busy log is asked again.
fn refused(log: &EventLog, now: Timestamp) -> Result<Option<Timestamp>, Stopped> {
    match log.poisoned() {
        Some(_) => Err(Stopped),
        None => Ok(Some(now.plus(AGAIN))),
    }
}

/// What is to be done for some events that are due.
#[derive(Default)]
struct Look {
    steps: Vec<ReleaseStep>,
    /// What subscriptions are told of events that expired before their time.
    lost: Vec<Progress>,
    /// Where to look on, if there is more.
    last: Option<Delayed>,
    /// When the next event is due.
    next: Option<Timestamp>,
    /// Something could not be read.
    is_failed: bool,
}

impl Look {
    /// Blocks.
    fn new(log: &EventLog, behind: Option<&Delayed>, now: Timestamp) -> Result<Self, ReadError> {
        let page = log.delayed(behind, now, EVENTS_MAX)?;
        let mut look = Self {
            next: page.next,
            ..Self::default()
        };
        if page.due.len() == EVENTS_MAX {
            look.last = page.due.last().cloned();
        }
        for delayed in page.due {
            let offset = delayed.offset;
            if let Err(error) = look.event(log, delayed, now) {
                tracing::warn!(%offset, %error, "cannot release an event; trying again");
                look.is_failed = true;
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
