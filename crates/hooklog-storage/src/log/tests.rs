use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::attempt::{Cursor, CursorState, NewAttempt, Outcome, Retry, Trigger};
use crate::commands::{NewApplication, NewSubscription};
use crate::filter::Filter;
use crate::health::Health;
use crate::id::SubscriptionId;
use crate::offset::AttemptSeq;
use crate::page::AttemptsOf;
use crate::subscription::{Endpoint, SecretKey, Subscription};
use crate::tail::TailItem;

pub(crate) const ORGANISATION: crate::id::OrganisationId =
    crate::id::OrganisationId::from_bytes([7; 20]);

/// Small segments, so that tests rotate and recycle them.
pub(crate) fn config(directory: &TempDir) -> Config {
    Config {
        journal_segment_bytes: 1 << 20,
        payload_bytes_max: 256 << 10,
        ..Config::new(directory.path().join("log"))
    }
}

pub(crate) fn open(directory: &TempDir) -> EventLog {
    EventLog::open(config(directory)).unwrap()
}

impl EventLog {
    /// As an I/O error does.
    pub(crate) fn poison_for_tests(&self, reason: &str) {
        self.handle.shared.poison.set(reason);
    }
}

pub(crate) fn event(application: u8, payload: impl Into<Bytes>) -> Event {
    Event {
        application: ApplicationId::from_bytes([application; 20]),
        event_type: "user.created".parse().unwrap(),
        channels: Vec::new(),
        uid: None,
        idempotency: None,
        content_type: "application/json".to_owned(),
        payload: payload.into(),
        tags: Vec::new(),
        ordering_key: None,
        headers: Vec::new(),
        only: None,
        deliver_at: None,
    }
}

const ALL: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

pub(crate) fn payloads(log: &EventLog) -> Vec<String> {
    let records = log.read(Offset::ZERO, ALL).unwrap();
    for (offset, record) in (0..).zip(&records) {
        assert_eq!(record.offset.get(), offset, "offsets are dense");
        assert_eq!(record.id.offset(), record.offset);
    }
    records
        .iter()
        .map(|r| String::from_utf8_lossy(&r.event.payload).into_owned())
        .collect()
}

pub(crate) async fn application(log: &EventLog, uid: &str) -> ApplicationId {
    let new = NewApplication {
        organisation: ORGANISATION,
        uid: Some(uid.parse().unwrap()),
        name: uid.to_owned(),
        metadata: BTreeMap::new(),
        policy: crate::Policy::default(),
    };
    log.create_application(new).await.unwrap().id
}

pub(crate) async fn subscription(log: &EventLog, application: ApplicationId) -> Arc<Subscription> {
    let new = NewSubscription {
        application,
        uid: None,
        description: String::new(),
        endpoint: Endpoint {
            url: "https://example.com/hook".into(),
            secret: SecretKey::new(vec![1; 24]),
            old_secrets: Vec::new().into(),
            headers: Vec::new().into(),
            format: crate::Format::Payload,
        },
        filter: Filter::default(),
        is_enabled: true,
        metadata: BTreeMap::new(),
        ordering: crate::Ordering::None,
        policy: crate::Policy::default(),
        start: None,
    };
    log.create_subscription(new).await.unwrap()
}

#[tokio::test]
async fn what_is_acked_is_read_back_at_once_and_after_reopening() {
    let directory = TempDir::new().unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        let log = open(&directory);
        assert_eq!(payloads(&log), expected);
        for index in 0..50 {
            let payload = format!("{{\"n\":\"{round}.{index}\"}}");
            log.append(vec![event(1, payload.clone())]).await.unwrap();
            expected.push(payload);
            assert_eq!(log.end().get(), expected.len() as u64);
        }
        assert_eq!(payloads(&log), expected);
        log.close().unwrap();
        assert_eq!(payloads(&log), expected, "reads go on after closing");
        let refused = log.append(vec![event(1, "{}")]).await;
        assert!(matches!(
            refused,
            Err(AppendError::Commit(CommitError::Closed))
        ));
    }
}

