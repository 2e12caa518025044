use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::log::tests::{config, event, open};
use crate::testing::{copy_directory, files};
use crate::transfer::testing::{Contents, contents, contents_of, fill};
use crate::{EventLog, Limit, Order, TailItem};
use tempfile::TempDir;

/// A copy of a log as a kill -9 leaves it, with all that was in it. Its journal holds what came last.
async fn victim(directory: &TempDir) -> (PathBuf, Contents) {
    let log = open(directory);
    for seed in 0..4 {
        fill(&log, seed, 150).await;
    }
    // The last events are in the journal alone: barriers are a minute apart.
    let expected = contents(&log);
    let copy = directory.path().join("victim");
    copy_directory(&directory.path().join("log"), &copy);
    (copy, expected)
}

fn target(directory: &TempDir, name: &str) -> Config {
    Config {
        directory: directory.path().join(name),
        ..config(directory)
    }
}

/// Every position is in the new log as it was in the old one, or is lost and says so.
async fn assert_salvaged(config: Config, expected: &Contents, repaired: &Repaired) {
    let log = EventLog::open(config).unwrap();
    let is_lost = |offset: Offset| {
        let mut lost = repaired.events_lost.iter();
        lost.any(|range| range.contains(&offset.get())) || !repaired.events.contains(&offset.get())
    };
    let mut kept = expected.records.clone();
    kept.retain(|record| !is_lost(record.offset));
    let all = Limit {
        items: usize::MAX,
        bytes: usize::MAX,
    };
    let start = Offset::new(repaired.events.start);
    let read = log.read(start, all).unwrap();
    let offsets = |records: &[crate::Record]| records.iter().map(|r| r.offset.get()).collect();
    let (found, wanted): (Vec<u64>, Vec<u64>) = (offsets(&read), offsets(&kept));
    assert_eq!(found, wanted);
    assert!(read == kept);
    for record in &expected.records {
        if record.offset < start {
            continue;
        }
        let found = log.get_at(record.offset).unwrap();
        let wanted = Some(record).filter(|r| !is_lost(r.offset));
        assert!(found.as_ref() == wanted, "{}", record.offset);
    }
    for (application, offsets) in &expected.by_application {
        let application = crate::ApplicationId::from_bytes([*application; 20]);
        for order in [Order::Ascending, Order::Descending] {
            let page = log
                .read_application(application, start..Offset::MAX, order, all)
                .unwrap();
            let mut found: Vec<_> = page.records.iter().map(|r| r.offset).collect();
            found.sort();
            let kept = offsets.iter().filter(|offset| !is_lost(**offset));
            assert_eq!(found, kept.copied().collect::<Vec<_>>());
        }
    }
    // A tail goes over the holes.
    let mut tail = log.tail(start);
    let mut seen = Vec::new();
    while let Some(item) = tail.poll_next().unwrap() {
        if let TailItem::Records(records) = item {
            seen.extend(records.iter().cloned());
        }
    }
    assert!(seen == kept);
    assert_eq!(log.end().get(), repaired.events.end);
    // Time goes over them as well.
    for record in kept.iter().step_by(17) {
        let found = log.offset_at(record.timestamp).unwrap();
        assert!(found <= record.offset, "{found}");
    }
    log.append(vec![event(1, "goes on")]).await.unwrap();
    assert_eq!(log.end().get(), repaired.events.end + 1);
}

fn zero_journal(directory: &Path) {
    for file in files(&directory.join("journal")) {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, vec![0; bytes.len()]).unwrap();
    }
}

