//! What runs beside the driver's loop: attempts, reads of the log, records of progress.
//!
//! **Invariant:** each ends with exactly one input for the board, whatever goes wrong; only a log
//! that takes nothing more ends the dispatch.
//! **Next:** `deliver.rs`.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hooklog_storage::{
    ChangeError, CommitError, DisableReason, EventId, EventLog, Limit, Offset, OffsetRange, Order,
    Progress, ReadError, Record, Subscription, SubscriptionId, SubscriptionState, Unrecorded,
};
use tokio::time::{Instant, Sleep};

use crate::board::{Input, Page, Reading};
use crate::deliver::{Answer, Deliver, Verdict};
use crate::lane::{Read, Scan, Start};
use crate::route::wants;

/// Time to wait after the log was busy: a few of its commits.
const BUSY_AGAIN: Duration = Duration::from_millis(20);
/// Time to wait after a state could not be loaded.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

/// Rows that are read at a time: a millisecond or two, and more than a lane takes.
const PAGE_ROWS: usize = 1024;
/// Pages of one subscription before others have their turn.
const PAGES_MAX: usize = 8;

/// How an errand ended.
pub(crate) enum Errand {
    /// The board is to be told.
    Done(Box<Input>),
    /// The log is stopped.
    Refused(CommitError),
}

impl Errand {
    fn done(input: Input) -> Self {
        Self::Done(Box::new(input))
    }
}

/// Makes one attempt, which ends by `deadline`: that is set to the end of an attempt that starts now, and
/// moved by the time that it takes to read the event. Returns the event's id, if the event could be read, and the answer.
pub(crate) async fn attempt(
    log: &EventLog,
    deliver: &Deliver,
    subscription: &Arc<Subscription>,
    start: Start,
    now: hooklog_storage::Timestamp,
    mut deadline: Pin<&mut Sleep>,
) -> (Option<EventId>, Answer) {
    let record = match start.record {
        Some(record) => record,
        None => match read_one(log.clone(), start.offset).await {
            Ok(record) => {
                deadline.as_mut().reset(Instant::now() + deliver.timeout());
                record.into()
            }
            Err(answer) => return (None, answer),
        },
    };
    // A lane may hold the record since before its content was taken out.
    if log.is_expunged(&record) {
        let answer = Answer::none(Verdict::Gone, "the event's content was expunged");
        return (Some(record.id), answer);
    }
    // Where it stays: what is caught is only a pointer to it, which is cheap to move.
    let attempt = pin!(deliver.attempt_until(subscription, &record, now, deadline));
    let answer = AssertUnwindSafe(attempt)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            // The panic hook has told where; this delivery goes on by the schedule, as do all others.
            Answer::none(Verdict::Failed, "the attempt failed inside the server")
        });
    (Some(record.id), answer)
}

async fn read_one(log: EventLog, offset: Offset) -> Result<Record, Answer> {
    let failed = |reason| Answer::none(Verdict::Failed, reason);
    match tokio::task::spawn_blocking(move || log.get_at(offset)).await {
        Ok(Ok(Some(record))) => Ok(record),
        Ok(Ok(None)) => Err(Answer::none(
            Verdict::Gone,
            "the event is no longer in the log",
        )),
        Ok(Err(error)) => Err(failed(format!("the event cannot be read: {error}"))),
        Err(_) => Err(failed("the event cannot be read".to_owned())),
    }
}

/// Reads a page of an application's events, and keeps what the subscription takes. Blocks.
pub(crate) fn read(
    log: &EventLog,
    subscription: &Subscription,
    reading: Reading,
    range: OffsetRange,
    limit: Read,
) -> Errand {
    let from = range.start;
    let limit = Limit {
        items: limit.items,
        bytes: limit.bytes,
    };
    let application = subscription.application;
    let page = match log.read_application(application, range.clone(), Order::Ascending, limit) {
        Ok(mut page) => {
            page.records.retain(|record| wants(subscription, record));
            let next = if page.rest.is_empty() {
                range.end
            } else {
                page.rest.start
            };
            Some(Page {
                records: page.records,
                next,
                expired: page.expired,
            })
        }
        Err(error) => {
            warn("events of a subscription that is behind", &error);
            None
        }
    };
    Errand::done(Input::Page {
        subscription: subscription.id,
        reading,
        from,
        page,
    })
}