#[tokio::test]
async fn segments_are_recycled_and_nothing_is_lost() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let mut expected = Vec::new();
    // 20 MiB through 1 MiB segments.
    for index in 0..200_u32 {
        let payload = format!("{index}{}", "x".repeat(100_000));
        log.append(vec![event((index % 3) as u8, payload.clone())])
            .await
            .unwrap();
        expected.push(payload);
        if index % 10 == 0 {
            log.delivery_state().unwrap();
        }
    }
    assert!(payloads(&log) == expected);
    drop(log);
    let log = open(&directory);
    assert!(payloads(&log) == expected);
    for application in 0..3 {
        let id = ApplicationId::from_bytes([application; 20]);
        for order in [Order::Ascending, Order::Descending] {
            let mut rest = Offset::ZERO..log.end();
            let mut found = Vec::new();
            while rest.start < rest.end {
                let limit = Limit {
                    items: 7,
                    bytes: 350_000,
                };
                let page = log.read_application(id, rest, order, limit).unwrap();
                assert!(page.records.len() <= 3, "the limit of bytes holds");
                found.extend(page.records.iter().map(|record| record.offset.get()));
                rest = page.rest;
            }
            if order == Order::Descending {
                found.reverse();
            }
            let expected: Vec<_> = (0..200)
                .filter(|o| o % 3 == u64::from(application))
                .collect();
            assert_eq!(found, expected, "{order:?}");
        }
    }
}

#[tokio::test]
async fn a_uid_is_taken_once_whether_memory_or_sled_knows_it() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let with_uid = || Event {
        uid: Some("once".parse().unwrap()),
        ..event(1, "{}")
    };
    let first = log
        .append(vec![with_uid(), with_uid(), event(1, "{}")])
        .await
        .unwrap();
    let Appended::Committed { id, .. } = first[0] else {
        panic!("{first:?}")
    };
    assert_eq!(first[1], Appended::UidTaken { existing: id });
    assert_eq!(log.end().get(), 2, "the refused event took no offset");
    let again = log.append(vec![with_uid()]).await.unwrap();
    assert_eq!(again, [Appended::UidTaken { existing: id }]);
    log.delivery_state().unwrap();
    drop(log);
    let log = open(&directory);
    assert_eq!(log.append(vec![with_uid()]).await.unwrap(), again);
    let other = Event {
        uid: Some("once".parse().unwrap()),
        ..event(2, "{}")
    };
    assert!(matches!(
        log.append(vec![other]).await.unwrap()[0],
        Appended::Committed { .. }
    ));
    let found = log
        .find_event(ApplicationId::from_bytes([1; 20]), "once")
        .unwrap()
        .unwrap();
    assert_eq!(found.id, id);
    let other_application = ApplicationId::from_bytes([3; 20]);
    assert_eq!(log.find_event(other_application, "once").unwrap(), None);
    assert_eq!(
        log.find_event(other_application, &id.to_string()).unwrap(),
        None
    );
}

#[tokio::test]
async fn the_registry_survives_and_two_equal_uids_do_not_both_win() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "shop").await;
    let taken = NewApplication {
        organisation: ORGANISATION,
        uid: Some("shop".parse().unwrap()),
        name: String::new(),
        metadata: BTreeMap::new(),
        policy: crate::Policy::default(),
    };
    let refused = log.create_application(taken.clone()).await;
    assert!(matches!(refused, Err(ChangeError::Conflict { .. })));
    let kept = subscription(&log, app).await;
    let gone = subscription(&log, app).await;
    log.delete_subscription(gone.id).await.unwrap();
    let edited = log
        .update_subscription(kept.id, |subscription, _| {
            subscription.description = "edited".to_owned().into();
            Ok(())
        })
        .await
        .unwrap();
    drop(log);
    let log = open(&directory);
    assert_eq!(
        log.registry()
            .find_application(ORGANISATION, "shop")
            .unwrap()
            .id,
        app
    );
    assert_eq!(log.registry().subscription(kept.id), Some(&edited));
    assert_eq!(log.registry().subscription(gone.id), None);
    log.delete_application(app).await.unwrap();
    assert_eq!(log.registry().subscription(kept.id), None);
    drop(log);
    let log = open(&directory);
    assert!(log.registry().application(app).is_none());
    assert!(log.registry().all_subscriptions().next().is_none());
    log.create_application(taken).await.unwrap();
}

/// Two attempts of event 0 and four of the subscription, from memory and from sled.
fn check_attempt_pages(log: &EventLog, subscription: SubscriptionId) {
    for order in [Order::Ascending, Order::Descending] {
        for _ in 0..2 {
            let all = AttemptSeq::ZERO..AttemptSeq::MAX;
            let of = AttemptsOf::Event(Offset::ZERO);
            let page = log.attempts(of, all.clone(), order, ALL).unwrap();
            let mut numbers: Vec<_> = page.attempts.iter().map(|a| a.attempt.number).collect();
            if order == Order::Descending {
                numbers.reverse();
            }
            assert_eq!(numbers, [0, 1]);
            let of = AttemptsOf::Subscription(subscription);
            let limit = Limit {
                items: 3,
                bytes: usize::MAX,
            };
            let first = log.attempts(of, all, order, limit).unwrap();
            let second = log.attempts(of, first.rest, order, limit).unwrap();
            assert_eq!((first.attempts.len(), second.attempts.len()), (3, 1));
            assert!(second.rest.is_empty());
            let one = &first.attempts[1];
            assert_eq!(log.attempt(one.id).unwrap().as_ref(), Some(one));
        }
        drop(log.delivery_state());
    }
}

