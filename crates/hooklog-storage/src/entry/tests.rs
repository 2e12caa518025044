use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::answers::AnswerRow;
use crate::attempt::{Cause, CursorState, Expired, Low, Outcome, Retry, Trigger};
use crate::consumer::ConsumerScope;
use crate::delayed::{DelayedRow, Release};
use crate::event::Event;
use crate::expunged::Expunged;
use crate::filter::Filter;
use crate::header::Header;
use crate::health::Health;
use crate::id::{ApplicationId, EventId, OrganisationId, TaskId};
use crate::idempotency::IdempotencyKey;
use crate::keys::{self, Family};
use crate::offset::AttemptSeq;
use crate::revocation::{RevokedToken, TokenCut, TokenCuts};
use crate::sessions::SessionCuts;
use crate::standing::Delivered;
use crate::state::{Chain, Link, State};
use crate::subscription::{
    Application, Endpoint, EventType, OldSecret, Organisation, SecretKey, Subscription,
    SubscriptionState,
};
use crate::task::{Counted, Counting, Replay, ReplayFilter, Replaying, Task, TaskState, Work};
use crate::testing::assert_golden;
use crate::time::Timestamp;

const TIME: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ORGANISATION: OrganisationId = OrganisationId::from_bytes([1; 20]);
const APPLICATION: ApplicationId = ApplicationId::from_bytes([2; 20]);
const CONDITION: &str = r#"{"amount": {"$gte": 100}}"#;
const SUBSCRIPTION: SubscriptionId = SubscriptionId::from_bytes([3; 20]);

fn record() -> Record {
    Record {
        offset: Offset::new(5),
        id: EventId::at(TIME, Offset::new(5), [9; 7]),
        timestamp: TIME,
        event: Event {
            application: APPLICATION,
            event_type: "invoice.paid".parse().unwrap(),
            channels: vec!["eu".parse().unwrap()],
            uid: Some("inv-1".parse().unwrap()),
            idempotency: Some(IdempotencyKey::new(&[b"scope"], "key", b"{}")),
            content_type: "application/json".to_owned(),
            payload: Bytes::from_static(b"{\"paid\":true}"),
            tags: vec!["vip".parse().unwrap()],
            ordering_key: Some("customer/17".parse().unwrap()),
            headers: vec![Header::new("X-Region", "eu 1").unwrap()],
            only: Some(SUBSCRIPTION),
            deliver_at: Some(TIME),
        },
    }
}

const REVOKED: RevokedToken = RevokedToken {
    organisation: ORGANISATION,
    expires: TIME,
    hash: [9; 32],
    application: Some(APPLICATION),
};

fn policy() -> crate::Policy {
    crate::Policy {
        schedule: Some(vec![Duration::ZERO, Duration::from_secs(5)]),
        throttle_rate: NonZeroU32::new(50),
        concurrency: NonZeroU16::new(4),
        give_up_statuses: Some(vec![413]),
        disable_after: Some(Duration::from_hours(24)),
    }
}

fn task() -> Arc<Task> {
    with(Work::Replay(Replaying {
        application: APPLICATION,
        subscription: SUBSCRIPTION,
        replay: Replay::All(ReplayFilter {
            event_types: Some(vec!["invoice.paid".parse().unwrap()]),
            channels: None,
            tag: Some("vip".parse().unwrap()),
            status: Some(Delivered::Failed),
            status_class: Some(500),
        }),
        range: Offset::new(5)..Offset::new(9),
        next: Offset::new(7),
        replayed: 1,
    }))
}

fn with(work: Work) -> Arc<Task> {
    Arc::new(Task {
        id: TaskId::from_bytes([6; 20]),
        organisation: ORGANISATION,
        work,
        state: TaskState::Running,
        created: TIME,
        updated: TIME,
    })
}

fn counting() -> Work {
    Work::Count(Counting {
        of: Counted::Named,
        range: AttemptSeq::new(5)..AttemptSeq::new(9),
        next: AttemptSeq::new(7),
        counts: BTreeMap::from([(APPLICATION, 3)]),
    })
}

