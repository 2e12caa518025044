//! Content that is taken out and tokens that are refused, before and after a reopen.
//!
//! **Invariant:** every way to read is tried: by offset, id, uid, page, application, tail, consumer.
//! **Next:** `../../expunged.rs`.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::attempt::{Low, NewAttempt, Outcome, Progress, Trigger};
use crate::event::Event;
use crate::expunged::{EXPUNGED_PAYLOAD, EXPUNGED_RESPONSE};
use crate::id::EventId;
use crate::log::tests::{application, event, open, payloads, subscription};
use crate::offset::{AttemptSeq, Offset};
use crate::page::{AttemptsOf, Limit, Order};
use crate::request::Request;
use crate::subscription::{Application, ApplicationKind, EventType};
use crate::tail::TailItem;
use crate::task::TaskState;
use crate::watch::Watched;

const ALL: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

fn every_read(log: &EventLog, id: EventId, of: ApplicationId) -> Vec<(&'static str, String)> {
    let (offset, end) = (id.offset(), log.end());
    let record = |found: Option<Record>| found.expect("is there");
    let mut records = vec![
        ("get", record(log.get(id).unwrap())),
        ("get_at", record(log.get_at(offset).unwrap())),
        (
            "by id",
            record(log.find_event(of, &id.to_string()).unwrap()),
        ),
        ("by uid", record(log.find_event(of, "secret").unwrap())),
        ("read", log.read(offset, ALL).unwrap().swap_remove(0)),
    ];
    let page = log.read_application(of, offset..end, Order::Ascending, ALL);
    records.push(("application", page.unwrap().records.swap_remove(0)));
    // Memory may have given it up.
    if let Some(mut page) = log.read_application_in_memory(of, offset..end, ALL) {
        records.push(("memory", page.records.swap_remove(0)));
    }
    let mut tail = log.tail(offset);
    while let Some(item) = tail.poll_next().unwrap() {
        if let TailItem::Records(some) = item {
            records.push(("tail", some[0].clone()));
            break;
        }
    }
    let text = |record: &Record| String::from_utf8_lossy(&record.event.payload).into_owned();
    records
        .iter()
        .map(|(how, record)| (*how, text(record)))
        .collect()
}

fn attempt(event: EventId, subscription: crate::id::SubscriptionId) -> Progress {
    Progress::Attempt(NewAttempt {
        event,
        subscription,
        url: "https://example.com".into(),
        number: 0,
        started: Timestamp::from_millis(1),
        duration: Duration::ZERO,
        status_code: Some(200),
        response: "thank you, Ada".to_owned(),
        outcome: Outcome::Delivered,
        trigger: Trigger::Scheduled,
    })
}

fn responses(log: &EventLog, offset: Offset) -> Vec<String> {
    let all = AttemptSeq::ZERO..AttemptSeq::MAX;
    let page = log.attempts(AttemptsOf::Event(offset), all, Order::Ascending, ALL);
    let attempts = page.unwrap().attempts;
    for value in &attempts {
        let one = log.attempt(value.id).unwrap().expect("is there");
        assert_eq!(one.attempt.response, value.attempt.response);
    }
    let response = |value: &Attempt| value.attempt.response.clone();
    attempts.iter().map(response).collect()
}