#[tokio::test]
async fn attempts_park_and_settle_deliveries() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "shop").await;
    let target = subscription(&log, app).await;
    let mut events = Vec::new();
    for _ in 0..3 {
        let appended = log.append(vec![event(1, "{}")]).await.unwrap();
        let Appended::Committed { id, .. } = appended[0] else {
            panic!()
        };
        events.push(id);
    }
    let due = Timestamp::from_millis(5_000);
    let attempt = |event, number, outcome| {
        Progress::Attempt(NewAttempt {
            event,
            subscription: target.id,
            url: "https://example.com/hook".into(),
            number,
            started: Timestamp::from_millis(1_700_000_000_000),
            duration: Duration::from_millis(12),
            status_code: Some(500),
            response: "no".to_owned(),
            outcome,
            trigger: Trigger::Scheduled,
        })
    };
    let cursor = Cursor {
        floor: Offset::new(3),
        settled: vec![],
        state: CursorState::CaughtUp,
    };
    log.record(vec![
        attempt(events[0], 0, Outcome::Retry(Retry::failed(1, due))),
        attempt(events[1], 0, Outcome::Retry(Retry::failed(1, due))),
        attempt(events[0], 1, Outcome::Delivered),
        attempt(events[2], 0, Outcome::Exhausted),
        Progress::Cursor(target.id, cursor.clone()),
        Progress::Mark(Offset::new(3)),
    ])
    .await
    .unwrap();
    log.redeliver(target.id, events[2]).await.unwrap();
    let retry = Retry::failed(1, due);
    for _ in 0..2 {
        let state = log.delivery_state().unwrap();
        assert_eq!(state.mark, Offset::new(3));
        assert_eq!(state.cursors, [(target.id, cursor.clone())]);
        assert_eq!(state.retries.len(), 2, "{state:?}");
        assert_eq!(state.retries[0], (target.id, Offset::new(1), retry));
        assert_eq!(state.retries[1].1, Offset::new(2));
        assert_eq!(state.retries[1].2.trigger, Trigger::Manual);
        assert_eq!(log.delivery_state_of(target.id).unwrap(), state);
    }
    check_attempt_pages(&log, target.id);
    drop(log);
    let log = open(&directory);
    assert_eq!(log.delivery_state().unwrap().retries.len(), 2);
    log.delete_subscription(target.id).await.unwrap();
    let state = log.delivery_state().unwrap();
    assert!(state.retries.is_empty() && state.cursors.is_empty());
}

/// The first attempt of an event, parked like this.
fn parked_attempt(target: SubscriptionId, event: EventId, retry: Retry) -> Progress {
    Progress::Attempt(NewAttempt {
        event,
        subscription: target,
        url: "https://example.com/hook".into(),
        number: 0,
        started: Timestamp::default(),
        duration: Duration::ZERO,
        status_code: None,
        response: String::new(),
        outcome: Outcome::Retry(retry),
        trigger: Trigger::Scheduled,
    })
}

#[tokio::test]
async fn commands_on_deliveries_change_their_rows() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "shop").await;
    let target = subscription(&log, app).await.id;
    let mut ids = Vec::new();
    for appended in log
        .append(vec![event(1, "1"), event(1, "2")])
        .await
        .unwrap()
    {
        let Appended::Committed { id, .. } = appended else {
            panic!()
        };
        ids.push(id);
    }
    let due = Timestamp::from_millis(9_000_000_000_000);
    let parked = Retry {
        key: Some(7),
        ..Retry::failed(1, due)
    };
    let attempt = parked_attempt(target, ids[0], parked);
    log.record(vec![attempt.clone()]).await.unwrap();
    let row = |at: usize| {
        let retries = log.delivery_state_of(target).unwrap().retries;
        let found = retries.iter().find(|row| row.1 == ids[at].offset());
        found.map(|row| row.2)
    };
    log.retry_now(target, ids[0]).await.unwrap();
    let now = row(0).unwrap();
    assert!(now.due < due);
    assert_eq!(Retry { due, ..now }, parked, "nothing else changes");
    log.retry_now(target, ids[1]).await.unwrap();
    assert_eq!(row(1), None, "what is not parked cannot be retried");
    log.redeliver(target, ids[0]).await.unwrap();
    let asked = row(0).unwrap();
    assert_eq!((asked.trigger, asked.number), (Trigger::Manual, 0));
    assert_eq!(
        (asked.is_awaited, asked.key),
        (true, Some(7)),
        "it holds up what it held up"
    );
    for id in &ids {
        log.skip(target, *id).await.unwrap();
    }
    assert!(row(0).unwrap().is_skipped && row(1).unwrap().is_skipped);
    // The attempt that was under way fails: it stays skipped until the dispatcher has settled it.
    log.record(vec![attempt]).await.unwrap();
    let is_skipped = true;
    assert_eq!(
        row(0),
        Some(Retry {
            is_skipped,
            ..parked
        })
    );
    let settled = ids.iter().map(|id| Progress::Skipped(target, id.offset()));
    log.record(settled.collect()).await.unwrap();
    assert_eq!((row(0), row(1)), (None, None));
    let unknown = SubscriptionId::from_bytes([9; 20]);
    assert!(log.skip(unknown, ids[0]).await.is_err());
}