fn changes() -> Vec<Change> {
    let metadata = BTreeMap::from([("plan".to_owned(), "gold".to_owned())]);
    vec![
        Change::PutOrganisation(Arc::new(Organisation {
            id: ORGANISATION,
            created: TIME,
        })),
        Change::PutApplication(Arc::new(Application {
            id: APPLICATION,
            organisation: ORGANISATION,
            uid: Some("shop".parse().unwrap()),
            kind: crate::ApplicationKind::Customer,
            name: "Shop".to_owned(),
            metadata: metadata.clone(),
            created: TIME,
            updated: TIME,
            policy: crate::Policy::default(),
        })),
        Change::DeleteApplication(APPLICATION),
        Change::PutEventType(Arc::new(EventType {
            organisation: ORGANISATION,
            name: "invoice.paid".parse().unwrap(),
            description: "An invoice was paid".to_owned(),
            archived: false,
            deprecated: true,
            schemas: Some("{}".to_owned()),
            feature_flags: vec!["beta".to_owned()],
            group_name: None,
            created: TIME,
            updated: TIME,
        })),
        Change::DeleteEventType(ORGANISATION, "invoice.paid".parse().unwrap()),
        Change::PutSubscription(Arc::new(Subscription {
            id: SUBSCRIPTION,
            application: APPLICATION,
            uid: None,
            description: "books".to_owned().into(),
            endpoint: Endpoint {
                url: "https://example.com/hook".into(),
                secret: SecretKey::new(vec![4; 24]),
                old_secrets: vec![OldSecret {
                    key: SecretKey::new(vec![5; 24]),
                    expires: TIME,
                }]
                .into(),
                headers: vec![Header::new("X-Api-Key", "s3cret").unwrap()].into(),
                format: crate::Format::CloudEventsBinary,
            },
            filter: Filter {
                event_types: Some(vec!["invoice.paid".parse().unwrap()]),
                channels: None,
                condition: CONDITION.parse().ok(),
            },
            state: SubscriptionState::Enabled,
            metadata: metadata.into(),
            start: Offset::new(5),
            created: TIME,
            updated: TIME,
            ordering: crate::Ordering::FifoByKey,
            policy: Arc::new(policy()),
        })),
        Change::DeleteSubscription(SUBSCRIPTION),
        Change::PutTask(task()),
        Change::PutTask(with(counting())),
        Change::PutTask(with(Work::Expunge(APPLICATION))),
        Change::DeleteTask(task().id),
    ]
}

fn commands() -> Vec<Change> {
    vec![
        Change::Redeliver {
            subscription: SUBSCRIPTION,
            offset: Offset::new(5),
            asked: TIME,
        },
        Change::Skip {
            subscription: SUBSCRIPTION,
            offset: Offset::new(5),
            asked: TIME,
        },
        Change::RetryNow {
            subscription: SUBSCRIPTION,
            offset: Offset::new(5),
            asked: TIME,
        },
        Change::PutTokenCuts(Arc::new(TokenCuts {
            application: APPLICATION,
            cuts: vec![TokenCut {
                issued_until: TIME,
                from: TIME,
            }],
        })),
        Change::RevokeToken(REVOKED),
        Change::ForgetToken(REVOKED),
        Change::Expunge(Expunged::Event(Offset::new(5))),
        Change::Expunge(Expunged::Attempt(AttemptSeq::new(6))),
        Change::Expunge(Expunged::Below(APPLICATION, Offset::new(7))),
        Change::ForgetExpunged(Expunged::Below(APPLICATION, Offset::new(6))),
        Change::PutSessionCuts(Arc::new(SessionCuts {
            organisation: ORGANISATION,
            application: APPLICATION,
            session: [9; 32],
            cuts: vec![TokenCut {
                issued_until: TIME,
                from: TIME,
            }],
        })),
        Change::ForgetSession {
            organisation: ORGANISATION,
            owner: APPLICATION,
            session: [9; 32],
        },
        Change::Release(Arc::new(Release {
            due: TIME,
            offset: Offset::new(5),
            at: TIME,
            key: Some(7),
            to: vec![SUBSCRIPTION],
            rest: Some(SUBSCRIPTION),
        })),
    ]
}

const HEALTH: Health = Health {
    failing_since: Some(TIME),
    down_since: Some(TIME),
    probe_at: Some(TIME),
    paused_until: None,
    throttled_since: Some(TIME),
};

fn consumer(scope: ConsumerScope) -> ConsumerKey {
    let name = "billing".parse().unwrap();
    ConsumerKey { scope, name }
}