#[tokio::test]
async fn expunged_content_is_read_by_nobody_and_its_mark_goes_with_it() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let app = application(&log, "shop").await;
    let books = subscription(&log, app).await.id;
    let of = |payload: &str, uid: Option<&str>| Event {
        application: app,
        uid: uid.map(|uid| uid.parse().unwrap()),
        ..event(1, payload.to_owned())
    };
    let events = vec![of("a", None), of("{\"name\":\"Ada\"}", Some("secret"))];
    let mut watch = log.watch();
    log.append(events).await.unwrap();
    let record = log.get_at(Offset::new(1)).unwrap().unwrap();
    // A tail that stands before the commit, which it has in memory.
    let mut slow = log.tail(Offset::ZERO);
    assert!(matches!(slow.poll_next(), Ok(Some(TailItem::Registry(_)))));
    for (how, text) in every_read(&log, record.id, app) {
        assert_eq!(text, "{\"name\":\"Ada\"}", "{how}");
    }
    let made = vec![attempt(record.id, books), attempt(record.id, books)];
    log.record(made).await.unwrap();
    let first = log.attempt_at_zero();
    log.expunge(&record).await.unwrap();
    log.expunge(&record).await.unwrap();
    log.expunge_attempt(&first).await.unwrap();
    let gone = String::from_utf8_lossy(EXPUNGED_PAYLOAD);
    let Ok(Some(TailItem::Records(records))) = slow.poll_next() else {
        panic!("records come next");
    };
    assert_eq!(records[0].event.payload, "a");
    assert_eq!(records[1].event.payload, gone.as_bytes());
    let Some(Watched::Records(watched)) = watch.poll_next() else {
        panic!("they are watched");
    };
    assert_eq!(watched, records);
    drop((slow, records, watch));
    for round in 0..2 {
        for (how, text) in every_read(&log, record.id, app) {
            assert_eq!(text, gone, "{how}, round {round}");
        }
        assert_eq!(payloads(&log), ["a", &gone]);
        let expected = [EXPUNGED_RESPONSE, "thank you, Ada"];
        assert_eq!(responses(&log, record.offset), expected);
        assert!(log.is_expunged(&record));
        assert!(!log.is_expunged(&log.get_at(Offset::ZERO).unwrap().unwrap()));
        if round == 0 {
            log.close().unwrap();
            drop(log);
            log = open(&directory);
        }
    }
    // Retention takes the marks along, in memory and on disk.
    let low = Low {
        events: log.end(),
        attempts: AttemptSeq::new(2),
    };
    assert!(log.handle.submit(Request::Expire(low), 1).is_ok());
    log.append(vec![of("b", None)]).await.unwrap();
    assert!(!log.is_expunged(&record));
    log.close().unwrap();
    drop(log);
    let log = open(&directory);
    assert_eq!(log.registry().expunged.count(), 0);
    log.close().unwrap();
}

#[tokio::test]
async fn several_contents_go_in_one_commit() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let app = application(&log, "shop").await;
    let of = |number: u8| Event {
        application: app,
        ..event(number, format!("{{\"n\":{number}}}"))
    };
    log.append((0..4).map(of).collect()).await.unwrap();
    let at = |offset| Expunged::Event(Offset::new(offset));
    log.expunge_all(Vec::new()).await.unwrap();
    log.expunge_all(vec![at(2)]).await.unwrap();
    // One of them is gone already, one is named twice.
    log.expunge_all(vec![at(3), at(2), at(0), at(3)])
        .await
        .unwrap();
    assert_eq!(log.registry().expunged.count(), 3);
    let gone = String::from_utf8_lossy(EXPUNGED_PAYLOAD);
    assert_eq!(payloads(&log), [&gone, "{\"n\":1}", &gone, &gone]);
    log.close().unwrap();
}

#[tokio::test]
async fn all_contents_of_an_application_go_by_one_mark() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let (shop, other) = (
        application(&log, "shop").await,
        application(&log, "other").await,
    );
    let of = |application, payload: &str, uid: Option<&str>| Event {
        application,
        uid: uid.map(|uid| uid.parse().unwrap()),
        ..event(1, payload.to_owned())
    };
    // Of one without events there is nothing to mark.
    let task = log.expunge_application(other).await.unwrap();
    assert_eq!(
        (&task.state, task.application()),
        (&TaskState::Finished, Some(other))
    );
    assert_eq!(log.registry().expunged.count(), 0);
    let events = vec![
        of(shop, "a", None),
        of(shop, "b", Some("secret")),
        of(other, "c", None),
    ];
    log.append(events).await.unwrap();
    let secret = log.get_at(Offset::new(1)).unwrap().unwrap().id;
    let mut slow = log.tail(Offset::ZERO);
    assert!(matches!(slow.poll_next(), Ok(Some(TailItem::Registry(_)))));
    let task = log.expunge_application(shop).await.unwrap();
    let gone = String::from_utf8_lossy(EXPUNGED_PAYLOAD);
    let Ok(Some(TailItem::Records(records))) = slow.poll_next() else {
        panic!("records come next");
    };
    let payload = |at: usize| String::from_utf8_lossy(&records[at].event.payload);
    assert_eq!([0, 1, 2].map(payload), [&gone, &gone, "c"]);
    drop((slow, records));
    log.append(vec![of(shop, "later", None)]).await.unwrap();
    for _ in 0..2 {
        for (how, text) in every_read(&log, secret, shop) {
            assert_eq!(text, gone, "{how}");
        }
        assert_eq!(payloads(&log), [&gone, &gone, "c", "later"]);
        assert_eq!(log.registry().task(task.id), Some(&task));
        assert_eq!(log.registry().expunged.count(), 1);
        log.close().unwrap();
        drop(log);
        log = open(&directory);
    }
    // Again: the mark moves, and there is still one, on disk as well.
    log.expunge_application(shop).await.unwrap();
    log.delete_application(shop).await.unwrap();
    assert!(log.expunge_application(shop).await.is_err(), "it is gone");
    for _ in 0..2 {
        assert_eq!(
            payloads(&log),
            [&gone, &gone, "c", &gone],
            "of one that is gone, too"
        );
        assert_eq!(log.registry().expunged.count(), 1);
        log.close().unwrap();
        drop(log);
        log = open(&directory);
    }
    the_mark_expires(&directory, log, of(other, "d", None)).await;
}

