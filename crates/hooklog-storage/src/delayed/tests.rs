//! Events that wait for their time, and how deliveries stand meanwhile, on a real log.
//!
//! **Invariant:** nothing waits for a time here but in a loop that asks until it has come.
//! **Next:** `../standing.rs`.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::attempt::{NewAttempt, Outcome, Progress, Retry, Trigger};
use crate::config::{Config, Keep, Retention};
use crate::event::{Appended, Event, Record};
use crate::id::EventId;
use crate::log::AppendError;
use crate::log::tests::{application, config, open, subscription};
use crate::standing::{Delivered, DeliveryStatus};

#[expect(
    clippy::disallowed_methods,
    reason = "the log compares times with the wall clock"
)]
fn now() -> Timestamp {
    SystemTime::now().into()
}

fn after(duration: Duration) -> Timestamp {
    now().plus(duration)
}

const HOUR: Duration = Duration::from_hours(1);

async fn publish(log: &EventLog, to: ApplicationId, at: Option<Timestamp>) -> EventId {
    let event = Event {
        deliver_at: at,
        ..Event::new(to, "user.created".parse().unwrap(), Bytes::from("{}"))
    };
    match log.append(vec![event]).await.unwrap().pop().unwrap() {
        Appended::Committed { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

fn all(log: &EventLog) -> Vec<Delayed> {
    let far = Timestamp::from_millis(i64::MAX);
    log.delayed(None, far, usize::MAX).unwrap().due
}

fn record(log: &EventLog, id: EventId) -> Record {
    log.get(id).unwrap().unwrap()
}

fn status(log: &EventLog, id: EventId, of: &Subscription) -> DeliveryStatus {
    let position = log.positions([of]).unwrap()[0];
    log.status(&record(log, id), of, position).unwrap()
}

fn step(of: &Delayed, seen: &[&Subscription], is_last: bool) -> ReleaseStep {
    let seen: Vec<_> = seen.iter().map(|value| value.id).collect();
    ReleaseStep {
        of: of.clone(),
        key: Some(9),
        to: seen.clone(),
        seen,
        is_last,
    }
}

/// Takes a step again and again until it was taken.
async fn release(log: &EventLog, step: &ReleaseStep) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let before = all(log);
    while all(log) == before {
        assert!(Instant::now() < deadline, "{step:?} is never taken");
        log.release(vec![step.clone()]).await.unwrap();
        assert!(
            now() >= step.of.due || all(log) == before,
            "it is too early"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn attempt(event: EventId, of: &Subscription, outcome: Outcome, trigger: Trigger) -> Progress {
    Progress::Attempt(NewAttempt {
        event,
        subscription: of.id,
        url: "https://example.com/hook".into(),
        number: 0,
        started: now(),
        duration: Duration::from_millis(1),
        status_code: Some(500),
        response: String::new(),
        outcome,
        trigger,
    })
}

fn parked(log: &EventLog) -> Vec<(SubscriptionId, Offset, Retry)> {
    log.delivery_state().unwrap().retries
}

#[tokio::test]
async fn an_event_waits_for_its_time_across_a_restart_and_is_parked_then() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "a").await;
    let target = subscription(&log, app).await;
    let later = publish(&log, app, Some(after(HOUR))).await;
    let soon = publish(&log, app, Some(after(Duration::from_millis(60)))).await;
    let past = publish(&log, app, Some(Timestamp::from_millis(5))).await;
    // It is in the log like any other; a time that has come is none.
    assert!(record(&log, soon).event.deliver_at.is_some());
    assert_eq!(record(&log, past).event.deliver_at, None);
    let found = all(&log);
    let offsets: Vec<_> = found.iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [soon.offset(), later.offset()], "by their times");
    assert_eq!(
        log.delayed(None, now(), 9).unwrap().next,
        Some(found[0].due)
    );
    let behind = log.delayed(Some(&found[0]), found[1].due, 9).unwrap();
    assert_eq!(behind.due, found[1..]);
    let waits = status(&log, later, &target);
    assert_eq!(waits.delivered, Delivered::Pending);
    assert_eq!(waits.next_attempt(), Some(found[1].due));

    log.close().unwrap();
    drop(log);
    let log = open(&directory);
    assert_eq!(all(&log), found);
    release(&log, &step(&found[0], &[&target], true)).await;
    assert_eq!(all(&log), found[1..]);
    let rows = parked(&log);
    let (id, offset, retry) = rows[0];
    assert_eq!((rows.len(), id, offset), (1, target.id, soon.offset()));
    assert_eq!((retry.trigger, retry.key), (Trigger::Delayed, Some(9)));
    assert!(retry.due >= found[0].due && retry.is_awaited);
    assert_eq!(status(&log, soon, &target).parked, Some(retry));
    // Taken again it changes nothing: also not once it was delivered.
    let done = attempt(soon, &target, Outcome::Delivered, Trigger::Delayed);
    log.record(vec![done]).await.unwrap();
    assert_eq!(parked(&log), []);
    let again = step(&found[0], &[&target], true);
    log.release(vec![again]).await.unwrap();
    assert_eq!(parked(&log), []);
    assert_eq!(status(&log, soon, &target).delivered, Delivered::Yes);
}

#[tokio::test]
async fn a_step_that_missed_a_subscription_is_not_taken() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "a").await;
    let mut targets = vec![subscription(&log, app).await];
    let event = publish(&log, app, Some(after(Duration::from_millis(80)))).await;
    // From the past on, and so it is to have the event, too.
    let mut new = crate::NewSubscription::new(app, targets[0].endpoint.clone());
    new.start = Some(Offset::ZERO);
    targets.push(log.create_subscription(new.clone()).await.unwrap());
    // From the end on.
    let newer = subscription(&log, app).await;
    let delayed = all(&log).pop().unwrap();
    let due = |value: &Subscription| value.awaits(event.offset(), delayed.due);
    assert!(due(&targets[0]) && due(&targets[1]) && !due(&newer));
    assert_eq!(status(&log, event, &newer).delivered, Delivered::Never);
    targets.sort_by_key(|value| value.id);

    let first = step(&delayed, &[&targets[0]], false);
    let missed = step(&delayed, &[&targets[0]], true);
    release(&log, &first).await;
    let both = vec![missed, step(&delayed, &[&targets[0]], false)];
    assert_eq!(log.release(both).await.unwrap(), 1, "one is left out");
    let rest = all(&log).pop().unwrap();
    assert_eq!(rest.after, Some(targets[0].id));
    assert_eq!(parked(&log).len(), 1);
    assert!(status(&log, event, &targets[0]).parked.is_some());
    assert!(status(&log, event, &targets[1]).delayed_until.is_some());
    let last = step(&rest, &[&targets[1]], true);
    release(&log, &last).await;
    assert_eq!((parked(&log).len(), all(&log)), (2, vec![]));
    // Who comes after its time finds it in the log.
    let late = log.create_subscription(new).await.unwrap();
    assert!(!due(&late));
    assert_eq!(status(&log, event, &late).delivered, Delivered::Pending);
}