#[tokio::test]
async fn a_log_without_damage_is_copied_whole() {
    let directory = TempDir::new().unwrap();
    let (victim, expected) = victim(&directory).await;
    let before: Vec<_> = files(&victim)
        .iter()
        .map(|f| fs::read(f).unwrap())
        .collect();
    let config = target(&directory, "new");
    let repaired = repair(&victim, &config, |_| {}).unwrap();
    assert_eq!(repaired.events_lost, []);
    assert_eq!(repaired.attempts_lost, []);
    assert_eq!(repaired.notes, [""; 0]);
    assert_eq!(repaired.rows_lost, 0);
    assert!(contents_of(config).unwrap() == expected);
    let after: Vec<_> = files(&victim)
        .iter()
        .map(|f| fs::read(f).unwrap())
        .collect();
    assert!(before == after, "the old directory is as it was");
}

/// A frame in the middle of the journal is broken, and sled has nothing of what follows.
#[tokio::test]
async fn frames_behind_a_broken_one_are_saved() {
    let directory = TempDir::new().unwrap();
    let (log, expected) = {
        let config = Config {
            barrier_interval: std::time::Duration::from_hours(1),
            ..config(&directory)
        };
        let log = EventLog::open(config).unwrap();
        for at in 0..100 {
            log.append(vec![event(at % 3, format!("payload {at:03}"))])
                .await
                .unwrap();
        }
        let copy = directory.path().join("victim");
        copy_directory(&directory.path().join("log"), &copy);
        (copy, contents(&log))
    };
    let journal = files(&log.join("journal")).into_iter();
    let segment = journal
        .map(|path| (fs::read(&path).unwrap(), path))
        .find_map(|(bytes, path)| {
            let at = bytes.windows(11).position(|w| w == b"payload 041")?;
            Some((bytes, path, at))
        });
    let (mut bytes, path, at) = segment.unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    let damaged = Config {
        directory: log.clone(),
        ..config(&directory)
    };
    assert!(EventLog::open(damaged).is_err());
    let config = target(&directory, "new");
    let repaired = repair(&log, &config, |_| {}).unwrap();
    let lost = Range { start: 41, end: 42 };
    assert_eq!(repaired.events_lost, [lost]);
    assert_salvaged(config, &expected, &repaired).await;
}

/// Flips a bit in every copy of one batch of events in sled's file.
fn break_batch(directory: &Path, at: usize) -> Range<u64> {
    let sled = directory.join("sled");
    let raw = Raw::search(&sled, |_, _| {}).unwrap();
    let events = raw
        .batches
        .iter()
        .filter(|b| b.kind == crate::frame::Kind::Events);
    let bases: std::collections::BTreeSet<_> = events.map(|b| (b.base, b.count)).collect();
    let (base, count) = *bases.iter().nth(at).unwrap();
    let mut paths = crate::engine::extents::files(&sled).unwrap();
    paths.push(sled.join("db"));
    for path in paths {
        let mut bytes = fs::read(&path).unwrap();
        let mut head = b"HLB1\x01\x01".to_vec();
        for kind in [0, 1] {
            head.truncate(6);
            head.extend([kind, 0]);
            head.extend(base.to_be_bytes());
            let places: Vec<_> = (0..bytes.len().saturating_sub(head.len()))
                .filter(|at| bytes[*at..].starts_with(&head))
                .collect();
            for place in places {
                bytes[place + 60] ^= 1;
            }
        }
        fs::write(path, bytes).unwrap();
    }
    base..base + u64::from(count)
}

#[tokio::test]
async fn a_broken_batch_is_taken_from_the_journal_or_marked_as_lost() {
    let directory = TempDir::new().unwrap();
    let (victim, expected) = victim(&directory).await;
    zero_journal(&victim);
    let broken = break_batch(&victim, 2);
    let config = target(&directory, "new");
    let repaired = repair(&victim, &config, |_| {}).unwrap();
    let lost = &repaired.events_lost;
    assert!(
        lost.iter().any(|r| r.contains(&broken.start)),
        "{lost:?} {broken:?}"
    );
    assert_salvaged(config.clone(), &expected, &repaired).await;
    // The repaired log can itself be compacted, backed up and repaired again.
    crate::compact(config.clone(), |_| {}).unwrap();
    let again = target(&directory, "again");
    let second = repair(&config.directory, &again, |_| {}).unwrap();
    assert_eq!(second.events_lost, repaired.events_lost);
}

