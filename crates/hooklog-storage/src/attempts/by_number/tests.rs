//! Attempts by number, over restarts and retention, against what was recorded.
//!
//! **Invariant:** as `../by_number.rs`.
//! **Next:** `../../recovery.rs`.

use std::time::Duration;

use tempfile::TempDir;

use crate::attempt::{Low, NewAttempt, Outcome, Progress, Trigger};
use crate::id::{EventId, SubscriptionId};
use crate::log::EventLog;
use crate::log::tests::{event, open};
use crate::offset::{AttemptSeq, Offset};
use crate::request::Request;
use crate::time::Timestamp;

fn attempt(event: EventId, number: u16) -> Progress {
    Progress::Attempt(NewAttempt {
        event,
        subscription: SubscriptionId::from_bytes([7; 20]),
        url: "https://example.com".into(),
        number,
        started: Timestamp::from_millis(1),
        duration: Duration::ZERO,
        status_code: Some(200),
        response: String::new(),
        outcome: Outcome::Delivered,
        trigger: Trigger::Scheduled,
    })
}

/// The `number`s of the attempts of a range, by pages of so many.
fn numbers(log: &EventLog, from: u64, to: u64, items: usize) -> Vec<u16> {
    let mut range = AttemptSeq::new(from)..AttemptSeq::new(to);
    let mut found = Vec::new();
    while !range.is_empty() {
        let page = log.attempts_by_number(range.clone(), items).unwrap();
        assert!(page.attempts.len() <= items && page.rest.start > range.start);
        found.extend(page.attempts.iter().map(|value| value.attempt.number));
        range = page.rest;
    }
    found
}

#[tokio::test]
async fn attempts_are_read_by_number_wherever_they_are() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    assert!(numbers(&log, 0, 10, 3).is_empty());
    log.append(vec![event(1, "{}")]).await.unwrap();
    let id = log.get_at(Offset::ZERO).unwrap().unwrap().id;
    for round in 0..3 {
        let from = round * 40;
        for number in from..from + 40 {
            log.record(vec![attempt(id, number)]).await.unwrap();
        }
        let expected: Vec<u16> = (0..from + 40).collect();
        for items in [1, 7, 1000] {
            assert_eq!(numbers(&log, 0, u64::from(from) + 40, items), expected);
            assert_eq!(numbers(&log, 0, 500, items), expected, "beyond the end");
            assert_eq!(numbers(&log, 5, 9, items), [5, 6, 7, 8]);
        }
        // What comes next lies behind a batch on disk.
        log.close().unwrap();
        drop(log);
        log = open(&directory);
        assert_eq!(numbers(&log, 0, 500, 1000), expected);
    }
    let low = Low {
        events: Offset::ZERO,
        attempts: AttemptSeq::new(50),
    };
    assert!(log.handle.submit(Request::Expire(low), 1).is_ok());
    log.append(vec![event(1, "{}")]).await.unwrap();
    assert_eq!(numbers(&log, 0, 53, 2), [50, 51, 52]);
}

#[tokio::test]
async fn times_find_the_attempts_that_were_recorded_then() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let far = Timestamp::from_millis(i64::MAX);
    let between = |times| {
        let found = log.attempts_between(times).unwrap();
        found.start.get()..found.end.get()
    };
    assert_eq!(between(Timestamp::default()..far), 0..0);
    log.append(vec![event(1, "{}")]).await.unwrap();
    let id = log.get_at(Offset::ZERO).unwrap().unwrap().id;
    for number in 0..20 {
        log.record(vec![attempt(id, number)]).await.unwrap();
    }
    let all = AttemptSeq::ZERO..AttemptSeq::new(20);
    let all = log.attempts_by_number(all, 100).unwrap().attempts;
    let at: Vec<_> = all.iter().map(|value| value.id.timestamp()).collect();
    assert_eq!(between(Timestamp::default()..far), 0..20);
    assert_eq!(between(far..far), 20..20);
    // Times that attempts were recorded at, however many share one, and those beside them.
    let beside =
        |time: &Timestamp| [-1, 0, 1].map(|by| Timestamp::from_millis(time.as_millis() + by));
    let times: Vec<_> = at.iter().flat_map(beside).collect();
    let first = |time| at.iter().position(|one| *one >= time).unwrap_or(at.len()) as u64;
    for start in &times {
        for end in &times {
            let expected = first(*start)..first(*end).max(first(*start));
            assert_eq!(between(*start..*end), expected);
        }
    }
}