fn answer() -> Entry {
    Entry::Answer(AnswerEntry {
        dropped: vec![[6; 16]],
        hash: [7; 16],
        row: AnswerRow {
            fingerprint: 8,
            expires: TIME,
            status: 201,
            body: Bytes::from_static(b"{}"),
        },
    })
}

fn entries() -> Vec<Entry> {
    let outcomes = [
        Outcome::Delivered,
        Outcome::Retry(Retry {
            cause: Cause::Endpoint,
            counted: 1,
            key: Some(7),
            ..Retry::failed(2, TIME)
        }),
        Outcome::Exhausted,
    ];
    let attempts = (0..).zip(outcomes).map(|(seq, outcome)| {
        Entry::Attempt(StoredAttempt {
            id: AttemptId::at(TIME, AttemptSeq::new(seq), [8; 7]),
            attempt: NewAttempt {
                event: record().id,
                subscription: SUBSCRIPTION,
                url: "https://example.com/hook".into(),
                number: 1,
                started: TIME,
                duration: Duration::from_millis(12),
                status_code: Some(204),
                response: "ok".to_owned(),
                outcome,
                trigger: Trigger::Manual,
            },
        })
    });
    let cursor = Cursor {
        floor: Offset::new(5),
        settled: vec![Offset::new(7)],
        state: CursorState::Behind,
    };
    let others = [
        Entry::Cursor(SUBSCRIPTION, cursor),
        Entry::Mark(Offset::new(6)),
        Entry::Low(Low {
            events: Offset::new(2),
            attempts: AttemptSeq::new(1),
        }),
        Entry::Expired(
            SUBSCRIPTION,
            Expired {
                range: Offset::new(1)..Offset::new(2),
                at: TIME,
            },
        ),
        Entry::Consumer(
            consumer(ConsumerScope::Application(APPLICATION)),
            Some(ConsumerCursor {
                cursor: Offset::new(5),
                created: TIME,
            }),
        ),
        Entry::Consumer(consumer(ConsumerScope::Log), None),
        Entry::Health(SUBSCRIPTION, HEALTH),
        Entry::Skipped(SUBSCRIPTION, Offset::new(5)),
        answer(),
    ];
    changes()
        .into_iter()
        .chain(commands())
        .map(Entry::Change)
        .chain(attempts)
        .chain(others)
        .collect()
}

#[test]
fn the_bytes_of_every_entry_are_golden_and_read_back() {
    let mut body = Vec::new();
    encode(&[record()], &entries(), &mut body).unwrap();
    assert_golden("commit_body.hex", &body);
    let body = Bytes::from(body);
    let (records, found) = decode(&body, Offset::new(5), 1).unwrap();
    assert_eq!((&records[..], found), (&[record()][..], entries()));
    for cut in 0..body.len() {
        // A cut body is an error or a shorter list of entries, never a panic.
        drop(decode(&body.slice(..cut), Offset::new(5), 1));
    }
}

#[test]
fn the_bytes_of_rows_and_keys_are_golden() {
    let state = State {
        applied: Some(crate::offset::Sequence::new(3)),
        journal_crc: 1,
        journal_epoch: 2,
        last_timestamp: TIME,
        events: Chain {
            low: Offset::new(4),
            first: Link {
                position: Offset::new(3),
                crc: 9,
            },
            end: Offset::new(6),
            bytes: 1000,
            ..Chain::default()
        },
        attempts: Chain {
            end: AttemptSeq::new(3),
            ..Chain::default()
        },
        ..State::default()
    };
    let retry = Retry {
        key: Some(7),
        ..Retry::failed(2, TIME)
    };
    let rows: Vec<Vec<u8>> = vec![
        codec::encode(&state).unwrap(),
        codec::encode(&retry).unwrap(),
        codec::encode(&HEALTH).unwrap(),
        keys::batch(5, 1),
        keys::owned(APPLICATION.as_bytes(), 5),
        keys::organisation(ORGANISATION),
        keys::application(APPLICATION),
        keys::event_type(ORGANISATION, &"invoice.paid".parse().unwrap()),
        keys::subscription(SUBSCRIPTION),
        keys::cursor(SUBSCRIPTION),
        keys::retry(SUBSCRIPTION, Offset::new(5)),
        keys::owned(&keys::block(Offset::new(1030)), 7),
        codec::encode(&DelayedRow {
            application: APPLICATION,
            after: Some(SUBSCRIPTION),
        })
        .unwrap(),
        keys::delayed(TIME, Offset::new(5)),
        keys::delayed_at(Offset::new(5)),
        keys::delayed_skip(Offset::new(5), SUBSCRIPTION),
        keys::consumer(&consumer(ConsumerScope::Log)),
        keys::consumer(&consumer(ConsumerScope::Application(APPLICATION))),
        keys::expunged(Expunged::Event(Offset::new(5))),
        keys::expunged(Expunged::Below(APPLICATION, Offset::new(7))),
        keys::session_cuts(APPLICATION, &[9; 32]),
    ];
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend_from_slice(&row);
        // Rows begin on a line of their own in the dump.
        bytes.resize(bytes.len().next_multiple_of(16) + 16, 0xee);
    }
    assert_golden("rows_and_keys.hex", &bytes);
    for scope in [ConsumerScope::Log, ConsumerScope::Application(APPLICATION)] {
        let key = consumer(scope);
        assert_eq!(keys::consumer_key(&keys::consumer(&key)), Some(key));
    }
    let names: Vec<&str> = Family::ALL.iter().map(|(_, name)| *name).collect();
    assert_golden("trees.hex", names.join("\n").as_bytes());
    for (index, (family, _)) in Family::ALL.into_iter().enumerate() {
        assert_eq!(family as usize, index, "trees are opened in this order");
    }
}

