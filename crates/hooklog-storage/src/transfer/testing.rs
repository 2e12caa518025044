//! A log with something of everything, and all that a reader can see of a log.
//!
//! **Invariant:** only compiled for tests; what is made depends on the seed alone, ids and times
//! aside.
//! **Next:** `compact/tests.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use crate::attempt::{
    Attempt, Cursor, CursorState, DeliveryState, NewAttempt, Outcome, Progress, Trigger,
};
use crate::id::EventId;
use crate::log::tests::{ORGANISATION, application, event, subscription};
use crate::{
    Appended, AttemptSeq, AttemptsOf, ConsumerOptions, Event, EventLog, Limit, Offset, OpenError,
    Order, Record, SubscriptionId, Timestamp,
};

const ALL: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

/// Appends events of three applications: small ones, some with uids, one of several chunks.
pub(crate) async fn publish(log: &EventLog, seed: u64, count: usize) -> Vec<EventId> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut ids = Vec::new();
    let mut rest = count;
    while rest > 0 {
        let take = rest.min(rng.usize(1..8));
        rest -= take;
        let events = (0..take).map(|at| {
            let length = rng.usize(0..3_000);
            let payload: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
            let uid = format!("{seed}-{}-{at}", ids.len());
            Event {
                uid: rng.bool().then(|| uid.parse().unwrap()),
                ..event(rng.u8(1..4), payload)
            }
        });
        let events = events.collect::<Vec<_>>();
        for appended in log.append(events).await.unwrap() {
            let Appended::Committed { id, .. } = appended else {
                panic!("{appended:?}")
            };
            ids.push(id);
        }
    }
    ids
}

/// Fills a log: events, a large one, applications, subscriptions, attempts, retries, cursors.
pub(crate) async fn fill(log: &EventLog, seed: u64, count: usize) {
    let ids = publish(log, seed, count).await;
    let large: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    // For later, and so it has rows of its own.
    let later = ids[0].timestamp().plus(Duration::from_hours(1));
    let large = event(1, large).deliver_at(later);
    log.append(vec![large]).await.unwrap();
    let app = application(log, &format!("app-{seed}")).await;
    let target = subscription(log, app).await.id;
    let gone = subscription(log, app).await.id;
    log.delete_subscription(gone).await.unwrap();
    let due = Timestamp::from_millis(5_000);
    let progress = ids.iter().zip(0_u16..).map(|(event, at)| {
        Progress::Attempt(NewAttempt {
            event: *event,
            subscription: target,
            url: "https://example.com/hook".into(),
            number: at % 3,
            started: Timestamp::from_millis(1_700_000_000_000 + i64::from(at)),
            duration: Duration::from_millis(12),
            status_code: Some(500),
            response: format!("no {at}"),
            outcome: match at % 3 {
                0 => Outcome::Retry(crate::Retry::failed(at % 3 + 1, due)),
                1 => Outcome::Delivered,
                _ => Outcome::Exhausted,
            },
            trigger: Trigger::Scheduled,
        })
    });
    let mut progress: Vec<_> = progress.collect();
    progress.push(Progress::Cursor(
        target,
        Cursor {
            floor: Offset::new(3),
            settled: vec![Offset::new(7)],
            state: CursorState::Behind,
        },
    ));
    progress.push(Progress::Mark(Offset::new(count as u64)));
    let expired = crate::Expired {
        range: Offset::ZERO..Offset::new(1),
        at: due,
    };
    progress.push(Progress::Expired(target, expired));
    let health = crate::Health {
        failing_since: Some(due),
        ..crate::Health::default()
    };
    progress.push(Progress::Health(target, health));
    log.record(progress).await.unwrap();
    let name = format!("consumer-{seed}");
    let mut consumer = log
        .consumer(&name, ConsumerOptions::default())
        .await
        .unwrap();
    consumer.commit_durable(Offset::new(1)).await.unwrap();
    let answer = crate::KeptAnswer {
        status: 201,
        body: b"{}".to_vec().into(),
    };
    let key = crate::IdempotencyKey::new(&[b"scope"], &name, b"{}");
    let hour = std::time::Duration::from_hours(1);
    log.keep_answer(key, answer, hour, crate::AnswerSync::Now)
        .await
        .unwrap();
}

/// All that can be read of a log.
#[derive(Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) end: Offset,
    pub(crate) records: Vec<Record>,
    /// Offsets of each application, by its index.
    pub(crate) by_application: BTreeMap<u8, Vec<Offset>>,
    pub(crate) uids: Vec<EventId>,
    pub(crate) delivery: DeliveryState,
    pub(crate) registry: Vec<String>,
    pub(crate) attempts: BTreeMap<SubscriptionId, Vec<Attempt>>,
}

/// Reads everything.
pub(crate) fn contents(log: &EventLog) -> Contents {
    let delivery = log.delivery_state().unwrap();
    let records = log.read(Offset::ZERO, ALL).unwrap();
    let mut by_application = BTreeMap::new();
    let mut uids = Vec::new();
    for record in &records {
        assert_eq!(log.get_at(record.offset).unwrap().as_ref(), Some(record));
        let event = &record.event;
        if let Some(uid) = &event.uid {
            let found = log.find_event(event.application, uid.as_str()).unwrap();
            uids.push(found.expect("its uid is known").id);
        }
        let index = event.application.as_bytes()[0];
        by_application.entry(index).or_insert_with(|| {
            let range = Offset::ZERO..Offset::MAX;
            let page = log.read_application(event.application, range, Order::Ascending, ALL);
            page.unwrap().records.iter().map(|r| r.offset).collect()
        });
    }
    let mut attempts = BTreeMap::new();
    let registry = log.registry();
    let subscriptions: Vec<_> = registry.all_subscriptions().cloned().collect();
    let mut shown: Vec<_> = subscriptions.iter().map(|s| format!("{s:?}")).collect();
    let page = registry.applications(ORGANISATION, (Bound::Unbounded, Bound::Unbounded));
    shown.extend(page.map(|app| format!("{app:?}")));
    drop(registry);
    for subscription in subscriptions {
        let of = AttemptsOf::Subscription(subscription.id);
        let all = AttemptSeq::ZERO..AttemptSeq::MAX;
        let page = log.attempts(of, all, Order::Ascending, ALL).unwrap();
        for attempt in &page.attempts {
            let of = AttemptsOf::Event(attempt.attempt.event.offset());
            let all = AttemptSeq::ZERO..AttemptSeq::MAX;
            let event = log.attempts(of, all, Order::Descending, ALL).unwrap();
            assert!(event.attempts.contains(attempt));
        }
        attempts.insert(subscription.id, page.attempts);
    }
    Contents {
        end: log.end(),
        records,
        by_application,
        uids,
        delivery,
        registry: shown,
        attempts,
    }
}

/// Opens a log, reads everything, closes it.
pub(crate) fn contents_of(config: crate::Config) -> Result<Contents, OpenError> {
    let log = EventLog::open(config)?;
    let contents = contents(&log);
    log.close().unwrap();
    Ok(contents)
}