/// Loads where one subscription stands.
pub(crate) async fn load(log: EventLog, subscription: SubscriptionId) -> Errand {
    let state = until_read(move || log.dispatch_state_of(subscription)).await;
    Errand::done(Input::Loaded {
        subscription,
        state,
    })
}

/// Looks at some pages of what subscriptions have parked.
pub(crate) async fn scan(log: EventLog, scans: Vec<(SubscriptionId, Scan)>) -> Errand {
    let look = move || {
        // Everything that the lanes know is on record, and then in the pages.
        log.wait_applied();
        let (mut scans, mut failed) = (scans.clone(), None);
        for (id, scan) in &mut scans {
            for _ in 0..PAGES_MAX {
                let Some(from) = scan.next() else { break };
                match log.parked(*id, from, PAGE_ROWS) {
                    Ok(page) => scan.take(&page, PAGE_ROWS),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        Ok((scans, failed))
    };
    let (scans, failed) = until_read(look).await;
    if let Some(error) = failed {
        // It stands in line again, and the others go on.
        warn("what is parked for a subscription", &error);
        tokio::time::sleep(LOAD_AGAIN).await;
    }
    Errand::done(Input::Scanned(scans))
}

/// Looks up who has something parked, behind a subscription.
pub(crate) async fn resync(log: EventLog, behind: Option<SubscriptionId>) -> Errand {
    let look = move || {
        log.wait_applied();
        log.parked_subscriptions(behind, PAGE_ROWS)
    };
    let ids = until_read(look).await;
    let next = ids.last().filter(|_| ids.len() == PAGE_ROWS).copied();
    Errand::done(Input::Resynced { ids, next })
}

async fn until_read<T: Send + 'static>(
    read: impl Fn() -> Result<T, ReadError> + Clone + Send + 'static,
) -> T {
    loop {
        match tokio::task::spawn_blocking(read.clone()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => warn("the delivery state", &error),
            // The runtime is going down, and so is this task.
            Err(_) => {}
        }
        tokio::time::sleep(LOAD_AGAIN).await;
    }
}

/// Records progress, however long the log is busy.
pub(crate) async fn record(log: EventLog, mut progress: Vec<Progress>) -> Errand {
    loop {
        let Err(Unrecorded { error, rest }) = log.record(progress).await else {
            return Errand::done(Input::Recorded);
        };
        match error {
            // What was recorded is not recorded again.
            CommitError::Busy { .. } => progress = rest,
            CommitError::Poisoned { .. } | CommitError::Closed => return Errand::Refused(error),
        }
        tokio::time::sleep(BUSY_AGAIN).await;
    }
}

/// Disables a subscription whose endpoint is still the one at `url`.
pub(crate) async fn disable(
    log: EventLog,
    subscription: SubscriptionId,
    url: Arc<str>,
    reason: DisableReason,
) -> Errand {
    loop {
        let url = Arc::clone(&url);
        let edit = move |value: &mut Subscription, since| {
            if value.state.is_enabled() && value.endpoint.url == url {
                value.state = SubscriptionState::Disabled { since, reason };
            }
            Ok(())
        };
        match log.update_subscription(subscription, edit).await {
            Ok(_) => {
                tracing::warn!(%subscription, ?reason, "subscription disabled");
                break;
            }
            Err(ChangeError::Commit(CommitError::Busy { .. })) => {}
            Err(ChangeError::Commit(error)) => return Errand::Refused(error),
            // It is gone.
            Err(_) => break,
        }
        tokio::time::sleep(BUSY_AGAIN).await;
    }
    Errand::done(Input::Disabled)
}

fn warn(what: &'static str, error: &ReadError) {
    tracing::warn!(error = %error, "cannot read {what}; trying again");
}

#[cfg(test)]
mod tests;