#[tokio::test]
async fn what_is_known_of_an_endpoint_is_kept_until_it_is_well() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "shop").await;
    let target = subscription(&log, app).await.id;
    let health = Health {
        down_since: Some(Timestamp::from_millis(5)),
        ..Health::default()
    };
    let progress = Progress::Health(target, health);
    log.record(vec![progress.clone()]).await.unwrap();
    assert_eq!(log.health(target).unwrap(), health);
    log.close().unwrap();
    drop(log);
    let log = open(&directory);
    assert_eq!(log.health(target).unwrap(), health);
    assert_eq!(log.delivery_state().unwrap().health, [(target, health)]);
    let well = Progress::Health(target, Health::default());
    log.record(vec![well]).await.unwrap();
    assert_eq!(log.health(target).unwrap(), Health::default());
    assert_eq!(log.delivery_state().unwrap().health, []);
    log.record(vec![progress.clone()]).await.unwrap();
    log.delete_subscription(target).await.unwrap();
    log.record(vec![progress]).await.unwrap();
    assert_eq!(log.delivery_state().unwrap().health, []);
    assert_eq!(log.cursor(target).unwrap(), None);
}

#[tokio::test]
async fn a_tail_sees_events_and_changes_in_order_from_disk_and_from_memory() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::open(Config {
        tail_bytes_max: 0,
        ..config(&directory)
    })
    .unwrap();
    for index in 0..10 {
        log.append(vec![event(1, format!("{index}"))])
            .await
            .unwrap();
    }
    log.delivery_state().unwrap();
    let mut tail = log.tail(Offset::new(4));
    let app = application(&log, "late").await;
    subscription(&log, app).await;
    log.append(vec![event(1, "10")]).await.unwrap();
    let mut offsets = Vec::new();
    let mut changes = 0;
    let mut registries = 0;
    while tail.position() < Offset::new(11) {
        match tail.next().await.unwrap() {
            TailItem::Registry(listing) => {
                assert_eq!(listing.subscriptions.len(), 1);
                registries += 1;
            }
            TailItem::Records(records) => offsets.extend(records.iter().map(|r| r.offset.get())),
            TailItem::Change(_) => changes += 1,
            TailItem::Expired(range) => panic!("{range:?} expired"),
        }
    }
    assert_eq!(offsets, (4..11).collect::<Vec<_>>());
    assert_eq!(
        (registries, changes),
        (1, 0),
        "the snapshot has them already"
    );
    log.delete_application(app).await.unwrap();
    // The subscription first, then the application.
    for _ in 0..2 {
        assert!(matches!(tail.next().await.unwrap(), TailItem::Change(_)));
    }
    assert!(tail.poll_next().unwrap().is_none());
}

#[tokio::test]
async fn limits_are_named() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let too_large = log
        .append(vec![event(1, vec![b'x'; (256 << 10) + 1])])
        .await;
    assert_eq!(
        too_large.unwrap_err().to_string(),
        "payload has 262145 bytes, more than the limit of 262144"
    );
    let many = log.append(vec![event(1, vec![b'x'; 256 << 10]); 3]).await;
    assert!(matches!(many, Err(AppendError::AppendTooLarge { .. })));
    let second = EventLog::open(config(&directory)).unwrap_err();
    assert!(
        second.to_string().contains("in use by another process"),
        "{second}"
    );
    let bad = Config {
        journal_segment_bytes: 1,
        ..config(&directory)
    };
    assert!(
        EventLog::open(bad)
            .unwrap_err()
            .to_string()
            .contains("journal_segment_bytes is 1")
    );
}