prop_compose! {
    fn any_record()(
        offset: u32,
        millis in 0_i64..5_000_000_000_000,
        application: [u8; 20],
        event_type in "[a-z.]{3,12}",
        channels in prop::collection::vec("[a-z]{1,4}", 0..4),
        uid in prop::option::of("[a-z0-9]{1,9}"),
        content_type in prop::sample::select(vec!["application/json", "", "text/plain", "é"]),
        payload: Vec<u8>,
        tags in prop::collection::vec("[a-z]{1,4}", 0..3),
        key in prop::option::of("[a-z/ é]{1,9}"),
        headers in prop::collection::vec("[!-~]{0,9}", 0..3),
        later in prop::option::of(0_i64..5_000_000_000_000),
    ) -> Record {
        let (offset, timestamp) = (Offset::new(offset.into()), Timestamp::from_millis(millis));
        Record {
            offset,
            id: EventId::at(timestamp, offset, [1; 7]),
            timestamp,
            event: Event {
                application: ApplicationId::from_bytes(application),
                event_type: event_type.parse().unwrap(),
                channels: channels.iter().map(|channel| channel.parse().unwrap()).collect(),
                idempotency: uid.as_ref().map(|uid| IdempotencyKey::new(&[], uid, &payload)),
                uid: uid.map(|uid| uid.parse().unwrap()),
                content_type: content_type.to_owned(),
                payload: payload.into(),
                tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
                ordering_key: key.map(|key| key.parse().unwrap()),
                headers: headers.iter().map(|value| Header::new("x-A", value).unwrap()).collect(),
                only: None,
                deliver_at: later.map(Timestamp::from_millis),
            },
        }
    }
}

proptest! {
    #[test]
    fn any_commit_reads_back_as_it_was_written(
        base: u32,
        mut records in prop::collection::vec(any_record(), 0..8),
        picked in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        cut: prop::sample::Index,
    ) {
        let base = Offset::new(base.into());
        for (index, record) in (0..).zip(&mut records) {
            record.offset = base.plus(index);
        }
        let all = entries();
        let entries: Vec<Entry> = picked.iter().map(|at| at.get(&all).clone()).collect();
        let mut body = Vec::new();
        encode(&records, &entries, &mut body).unwrap();
        let (body, count) = (Bytes::from(body), u32::try_from(records.len()).unwrap());
        let (records_found, found) = decode(&body, base, count).unwrap();
        prop_assert_eq!(&records_found[..], &records[..]);
        prop_assert_eq!(&found, &entries);
        // Another count of records does not fit the bytes.
        prop_assert!(decode(&body, base, count + 1).is_err());
        if count > 0 {
            prop_assert!(decode(&body, base, count - 1).is_err());
        }
        // A cut body is refused, or is the same commit with fewer entries.
        let cut = cut.index(body.len());
        if let Ok((records_found, found)) = decode(&body.slice(..cut), base, count) {
            prop_assert_eq!(&records_found[..], &records[..]);
            prop_assert!(found.len() < entries.len() && entries.starts_with(&found));
        }
    }
}
