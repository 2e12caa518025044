//! Damaged directories: an open either serves everything that was acked or says what is wrong.

use std::fs;
use std::ops::Bound;
use std::path::Path;

use tempfile::TempDir;

use super::tests::{config, event, payloads};
use super::*;
use crate::attempt::Progress;
use crate::config::Compression;
use crate::engine::{Edge, Engine, Op};
use crate::keys::{self, Family};
use crate::testing::{copy_directory, files};

/// A directory as kill -9 leaves it, and what was acked in it.
async fn victim(applied: bool) -> (TempDir, Vec<String>) {
    let directory = TempDir::new().unwrap();
    let live = TempDir::new().unwrap();
    let log = EventLog::open(config(&live)).unwrap();
    let mut expected = Vec::new();
    for index in 0..40 {
        let payload = format!("{index}{}", "y".repeat(index * 97));
        log.append(vec![event(1, payload.clone())]).await.unwrap();
        expected.push(payload);
    }
    if applied {
        log.delivery_state().unwrap();
        for index in 0..10 {
            let payload = format!("late {index}");
            log.append(vec![event(2, payload.clone())]).await.unwrap();
            expected.push(payload);
        }
    }
    // Written after the last ack without a sync of its own; tells that the last event was durable.
    log.record(vec![Progress::Mark(Offset::new(1))])
        .await
        .unwrap();
    copy_directory(&live.path().join("log"), &directory.path().join("log"));
    (directory, expected)
}

/// Opens, and compares or hears the error; says which.
fn open_damaged(directory: &TempDir, expected: &[String], what: &str) -> Option<String> {
    match EventLog::open(config(directory)) {
        Ok(log) => {
            assert!(
                payloads(&log) == expected,
                "{what}: acked events are missing"
            );
            None
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("cannot open the log in"), "{what}: {text}");
            Some(text)
        }
    }
}