/// It goes when all that it means has expired, and not before.
async fn the_mark_expires(directory: &TempDir, mut log: EventLog, more: Event) {
    for (low, left) in [(3, 1), (4, 0)] {
        let low = Low {
            events: Offset::new(low),
            attempts: AttemptSeq::ZERO,
        };
        assert!(log.handle.submit(Request::Expire(low), 1).is_ok());
        log.append(vec![more.clone()]).await.unwrap();
        assert_eq!(log.registry().expunged.count(), left);
        log.close().unwrap();
        drop(log);
        log = open(directory);
        assert_eq!(log.registry().expunged.count(), left);
    }
}

impl EventLog {
    fn attempt_at_zero(&self) -> Attempt {
        let all = AttemptSeq::ZERO..AttemptSeq::MAX;
        let of = AttemptsOf::Event(Offset::new(1));
        let page = self.attempts(of, all, Order::Ascending, ALL).unwrap();
        page.attempts.into_iter().next().expect("one")
    }
}

#[tokio::test]
async fn tokens_stay_refused_over_a_restart() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let app = application(&log, "shop").await;
    let owner = crate::log::tests::ORGANISATION;
    let far = Timestamp::from_millis(i64::MAX);
    let token = |hash, expires| RevokedToken {
        organisation: owner,
        expires,
        hash,
        application: None,
    };
    let first = token([1; 32], Timestamp::from_millis(1));
    log.revoke_token(first, None).await.unwrap();
    // The first has expired by now, so it makes room.
    log.revoke_token(token([2; 32], far), None).await.unwrap();
    let later = log.expire_tokens(app, Duration::from_hours(1)).await;
    // However often: what is in force already is covered by a newer one.
    for _ in 0..=TOKEN_CUTS_MAX {
        log.expire_tokens(app, Duration::ZERO).await.unwrap();
    }
    let now = log.expire_tokens(app, Duration::ZERO).await.unwrap();
    assert!(now.covers(&later.unwrap()), "one cut is left");
    for _ in 0..2 {
        {
            let registry = log.registry();
            assert_eq!(registry.token_cuts(app), [now]);
            assert!(registry.is_revoked(owner, &[2; 32]));
            assert!(!registry.is_revoked(owner, &[1; 32]));
            assert!(registry.has_revoked_tokens(owner));
        }
        log.close().unwrap();
        drop(log);
        log = open(&directory);
    }
    // Those in force are one, however often it is said.
    for _ in 0..=TOKEN_CUTS_MAX {
        let cut = log.expire_tokens(app, Duration::ZERO).await.unwrap();
        assert_eq!(log.registry().token_cuts(app), [cut]);
    }
    // Cuts that wait for their time are bounded.
    let mut refused = None;
    for hours in (1..20).rev() {
        let wait = Duration::from_hours(hours);
        refused = refused.or(log.expire_tokens(app, wait).await.err());
    }
    assert!(refused.is_none(), "each covers those before it");
    for hours in 1..20 {
        let wait = Duration::from_hours(hours);
        refused = refused.or(log.expire_tokens(app, wait).await.err());
    }
    let limit = TOKEN_CUTS_MAX;
    assert!(matches!(refused, Some(ChangeError::Limit { limit: l, .. }) if l == limit));
    log.delete_application(app).await.unwrap();
    assert_eq!(log.registry().token_cuts(app), []);
    log.close().unwrap();
}

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn customer(number: u8) -> ApplicationId {
    ApplicationId::from_bytes([number; 20])
}

fn token(number: usize, of: Option<u8>) -> RevokedToken {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    RevokedToken {
        organisation: crate::log::tests::ORGANISATION,
        expires: after(3_600),
        hash,
        application: of.map(customer),
    }
}

/// Two customers; so many tokens of the first are revoked, and so many of others.
fn registry(own: usize, others: usize) -> Registry {
    let mut registry = Registry::default();
    for number in 1..=2 {
        registry.apply(&Change::PutApplication(Arc::new(Application {
            id: customer(number),
            organisation: crate::log::tests::ORGANISATION,
            uid: None,
            kind: ApplicationKind::default(),
            name: String::new(),
            policy: crate::Policy::default(),
            metadata: BTreeMap::new(),
            created: NOW,
            updated: NOW,
        })));
    }
    for number in 0..own + others {
        let of = (number < own).then_some(1);
        registry.apply(&Change::RevokeToken(token(number, of)));
    }
    registry
}