#[tokio::test]
async fn a_delayed_delivery_can_be_skipped_or_asked_for_before_its_time() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "a").await;
    let [one, other] = [subscription(&log, app).await, subscription(&log, app).await];
    let event = publish(&log, app, Some(after(Duration::from_millis(50)))).await;
    let delayed = all(&log).pop().unwrap();
    log.skip(one.id, event).await.unwrap();
    let told = status(&log, event, &one);
    assert_eq!((told.delivered, told.is_skipped), (Delivered::Never, true));
    assert_eq!(parked(&log), [], "it has no other row");
    assert_eq!(log.delayed_skips(event.offset()).unwrap(), [one.id].into());
    log.redeliver(other.id, event).await.unwrap();
    let asked = parked(&log);
    assert_eq!(asked[0].2.trigger, Trigger::Manual);
    let mut order = [&*one, &*other];
    order.sort_by_key(|value| value.id);
    let all_of_it = ReleaseStep {
        to: vec![other.id],
        ..step(&delayed, &order, true)
    };
    release(&log, &all_of_it).await;
    assert_eq!(parked(&log), asked, "it is parked as it was");
    assert_eq!(log.delayed_skips(event.offset()).unwrap(), BTreeSet::new());
    // A resend that failed for good leaves the other to come at its time.
    let next = publish(&log, app, Some(after(HOUR))).await;
    let failed = attempt(next, &one, Outcome::Exhausted, Trigger::Manual);
    log.record(vec![failed]).await.unwrap();
    assert_eq!(status(&log, next, &one).delivered, Delivered::Pending);
    let took = attempt(next, &one, Outcome::Delivered, Trigger::Manual);
    log.record(vec![took]).await.unwrap();
    assert_eq!(status(&log, next, &one).delivered, Delivered::Yes);
}

