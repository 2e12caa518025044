//! Operational events: in the commit of what they tell of, and of nobody else's.

use tempfile::TempDir;

use super::tests::{application, event, open, subscription};
use crate::attempt::{NewAttempt, Outcome, Progress, Retry, Trigger};
use crate::event::Appended;
use crate::id::ApplicationId;
use crate::log::EventLog;
use crate::offset::Offset;
use crate::page::{Limit, Order};
use crate::subscription::{DisableReason, SubscriptionState};
use crate::time::Timestamp;

/// Types and payloads of an application's events.
fn told(log: &EventLog, id: ApplicationId) -> Vec<(String, serde_json::Value)> {
    let limit = Limit {
        items: 100,
        bytes: usize::MAX,
    };
    let all = Offset::ZERO..Offset::MAX;
    let page = log
        .read_application(id, all, Order::Ascending, limit)
        .unwrap();
    let event = |record: crate::event::Record| {
        let payload = serde_json::from_slice(&record.event.payload).unwrap();
        (record.event.event_type.to_string(), payload)
    };
    page.records.into_iter().map(event).collect()
}

/// Records attempts of one delivery that fails, recovers and (asked for again) is given up.
async fn deliver(log: &EventLog, subscription: crate::SubscriptionId) {
    let appended = log.append(vec![event(1, "{}")]).await.unwrap();
    let Appended::Committed { id, .. } = appended[0] else {
        panic!()
    };
    let due = Timestamp::from_millis(5_000);
    let retry = Outcome::Retry(Retry::failed(1, due));
    let outcomes = [
        retry,
        retry,
        retry,
        retry,
        Outcome::Delivered,
        Outcome::Exhausted,
    ];
    let attempt = |(number, outcome)| {
        Progress::Attempt(NewAttempt {
            event: id,
            subscription,
            url: "https://example.com".into(),
            number,
            started: Timestamp::from_millis(1_000),
            duration: std::time::Duration::ZERO,
            status_code: Some(500),
            response: String::new(),
            outcome,
            trigger: Trigger::Scheduled,
        })
    };
    log.record((0..).zip(outcomes).map(attempt).collect())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_happens_to_endpoints_and_deliveries_is_told() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let shop = application(&log, "shop").await;
    let organisation = log.registry().application(shop).unwrap().organisation;
    let silent = subscription(&log, shop).await;
    let hidden = log.operational_application(organisation).await.unwrap();
    assert_eq!(
        log.operational_application(organisation).await.unwrap(),
        hidden
    );
    // Nobody listens yet.
    log.delete_subscription(silent.id).await.unwrap();
    assert_eq!(told(&log, hidden), []);
    subscription(&log, hidden).await;

    let target = subscription(&log, shop).await;
    let state = |state| {
        move |value: &mut crate::Subscription, _| {
            value.state = state;
            Ok(())
        }
    };
    let gone = SubscriptionState::Disabled {
        since: Timestamp::default(),
        reason: DisableReason::Gone,
    };
    log.update_subscription(target.id, state(gone))
        .await
        .unwrap();
    let enabled = SubscriptionState::Enabled;
    log.update_subscription(target.id, state(enabled))
        .await
        .unwrap();
    log.update_subscription(target.id, |_, _| Ok(()))
        .await
        .unwrap();
    deliver(&log, target.id).await;
    log.delete_subscription(target.id).await.unwrap();

    let expected = [
        "endpoint.created",
        "endpoint.disabled",
        "endpoint.enabled",
        "endpoint.updated",
        "message.attempt.failing",
        "message.attempt.recovered",
        "message.attempt.exhausted",
        "endpoint.deleted",
    ];
    log.close().unwrap();
    drop(log);
    let log = open(&directory);
    let told = told(&log, hidden);
    let types: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(types, expected);
    for (name, payload) in &told {
        assert_eq!(payload["type"], name.as_str());
        assert_eq!(payload["data"]["appUid"], "shop");
        assert_eq!(payload["data"]["endpointId"], target.id.to_string());
    }
    assert_eq!(told[1].1["data"]["reason"], "gone");
    assert_eq!(told[4].1["data"]["lastAttempt"]["attempts"], 4);
    let registry = log.registry();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    assert_eq!(registry.applications(organisation, all).count(), 1);
    assert!(
        registry
            .find_application(organisation, &hidden.to_string())
            .is_none()
    );
}

/// The longest that can be told fits into what is counted for it.
#[tokio::test]
async fn what_is_told_is_as_long_as_is_counted_at_most() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let shop = application(&log, &"a".repeat(256)).await;
    let organisation = log.registry().application(shop).unwrap().organisation;
    let hidden = log.operational_application(organisation).await.unwrap();
    subscription(&log, hidden).await;
    let target = subscription(&log, shop).await;
    let named = |value: &mut crate::Subscription, _| {
        value.uid = Some("e".repeat(256).parse().unwrap());
        Ok(())
    };
    log.update_subscription(target.id, named).await.unwrap();
    deliver(&log, target.id).await;
    let limit = Limit {
        items: 100,
        bytes: usize::MAX,
    };
    let records = log.read(Offset::ZERO, limit).unwrap();
    let told = records
        .iter()
        .filter(|record| record.event.application == hidden);
    let sizes: Vec<_> = told
        .map(|record| crate::record::estimate(&record.event))
        .collect();
    assert!(sizes.len() >= 5);
    let most = crate::commit::operational::TOLD_BYTES_MAX;
    assert!(
        sizes.iter().all(|size| *size <= most && *size > most / 8),
        "{sizes:?}"
    );
}