/// The clock was set back by a minute.
fn turn(now: Timestamp) -> Turn {
    Turn {
        now,
        wall: Timestamp::from_millis(now.as_millis() - 60_000),
        end: Offset::ZERO,
        entropy: [0; 15],
    }
}

/// Those whose time had come stayed beside each other, until there was no room for another one.
#[test]
fn cuts_that_have_begun_are_one() {
    let (mut registry, application) = (registry(0, 0), customer(1));
    for day in 0..20 {
        let turn = turn(after(day * 86_400));
        for hours in [1, 2] {
            let cut = TokenCut {
                issued_until: turn.now,
                from: turn.wall.plus(Duration::from_hours(hours)),
            };
            let change = cut_tokens(&registry, application, cut, &turn).unwrap();
            registry.apply(&change);
            let cuts = registry.token_cuts(application);
            assert!(cuts.contains(&cut) || hours == 2, "{cuts:?}");
            assert!(cuts.len() <= 4, "{cuts:?}");
            // The furthest of those that have begun is there.
            let begun = |cut: &&TokenCut| cut.from <= turn.wall;
            let found = cuts.iter().filter(begun).map(|cut| cut.issued_until);
            let expected = day.checked_sub(1).map(|day| after(day * 86_400));
            assert_eq!(found.max(), expected);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Ended {
    Alone,
    /// With all that were issued until so many seconds from now.
    WithAll(u64),
    No,
}

/// One customer who logged out 10,000 times kept all others of the tenant from it.
#[test]
fn a_full_table_ends_more_tokens_and_none_too_few() {
    let (of_one, all) = (REVOKED_TOKENS_OF_APPLICATION_MAX, REVOKED_TOKENS_MAX);
    let of_all = all - REVOKED_TOKENS_RESERVED;
    let (mine, yours) = (Some(1), Some(2));
    // How many are mine, how many of others, of whom the next is and when it was issued.
    for (own, others, of, issued, expected) in [
        (of_one - 1, 0, mine, None, Ended::Alone),
        (of_one, 0, mine, None, Ended::WithAll(0)),
        (of_one, 0, mine, Some(after(1)), Ended::WithAll(1)),
        (
            of_one,
            0,
            mine,
            Some(Timestamp::default()),
            Ended::WithAll(0),
        ),
        (of_one, 0, mine, Some(after(61)), Ended::No),
        (of_one, 0, yours, None, Ended::Alone),
        (of_one, 0, None, None, Ended::Alone),
        (0, of_all - 1, yours, None, Ended::Alone),
        (0, of_all, yours, None, Ended::WithAll(0)),
        (0, of_all, None, None, Ended::Alone),
        (0, all - 1, None, None, Ended::Alone),
        (0, all, None, None, Ended::No),
        (0, all, mine, None, Ended::WithAll(0)),
    ] {
        let next = token(usize::MAX, of);
        let ended = match revoke_token(&registry(own, others), next, issued, &turn(NOW)) {
            Err(ChangeError::Limit { .. }) => Ended::No,
            Ok(changes) => match changes.as_slice() {
                [Change::RevokeToken(one)] if *one == next => Ended::Alone,
                [Change::PutTokenCuts(value)] => {
                    assert_eq!(Some(value.application), next.application);
                    let [cut] = value.cuts.as_slice() else {
                        panic!("{value:?}");
                    };
                    assert!(cut.from <= NOW);
                    Ended::WithAll(cut.issued_until.since(NOW).as_secs())
                }
                other => panic!("{other:?}"),
            },
            Err(error) => panic!("{error}"),
        };
        assert_eq!(ended, expected, "{own} {others} {of:?} {issued:?}");
    }
}

#[tokio::test]
async fn event_types_are_put_and_removed() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let of = |description: &str| EventType {
        organisation: crate::log::tests::ORGANISATION,
        name: "a".parse().unwrap(),
        description: description.to_owned(),
        archived: false,
        deprecated: false,
        schemas: None,
        feature_flags: Vec::new(),
        group_name: None,
        created: Timestamp::default(),
        updated: Timestamp::default(),
    };
    let (is_new, first) = log.put_event_type(of("one")).await.unwrap();
    let (again, second) = log.put_event_type(of("two")).await.unwrap();
    assert!(is_new && !again && second.created == first.created);
    assert_eq!(second.description, "two");
    let remove = || log.delete_event_type(second.organisation, second.name.clone());
    remove().await.unwrap();
    assert!(matches!(remove().await, Err(ChangeError::NotFound { .. })));
    log.close().unwrap();
}