fn used(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

#[tokio::test]
async fn flipped_bits_are_healed_or_told() {
    // More rounds by environment; each opens a copy.
    let rounds: u64 = std::env::var("HOOKLOG_TEST_FLIPS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(8);
    let mut told = 0;
    for applied in [false, true] {
        let (victim, expected) = victim(applied).await;
        let root = victim.path().join("log");
        for path in files(&root) {
            let name = path.strip_prefix(&root).unwrap();
            let original = fs::read(&path).unwrap();
            for round in 0..rounds {
                let mut rng = fastrand::Rng::with_seed(round);
                let used = used(&original);
                if used == 0 {
                    continue;
                }
                let copy = TempDir::new().unwrap();
                copy_directory(&root, &copy.path().join("log"));
                let mut bytes = original.clone();
                let (at, bit) = (rng.usize(..used), rng.u32(..8));
                bytes[at] ^= 1 << bit;
                fs::write(copy.path().join("log").join(name), bytes).unwrap();
                let what = format!("bit {bit} of byte {at} of {}", name.display());
                told += usize::from(open_damaged(&copy, &expected, &what).is_some());
            }
        }
    }
    assert!(
        told > 0,
        "no flip was ever noticed, so the test flips nothing that matters"
    );
}

#[tokio::test]
async fn truncated_files_are_healed_or_told() {
    let (victim, expected) = victim(true).await;
    let root = victim.path().join("log");
    for path in files(&root) {
        let name = path.strip_prefix(&root).unwrap().to_path_buf();
        let length = fs::metadata(&path).unwrap().len();
        for keep in [0, length / 3, length.saturating_sub(1)] {
            let copy = TempDir::new().unwrap();
            copy_directory(&root, &copy.path().join("log"));
            let file = fs::File::options()
                .write(true)
                .open(copy.path().join("log").join(&name));
            file.unwrap().set_len(keep).unwrap();
            open_damaged(
                &copy,
                &expected,
                &format!("{} cut to {keep}", name.display()),
            );
        }
    }
}

/// What it is called, how it is set, and what the open says of it.
type Trap = (&'static str, fn(&Path), Option<&'static str>);

#[tokio::test]
async fn traps_of_the_engine_are_fenced() {
    let (victim, expected) = victim(true).await;
    let root = victim.path().join("log");
    let traps: [Trap; 6] = [
        (
            "a half-written snapshot",
            |sled| fs::write(sled.join("snap.00000000000FFFFF.generating"), b"junk").unwrap(),
            None,
        ),
        (
            "an empty conf",
            |sled| fs::write(sled.join("conf"), b"").unwrap(),
            None,
        ),
        (
            "a blob",
            |sled| {
                fs::create_dir_all(sled.join("blobs")).unwrap();
                fs::write(sled.join("blobs/17"), b"x").unwrap();
            },
            Some("is not empty"),
        ),
        (
            "no data file",
            |sled| fs::remove_file(sled.join("db")).unwrap(),
            Some("is missing"),
        ),
        (
            "no journal",
            |sled| fs::remove_dir_all(sled.join("../journal")).unwrap(),
            Some("is missing"),
        ),
        (
            "a manifest of another time",
            |sled| fs::write(sled.join("../MANIFEST"), b"hooklog\nformat 9\n").unwrap(),
            Some("has no checksum"),
        ),
    ];
    for (what, set, error) in traps {
        let copy = TempDir::new().unwrap();
        copy_directory(&root, &copy.path().join("log"));
        set(&copy.path().join("log/sled"));
        let told = open_damaged(&copy, &expected, what);
        match error {
            None => assert_eq!(told, None, "{what}"),
            Some(error) => assert!(told.as_ref().is_some_and(|t| t.contains(error)), "{told:?}"),
        }
    }
    let copy = TempDir::new().unwrap();
    copy_directory(&root, &copy.path().join("log"));
    // The sizes of an existing directory hold, whatever is asked for.
    let other = Config {
        journal_segment_bytes: 2 << 20,
        ..config(&copy)
    };
    assert!(payloads(&EventLog::open(other).unwrap()) == expected);
}

#[tokio::test]
async fn a_database_older_than_the_journal_is_told() {
    let live = TempDir::new().unwrap();
    let log = EventLog::open(config(&live)).unwrap();
    log.append(vec![event(1, "{}")]).await.unwrap();
    drop(log);
    let old = TempDir::new().unwrap();
    copy_directory(&live.path().join("log"), &old.path().join("log"));
    // Uncompressed, so that the rows reach the next barrier.
    let plain = Config {
        compression: Compression::None,
        ..config(&live)
    };
    let log = EventLog::open(plain).unwrap();
    // Enough to recycle every segment.
    for _ in 0..80 {
        log.append(vec![event(1, vec![b'x'; 100_000])])
            .await
            .unwrap();
        log.delivery_state().unwrap();
    }
    drop(log);
    fs::remove_dir_all(live.path().join("log/sled")).unwrap();
    copy_directory(&old.path().join("log/sled"), &live.path().join("log/sled"));
    let error = EventLog::open(config(&live)).unwrap_err().to_string();
    assert!(error.contains("are missing"), "{error}");
}

#[tokio::test]
async fn a_batch_that_the_database_lost_is_told_and_never_skipped() {
    let live = TempDir::new().unwrap();
    // Memory keeps nothing that sled has.
    let config = || Config {
        tail_bytes_max: 0,
        ..config(&live)
    };
    let log = EventLog::open(config()).unwrap();
    for index in 0..40 {
        log.append(vec![event(1, format!("{index}"))])
            .await
            .unwrap();
        if index % 8 == 0 {
            log.delivery_state().unwrap();
        }
    }
    log.close().unwrap();
    drop(log);
    // The next open has verified the batches; what is lost after that no open looks at again.
    drop(EventLog::open(config()).unwrap());
    let engine = Engine::open(
        &live.path().join("log/sled"),
        &live.path().join("log/sled/db"),
        crate::engine::Sizes::STANDARD,
    );
    let engine = engine.unwrap();
    let (low, high) = (keys::batch(5, 0), keys::batch(20, 0));
    let bounds = (
        Bound::Included(low.as_slice()),
        Bound::Included(high.as_slice()),
    );
    let (key, _) = engine
        .edge(Family::Log, bounds, Edge::First)
        .unwrap()
        .unwrap();
    engine
        .commit(&[Op {
            family: Family::Log,
            key,
            value: None,
        }])
        .unwrap();
    engine.barrier().unwrap();
    drop(engine);
    let log = EventLog::open(config()).unwrap();
    let limit = Limit {
        items: 100,
        bytes: 1 << 20,
    };
    let mut tail = log.tail(Offset::ZERO);
    let mut next = 0;
    let error = loop {
        match tail.poll_next() {
            Ok(Some(crate::tail::TailItem::Records(records))) => {
                assert!(
                    !records.is_empty(),
                    "an empty page would be taken for the end"
                );
                next = records.last().unwrap().offset.get() + 1;
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("the tail passed the hole at {next}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains(&format!("events are damaged at position {next}")),
        "{error}"
    );
    assert!(log.read(Offset::new(next), limit).is_err());
    assert!(log.get_at(Offset::new(next)).is_err());
    assert!(log.get_at(log.end()).unwrap().is_none());
}