/// An attempt's outcome says that a retry follows; one that was skipped since has none.
#[tokio::test]
async fn a_skipped_delivery_is_never_pending() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "a").await;
    let target = subscription(&log, app).await;
    let event = publish(&log, app, None).await;
    assert_eq!(status(&log, event, &target).delivered, Delivered::Pending);
    let retry = Outcome::Retry(Retry::failed(1, after(HOUR)));
    let failed = attempt(event, &target, retry, Trigger::Scheduled);
    log.record(vec![failed]).await.unwrap();
    assert_eq!(status(&log, event, &target).delivered, Delivered::Pending);
    let last = |log: &EventLog| {
        let of = crate::AttemptsOf::Event(event.offset());
        let whole = crate::AttemptSeq::ZERO..crate::AttemptSeq::MAX;
        let limit = crate::Limit {
            items: 9,
            bytes: usize::MAX,
        };
        let page = log.attempts(of, whole, crate::Order::Descending, limit);
        page.unwrap().attempts.remove(0)
    };
    log.skip(target.id, event).await.unwrap();
    for is_settled in [false, true] {
        if is_settled {
            let skipped = Progress::Skipped(target.id, event.offset());
            log.record(vec![skipped]).await.unwrap();
            assert_eq!(parked(&log), []);
        }
        let told = status(&log, event, &target);
        assert_eq!((told.delivered, told.is_skipped), (Delivered::Failed, true));
        let attempt = last(&log);
        assert_eq!(log.status_after(&attempt, &target).unwrap(), told);
        assert_eq!(log.status_after_last(&attempt, &target).unwrap(), told);
    }
    log.redeliver(target.id, event).await.unwrap();
    assert_eq!(status(&log, event, &target).delivered, Delivered::Pending);
}

#[tokio::test]
async fn times_are_bounded_by_what_is_kept_and_hold_it() {
    let day = Duration::from_hours(24);
    let cases = [
        (None, Event::DELIVER_AFTER_MAX),
        (Some(day * 90), Event::DELIVER_AFTER_MAX),
        (Some(day), day),
    ];
    for (age, limit) in cases {
        let directory = TempDir::new().unwrap();
        let retention = Retention {
            events: Keep {
                age,
                count: Some(1),
                ..Keep::default()
            },
            undelivered_bytes_max: Some(1 << 30),
            ..Retention::default()
        };
        let log = EventLog::open(Config {
            retention,
            barrier_interval: HOUR,
            ..config(&directory)
        });
        let log = log.unwrap();
        let app = application(&log, "a").await;
        publish(&log, app, None).await;
        let held = publish(&log, app, Some(after(limit).plus(Duration::ZERO))).await;
        publish(&log, app, None).await;
        let far = Event::new(app, "a".parse().unwrap(), "{}").deliver_at(after(limit + HOUR));
        let refused = log.append(vec![far]).await;
        assert!(matches!(refused, Err(AppendError::DeliverAt { limit: found }) if found == limit));
        // What waits counts as undelivered.
        log.delivery_state().unwrap();
        let low = log.handle.shared.expiring(now()).unwrap().unwrap();
        assert_eq!(low.events, held.offset());
    }
}
