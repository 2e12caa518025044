//! Bounds of background tasks: of one organisation, and of all together.
//!
//! **Invariant:** one tenant at its own bound is told so; when all together are at theirs, whoever asks
//! is to come back later.
//! **Next:** `../../task.rs`.

use tempfile::TempDir;

use super::*;
use crate::id::OrganisationId;
use crate::log::tests::{event, open};
use crate::subscription::{Endpoint, SecretKey};
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