/// Damage to sled's file can leave an empty database; with the journal gone as well, it once opened
/// as an empty log without a word.
#[tokio::test]
async fn a_database_that_came_up_empty_is_not_an_empty_log() {
    let directory = TempDir::new().unwrap();
    let (victim, expected) = victim(&directory).await;
    zero_journal(&victim);
    for path in files(&victim.join("sled")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
    let database = victim.join("sled/db");
    let mut bytes = fs::read(&database).unwrap();
    bytes[..4096].fill(0);
    fs::write(&database, bytes).unwrap();
    let damaged = Config {
        directory: copy_directory(&victim, &directory.path().join("opened")),
        ..config(&directory)
    };
    assert!(EventLog::open(damaged).is_err());
    let report = crate::check(&victim, &directory.path().join("scratch"), |_| {}).unwrap();
    assert!(!report.is_good());
    let config = target(&directory, "new");
    let repaired = repair(&victim, &config, |_| {}).unwrap();
    assert!(!repaired.events.is_empty());
    assert_salvaged(config, &expected, &repaired).await;
}

/// Without a database that opens, batches are found in its file; registry rows only in the journal.
#[tokio::test]
async fn a_database_that_does_not_open_is_searched() {
    let directory = TempDir::new().unwrap();
    let (victim, expected) = victim(&directory).await;
    fs::write(victim.join("sled/conf"), b"not what it was").unwrap();
    let config = target(&directory, "new");
    let repaired = repair(&victim, &config, |_| {}).unwrap();
    assert!(
        repaired.notes[0].contains("does not open"),
        "{:?}",
        repaired.notes
    );
    assert_salvaged(config, &expected, &repaired).await;
    // Only the events of several values cannot be found in the file, and the journal has the last.
    let lost: u64 = repaired.events_lost.iter().map(|r| r.end - r.start).sum();
    assert!(lost <= 4, "{:?}", repaired.events_lost);
}

/// Whatever bits flip, a repair ends with a log that opens, and what it has is what was published.
#[tokio::test]
async fn any_damage_ends_in_a_log_that_opens() {
    let rounds: u64 = std::env::var("HOOKLOG_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1);
    let directory = TempDir::new().unwrap();
    let (victim, expected) = victim(&directory).await;
    for seed in 0..3 * rounds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let damaged = copy_directory(&victim, &directory.path().join(format!("bad-{seed}")));
        for path in files(&damaged) {
            let mut bytes = fs::read(&path).unwrap();
            for _ in 0..rng.usize(0..4) {
                let Some(last) = bytes.len().checked_sub(1) else {
                    break;
                };
                let at = rng.usize(..=last);
                bytes[at] ^= 1 << rng.u8(..8);
            }
            if rng.u8(..10) == 0 {
                bytes.truncate(rng.usize(..=bytes.len()));
            }
            fs::write(&path, bytes).unwrap();
        }
        let config = target(&directory, &format!("new-{seed}"));
        let repaired = repair(&damaged, &config, |_| {}).unwrap();
        assert_salvaged(config, &expected, &repaired).await;
    }
}

/// Publishes events that only extents hold, for later: one whose time comes, and one that waits for
/// long. The first is released; the log is closed, and its journal forgotten.
async fn with_waiting_events(directory: &TempDir) -> PathBuf {
    let log = open(directory);
    let mut rng = fastrand::Rng::with_seed(7);
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let now = crate::Timestamp::default().plus(since);
    let (soon, hour) = (Duration::from_millis(300), Duration::from_hours(1));
    for after in [None, Some(soon), None, Some(hour)] {
        let mut payload = vec![0; 20_000];
        rng.fill(&mut payload);
        let event = crate::Event {
            deliver_at: after.map(|after| now.plus(after)),
            ..event(1, payload)
        };
        log.append(vec![event]).await.unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while waiting(&log) != [3] {
        assert!(std::time::Instant::now() < deadline, "it is never released");
        let page = log.delayed(None, crate::Timestamp::from_millis(i64::MAX), 1);
        let step = crate::ReleaseStep {
            of: page.unwrap().due.remove(0),
            key: None,
            seen: Vec::new(),
            to: Vec::new(),
            is_last: true,
        };
        // Before its time nothing is done.
        log.release(vec![step]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    log.close().unwrap();
    let victim = copy_directory(
        &directory.path().join("log"),
        &directory.path().join("victim"),
    );
    zero_journal(&victim);
    victim
}

/// Offsets of the events that wait for their time.
fn waiting(log: &EventLog) -> Vec<u64> {
    let far = crate::Timestamp::from_millis(i64::MAX);
    let page = log.delayed(None, far, usize::MAX).unwrap();
    let mut offsets: Vec<_> = page.due.iter().map(|of| of.offset.get()).collect();
    offsets.sort_unstable();
    offsets
}

/// The story: events were found in extents alone, the rows that said that they wait for their time
/// were not, and nobody got them.
#[tokio::test]
async fn events_for_a_later_time_wait_for_it_in_the_new_log() {
    type Damage = fn(&Path);
    let unreadable: Damage = |log| fs::write(log.join("sled/conf"), b"not what it was").unwrap();
    let empty: Damage = |log| {
        for path in files(&log.join("sled")) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name == "db" {
                let mut bytes = fs::read(&path).unwrap();
                bytes.fill(0);
                fs::write(&path, bytes).unwrap();
            } else if name.starts_with("snap.") {
                fs::remove_file(path).unwrap();
            }
        }
    };
    let row_lost: Damage = |log| {
        let engine = Engine::open(
            &log.join("sled"),
            &log.join("sled/db"),
            crate::engine::Sizes::STANDARD,
        )
        .unwrap();
        let bounds = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let mut keys = Vec::new();
        let visit = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            Ok::<_, crate::EngineError>(())
        };
        let family = crate::keys::Family::Delayed;
        engine.scan(family, bounds, visit).unwrap();
        assert_eq!(keys.len(), 2, "of the one that waits");
        for lost in keys.into_iter().take(1) {
            let op = crate::engine::Op {
                family,
                key: lost,
                value: None,
            };
            engine.commit(&[op]).unwrap();
        }
        engine.barrier().unwrap();
    };
    let directory = TempDir::new().unwrap();
    let victim = with_waiting_events(&directory).await;
    let cases: [(&str, Damage, &[u64]); 4] = [
        ("whole", |_| {}, &[3]),
        ("unreadable", unreadable, &[1, 3]),
        ("empty", empty, &[1, 3]),
        ("a row lost", row_lost, &[1, 3]),
    ];
    for (what, damage, expected) in cases {
        let damaged = copy_directory(&victim, &directory.path().join(format!("{what} log")));
        damage(&damaged);
        let config = target(&directory, what);
        let repaired = repair(&damaged, &config, |_| {}).unwrap();
        assert_eq!(
            (repaired.events, &repaired.events_lost[..]),
            (0..4, &[][..])
        );
        let is_told = repaired.notes.iter().any(|note| note.starts_with("of 2 "));
        assert_eq!(is_told, expected.len() == 2, "{what}: {:?}", repaired.notes);
        let log = EventLog::open(config.clone()).unwrap();
        assert_eq!(waiting(&log), expected, "{what}");
        log.close().unwrap();
        drop(log);
        let scratch = directory.path().join(format!("{what} scratch"));
        let report = crate::check(&config.directory, &scratch, |_| {}).unwrap();
        assert!(report.is_good(), "{what}: {report:?}");
    }
}
