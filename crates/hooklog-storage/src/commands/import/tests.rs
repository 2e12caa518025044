//! Many event types at once, against the same one by one.
//!
//! **Invariant:** as `../import.rs`.
//! **Next:** `../../subscription.rs`.

use tempfile::TempDir;

use super::*;
use crate::log::tests::{ORGANISATION, config, open};
use crate::time::Timestamp;

fn kind(name: &str, bytes: usize) -> EventType {
    EventType {
        organisation: ORGANISATION,
        name: name.parse().unwrap(),
        description: String::new(),
        archived: false,
        deprecated: false,
        schemas: Some("x".repeat(bytes)),
        feature_flags: Vec::new(),
        group_name: None,
        created: Timestamp::default(),
        updated: Timestamp::default(),
    }
}

fn shown(log: &EventLog) -> Vec<(String, usize, bool)> {
    let registry = log.registry();
    let all = registry.event_types(ORGANISATION);
    let shown = |value: &Arc<EventType>| {
        let bytes = value.schemas.as_ref().map_or(0, String::len);
        (value.name.to_string(), bytes, value.archived)
    };
    all.map(shown).collect()
}

#[tokio::test]
async fn many_event_types_are_put_and_archived_over_several_commits() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let old = log.create_event_type(kind("n0", 1)).await.unwrap();
    log.update_event_type(ORGANISATION, old.name.clone(), |value| {
        value.archived = true;
    })
    .await
    .unwrap();
    // 60 KiB each: two in a commit.
    let names: Vec<String> = (0..9).map(|n| format!("n{n}")).collect();
    let before = log.handle.shared.ring.position().0;
    let all = names.iter().map(|name| kind(name, 60 << 10)).collect();
    log.put_event_types(all).await.unwrap();
    let after = log.handle.shared.ring.position().0;
    let commits = after.unwrap().get() - before.unwrap().get();
    assert!(commits >= 3, "{commits} commits");
    let expected = |archived: fn(usize) -> bool| {
        let names = names.iter().enumerate();
        let shown = |(at, name): (usize, &String)| (name.clone(), 60 << 10, archived(at));
        names.map(shown).collect::<Vec<_>>()
    };
    assert_eq!(shown(&log), expected(|_| false));
    let kept = log.registry().event_type(ORGANISATION, &old.name).cloned();
    assert_eq!(kept.unwrap().created, old.created);
    let mut gone: Vec<EventTypeName> = names[2..].iter().map(|n| n.parse().unwrap()).collect();
    gone.push("absent".parse().unwrap());
    log.archive_event_types(ORGANISATION, gone).await.unwrap();
    for _ in 0..2 {
        assert_eq!(shown(&log), expected(|at| at >= 2));
        log.close().unwrap();
        drop(log);
        log = open(&directory);
    }
    log.put_event_types(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn their_number_is_bounded() {
    let directory = TempDir::new().unwrap();
    let mut config = config(&directory);
    config.event_types_max = 2;
    let log = EventLog::open(config).unwrap();
    let refused = log.put_event_types(["a", "b", "c"].map(|name| kind(name, 1)).into());
    let refused = refused.await.unwrap_err().to_string();
    assert_eq!(refused, "the number of event types is limited to 2");
    assert_eq!(shown(&log), [], "of one commit all or none");
}
