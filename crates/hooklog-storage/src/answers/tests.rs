//! Answers in memory, and in a log that is closed and opened.
//!
//! **Invariant:** what was kept is there after a restart, and nothing that expired.
//! **Next:** the end.

use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::entry::Entry;
use crate::idempotency::IdempotencyKey;

const HOUR: Duration = Duration::from_hours(1);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn key(text: &str, request: &str) -> IdempotencyKey {
    IdempotencyKey::new(&[b"scope"], text, request.as_bytes())
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer {
        status: 201,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn keep(table: &mut Answers, name: &str, body: &str, age: Duration, now: Timestamp) -> bool {
    let new = NewAnswer {
        key: key(name, "{}"),
        answer: answer(body),
        age,
        sync: Sync::Now,
    };
    let entry = table.plan(new, now);
    let kept = entry.is_some();
    table.apply(&entry.into_iter().map(Entry::Answer).collect::<Vec<_>>());
    kept
}

#[test]
fn the_same_request_gets_its_answer_until_it_expires() {
    let mut table = Answers::default();
    assert!(keep(&mut table, "a", "first", HOUR, START));
    let later = START.plus(HOUR / 2);
    let found = table.get(&key("a", "{}"), later);
    assert_eq!(found, Some(Answered::Before(answer("first"))));
    let other = table.get(&key("a", "{ }"), later);
    assert_eq!(other, Some(Answered::KeyMismatch));
    assert_eq!(table.get(&key("b", "{}"), later), None);
    assert_eq!(table.get(&key("a", "{}"), START.plus(HOUR)), None);
    // The same key is kept once; expired ones leave with the next that is kept.
    assert!(keep(&mut table, "a", "again", HOUR, START.plus(HOUR)));
    assert_eq!(table.held().0, 1);
    assert!(keep(&mut table, "b", "", HOUR, START.plus(HOUR * 3)));
    assert_eq!(table.held(), (1, table::ROW_BYTES));
}

#[test]
fn the_table_is_bounded_and_what_expires_first_goes_first() {
    let mut table = Answers::with_bounds(3, 1 << 20);
    for (name, age) in [
        ("c", HOUR * 3),
        ("a", HOUR),
        ("b", HOUR * 2),
        ("d", HOUR * 4),
    ] {
        assert!(keep(&mut table, name, name, age, START));
    }
    assert_eq!(table.held().0, 3);
    assert_eq!(table.get(&key("a", "{}"), START), None, "expired first");
    assert!(table.get(&key("b", "{}"), START).is_some());

    let mut table = Answers::with_bounds(1_000, 1_000);
    for name in ["a", "b", "c", "d"] {
        assert!(keep(&mut table, name, "", HOUR, START));
    }
    // A large one pushes out as many small ones as it takes, and no more.
    assert!(keep(&mut table, "large", &"x".repeat(600), HOUR, START));
    assert_eq!(table.held(), (2, 760 + 160));
    assert!(!keep(
        &mut table,
        "too large",
        &"x".repeat(900),
        HOUR,
        START
    ));
    assert_eq!(table.held().0, 2, "and it pushes none out");
}

#[test]
fn answers_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let mut config = Config::new(directory.path().join("data"));
    config.journal_segment_bytes = 8 << 20;
    let log = EventLog::open(config.clone()).unwrap();
    let keep = |log: &EventLog, name: &str, sync| {
        log.keep_answer_blocking(key(name, "{}"), answer(name), HOUR, sync)
    };
    keep(&log, "one", AnswerSync::Now).unwrap();
    keep(&log, "two", AnswerSync::Later).unwrap();
    let large = KeptAnswer {
        status: 200,
        body: vec![b'x'; ANSWER_BYTES_MAX + 1].into(),
    };
    let refused = log.keep_answer_blocking(key("large", ""), large, HOUR, AnswerSync::Now);
    assert!(matches!(refused, Err(ChangeError::Limit { .. })));
    let now: Timestamp = {
        #[expect(
            clippy::disallowed_methods,
            reason = "the log measures by the wall clock"
        )]
        std::time::SystemTime::now().into()
    };
    for round in 0..2 {
        for name in ["one", "two"] {
            let found = log.answered(&key(name, "{}"), now);
            assert_eq!(
                found,
                Some(Answered::Before(answer(name))),
                "{round} {name}"
            );
        }
        assert_eq!(log.answered(&key("large", ""), now), None);
        if round == 0 {
            log.close().unwrap();
        }
    }
    drop(log);
    let log = EventLog::open(config).unwrap();
    for name in ["one", "two"] {
        let found = log.answered(&key(name, "{}"), now);
        assert_eq!(found, Some(Answered::Before(answer(name))), "{name}");
    }
    let after = now.plus(HOUR * 2);
    assert_eq!(log.answered(&key("one", "{}"), after), None);
    log.close().unwrap();
}