#[tokio::test]
async fn large_events_are_stored_in_chunks_and_never_as_blobs() {
    let directory = TempDir::new().unwrap();
    let config = || Config::new(directory.path().join("log"));
    // Incompressible, so that it is stored at its full size.
    let mut rng = fastrand::Rng::with_seed(1);
    let large: Bytes = std::iter::repeat_with(|| rng.u8(..))
        .take(2 << 20)
        .collect();
    let log = EventLog::open(config()).unwrap();
    log.append(vec![
        event(1, "{}"),
        event(1, large.clone()),
        event(2, "{}"),
    ])
    .await
    .unwrap();
    drop(log);
    let log = EventLog::open(config()).unwrap();
    let records = log.read(Offset::ZERO, ALL).unwrap();
    assert_eq!(records.len(), 3);
    assert!(records[1].event.payload == large);
    let blobs = directory.path().join("log/sled/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    for _ in 0..20 {
        log.append(vec![event(1, "{}")]).await.unwrap();
    }
    for record in log.read(Offset::ZERO, ALL).unwrap() {
        let found = log
            .get_at(log.offset_at(record.timestamp).unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(found.timestamp, record.timestamp);
    }
    assert_eq!(
        log.offset_at(Timestamp::from_millis(i64::MAX)).unwrap(),
        log.end()
    );
    assert_eq!(
        log.offset_at(Timestamp::from_millis(0)).unwrap(),
        Offset::ZERO
    );
}

#[test]
fn many_large_appends_at_once_fit_the_smallest_segments() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                log.append_blocking(vec![event(1, vec![b'x'; 250_000])])
                    .unwrap();
            });
        }
    });
    assert_eq!(log.end().get(), 40);
}

#[tokio::test]
async fn a_resend_asked_for_during_an_attempt_outlives_its_outcome() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "shop").await;
    let target = subscription(&log, app).await;
    let appended = log.append(vec![event(1, "{}")]).await.unwrap();
    let Appended::Committed { id, .. } = appended[0] else {
        panic!()
    };
    let attempt = |number, trigger| {
        Progress::Attempt(NewAttempt {
            event: id,
            subscription: target.id,
            url: "https://example.com/hook".into(),
            number,
            started: Timestamp::default(),
            duration: Duration::ZERO,
            status_code: Some(200),
            response: String::new(),
            outcome: Outcome::Delivered,
            trigger,
        })
    };
    log.redeliver(target.id, id).await.unwrap();
    log.record(vec![attempt(3, Trigger::Scheduled)])
        .await
        .unwrap();
    assert_eq!(
        log.delivery_state().unwrap().retries.len(),
        1,
        "it knew nothing of the resend"
    );
    log.record(vec![attempt(0, Trigger::Manual)]).await.unwrap();
    assert!(log.delivery_state().unwrap().retries.is_empty());
}

#[tokio::test]
async fn ids_sort_in_the_order_of_creation_even_within_milliseconds() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let mut ids = Vec::new();
    for index in 0..50 {
        ids.push(application(&log, &format!("app-{index}")).await);
    }
    assert!(ids.is_sorted());
}

#[tokio::test]
async fn numbers_in_the_registry_are_limited() {
    let directory = TempDir::new().unwrap();
    let limited = || Config {
        applications_max: 2,
        event_types_max: 1,
        subscriptions_max: 2,
        ..config(&directory)
    };
    let log = EventLog::open(limited()).unwrap();
    let app = application(&log, "a").await;
    application(&log, "b").await;
    let new = |uid: &str| NewApplication {
        organisation: ORGANISATION,
        uid: Some(uid.parse().unwrap()),
        name: String::new(),
        metadata: BTreeMap::new(),
        policy: crate::Policy::default(),
    };
    let refused = log.create_application(new("c")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the number of applications is limited to 2"
    );
    let first = subscription(&log, app).await;
    let second = subscription(&log, app).await;
    let third = NewSubscription {
        application: app,
        uid: None,
        description: String::new(),
        endpoint: first.endpoint.clone(),
        filter: Filter::default(),
        is_enabled: true,
        metadata: BTreeMap::new(),
        ordering: crate::Ordering::None,
        policy: crate::Policy::default(),
        start: None,
    };
    // Counted the same after a restart, and a deleted one makes room.
    drop(log);
    let log = EventLog::open(limited()).unwrap();
    let refused = log.create_subscription(third.clone()).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Limit { limit: 2, .. }));
    log.delete_subscription(second.id).await.unwrap();
    log.create_subscription(third).await.unwrap();
    log.delete_application(app).await.unwrap();
    log.create_application(new("c")).await.unwrap();
}
