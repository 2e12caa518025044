//! Bounds of background tasks: of one organisation, and of all together.
//!
//! **Invariant:** one tenant at its own bound is told so; when all together are at theirs, whoever asks
//! is to come back later.
//! **Next:** `../../task.rs`.

use tempfile::TempDir;

use super::*;
use crate::id::OrganisationId;
use crate::log::tests::{event, open};
use crate::subscription::{DisableReason, Endpoint, SecretKey};
use crate::{NewApplication, NewSubscription};

#[tokio::test]
async fn running_tasks_are_bounded_for_each_organisation_and_for_all() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let tenants = TASKS_RUNNING_ALL_MAX / TASKS_RUNNING_MAX + 1;
    let mut last = None;
    for tenant in 0..tenants {
        let id = OrganisationId::from_bytes([u8::try_from(tenant).unwrap(); 20]);
        let new = NewApplication::new(id, "a");
        let application = log.create_application(new).await.unwrap().id;
        log.append(vec![crate::Event {
            application,
            ..event(0, "{}")
        }])
        .await
        .unwrap();
        let endpoint = Endpoint::new("http://127.0.0.1/", SecretKey::new(vec![7; 24]));
        let new = NewSubscription::new(application, endpoint);
        let to = log.create_subscription(new).await.unwrap().id;
        let start = || log.create_task(to, Replay::Missing, Offset::ZERO..Offset::MAX);
        if tenant == tenants - 1 {
            let refused = start().await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                "the log is busy: the table of running tasks is full"
            );
            // It comes back when one has ended.
            let ended = log.end_task(last.unwrap(), TaskState::Cancelled).await;
            assert!(ended.is_ok() && start().await.is_ok());
            continue;
        }
        for _ in 0..TASKS_RUNNING_MAX {
            last = Some(start().await.unwrap().id);
        }
        let refused = start().await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the number of running tasks is limited to 100"
        );
    }
}

/// It was taken, and failed a second later in the background.
#[tokio::test]
async fn a_replay_to_a_disabled_endpoint_is_refused_at_once() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let new = NewApplication::new(OrganisationId::from_bytes([1; 20]), "a");
    let application = log.create_application(new).await.unwrap().id;
    let endpoint = Endpoint::new("http://127.0.0.1/", SecretKey::new(vec![7; 24]));
    let new = NewSubscription::new(application, endpoint);
    let to = log.create_subscription(new).await.unwrap().id;
    let set = async |state| {
        let set = log.update_subscription(to, move |value, _| {
            value.state = state;
            Ok(())
        });
        set.await.unwrap();
    };
    let since = crate::Timestamp::default();
    for reason in [
        DisableReason::Owner,
        DisableReason::Gone,
        DisableReason::Failing,
    ] {
        set(SubscriptionState::Disabled { since, reason }).await;
        for replay in [
            Replay::Failed,
            Replay::Missing,
            Replay::All(crate::ReplayFilter::default()),
        ] {
            let refused = log.create_task(to, replay, Offset::ZERO..Offset::MAX).await;
            let expected = format!("endpoint {to} is disabled: enable it, then start this again");
            assert_eq!(refused.unwrap_err().to_string(), expected);
        }
    }
    assert_eq!(log.registry().running_tasks().count(), 0);
    set(SubscriptionState::Enabled).await;
    let taken = log.create_task(to, Replay::Failed, Offset::ZERO..Offset::MAX);
    taken.await.unwrap();
}

#[tokio::test]
async fn a_count_goes_on_behind_its_last_step_and_repeats_none() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let tenant = OrganisationId::from_bytes([1; 20]);
    let app = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut bytes = [0; 20];
        (bytes[0], bytes[1]) = (high, low);
        ApplicationId::from_bytes(bytes)
    };
    let range = AttemptSeq::ZERO..AttemptSeq::new(30);
    let empty = log.create_count(tenant, None, range.end..range.end).await;
    assert_eq!(empty.unwrap().state, TaskState::Finished);
    let task = log.create_count(tenant, None, range).await.unwrap();
    let step = |from: u64, next: u64, more: &[(u16, u64)]| CountStep {
        from: AttemptSeq::new(from),
        next: AttemptSeq::new(next),
        more: more
            .iter()
            .map(|(number, more)| (app(*number), *more))
            .collect(),
    };
    let first = step(0, 10, &[(1, 4)]);
    log.advance_count(task.id, first.clone()).await.unwrap();
    // As a runner would that did not hear of its commit.
    let again = log.advance_count(task.id, first).await;
    assert!(
        matches!(again, Err(ChangeError::NotFound { .. })),
        "{again:?}"
    );
    log.close().unwrap();
    drop(log);
    log = open(&directory);
    let found = log.registry().running_tasks().cloned().collect::<Vec<_>>();
    assert_eq!(found.len(), 1);
    let of_all: Vec<_> = (0..=2000).map(|number| (number, 1)).collect();
    let refused = log.advance_count(task.id, step(10, 20, &of_all)).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the number of applications of one count is limited to 2000"
    );
    let done = log.advance_count(task.id, step(10, 30, &of_all[1..])).await;
    let Work::Count(work) = &done.unwrap().work else {
        panic!("it counts");
    };
    assert_eq!((work.counts.len(), work.counts[&app(1)]), (2000, 5));
    assert_eq!(log.registry().running_tasks().count(), 0);
    let late = log.advance_count(task.id, step(30, 31, &[])).await;
    assert!(late.is_err(), "it is done");
    let named = (0..=2000).map(app).collect();
    let refused = log.create_count(tenant, Some(named), AttemptSeq::ZERO..AttemptSeq::ZERO);
    assert!(refused.await.is_err());
}

#[tokio::test]
async fn counts_that_ended_are_remembered_up_to_a_number_of_their_own() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let tenant = OrganisationId::from_bytes([1; 20]);
    let application = log
        .create_application(NewApplication::new(tenant, "a"))
        .await;
    let other = log
        .expunge_application(application.unwrap().id)
        .await
        .unwrap();
    let nothing = AttemptSeq::ZERO..AttemptSeq::ZERO;
    let mut made = Vec::new();
    for _ in 0..COUNTS_KEPT_MAX + 3 {
        let task = log.create_count(tenant, None, nothing.clone()).await;
        made.push(task.unwrap().id);
    }
    let kept = |log: &EventLog| {
        let registry = log.registry();
        registry
            .tasks(tenant)
            .map(|task| task.id)
            .collect::<Vec<_>>()
    };
    let expected: Vec<_> = [other.id].iter().chain(&made[3..]).copied().collect();
    assert_eq!(
        kept(&log),
        expected,
        "the oldest count goes, and nothing else"
    );
}
