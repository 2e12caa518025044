use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::log::tests::{config, event, open};
use crate::transfer::testing::{contents, contents_of, fill, publish};
use crate::{Config, Event, EventLog, Limit, Offset, Timestamp, restore};
use tempfile::TempDir;

/// Writes a backup to a file.
fn save(log: &EventLog, since: Option<BackupPoint>, directory: &TempDir, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    let mut file = File::create(&path).unwrap();
    for piece in log.backup(since).unwrap() {
        let piece = piece.unwrap();
        assert!(piece.len() < 1 << 20, "pieces are bounded");
        file.write_all(&piece).unwrap();
    }
    path
}

fn at(directory: &TempDir, name: &str) -> Config {
    Config {
        directory: directory.path().join(name),
        ..config(directory)
    }
}

#[tokio::test]
async fn a_backup_and_its_increments_restore_to_the_log_of_each_moment() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let empty = save(&log, None, &directory, "empty");
    fill(&log, 1, 120).await;
    let first = contents(&log);
    let full = save(&log, None, &directory, "full");
    fill(&log, 2, 60).await;
    let second = contents(&log);
    let point = crate::backup_end(&full).unwrap();
    let one = save(&log, Some(point), &directory, "one");
    let point = crate::backup_end(&one).unwrap();
    let unchanged = save(&log, Some(point), &directory, "unchanged");
    fill(&log, 3, 60).await;
    let third = contents(&log);
    let point = crate::backup_end(&unchanged).unwrap();
    let two = save(&log, Some(point), &directory, "two");
    let from_empty = save(&log, crate::backup_end(&empty).ok(), &directory, "rest");
    assert!(one.metadata().unwrap().len() < full.metadata().unwrap().len());

    let chains = [
        ("a", vec![&full], &first),
        ("b", vec![&full, &one], &second),
        ("c", vec![&full, &one, &unchanged], &second),
        ("d", vec![&full, &one, &unchanged, &two], &third),
        ("e", vec![&empty, &from_empty], &third),
    ];
    for (name, files, expected) in chains {
        let files: Vec<_> = files.into_iter().cloned().collect();
        let restored = restore(&at(&directory, name), &files, |_| {}).unwrap();
        assert_eq!(restored.end, expected.end, "{name}");
        assert_eq!(restored.subscriptions, expected.attempts.len() as u64);
        assert_eq!(
            &contents_of(at(&directory, name)).unwrap(),
            expected,
            "{name}"
        );
    }
    // A restored log goes on, and so do backups of it.
    let again = EventLog::open(at(&directory, "d")).unwrap();
    fill(&again, 4, 20).await;
    let point = crate::backup_end(&two).unwrap();
    assert!(again.backup(Some(point)).is_ok());
    let mut names = std::fs::read_dir(directory.path().join("log")).unwrap();
    let is_left = names.any(|name| {
        let name = name.unwrap().file_name();
        name.to_string_lossy().starts_with("backup-")
    });
    assert!(!is_left);
}

#[tokio::test]
async fn increments_of_another_log_are_refused() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    publish(&log, 1, 50).await;
    let point = log.backup(None).unwrap().end();
    let other = EventLog::open(at(&directory, "other")).unwrap();
    publish(&other, 2, 90).await;
    drop(other.delivery_state().unwrap());
    let found = other.backup(Some(point));
    assert!(
        matches!(found, Err(BackupError::OtherLog { .. })),
        "{found:?}"
    );
    let beyond = BackupPoint {
        events: Offset::new(1_000_000),
        ..point
    };
    assert!(matches!(
        log.backup(Some(beyond)),
        Err(BackupError::OtherLog { .. })
    ));
}

/// Publishing goes on while backups are made: what was acked before each begins is in it, what it
/// holds is a whole prefix, and increments of it chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_under_load_hold_everything_that_was_acked_before() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    fill(&log, 1, 60).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    {
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let payload = format!("{count}{}", "x".repeat(2_000));
                log.append(vec![event(1, payload)]).await.unwrap();
                count += 1;
            }
        });
    }
    let mut files: Vec<PathBuf> = Vec::new();
    let mut acked = Offset::ZERO;
    for round in 0..4 {
        while log.end() < acked.plus(100) {
            tokio::task::yield_now().await;
        }
        acked = log.end();
        let since = files.last().map(|file| crate::backup_end(file).unwrap());
        let (log, name) = (log.clone(), format!("{round}"));
        files.push(tokio::task::block_in_place(|| {
            save(&log, since, &directory, &name)
        }));
        let held = crate::backup_end(files.last().unwrap()).unwrap();
        assert!(held.events >= acked, "{round}: {held} {acked}");
    }
    stop.store(true, Ordering::Relaxed);
    tasks.join_next().await.unwrap().unwrap();
    let restored = restore(&at(&directory, "restored"), &files, |_| {}).unwrap();
    let copy = EventLog::open(at(&directory, "restored")).unwrap();
    let all = Limit {
        items: usize::MAX,
        bytes: usize::MAX,
    };
    let mut expected = log.read(Offset::ZERO, all).unwrap();
    expected.retain(|record| record.offset < restored.end);
    assert_eq!(copy.read(Offset::ZERO, all).unwrap(), expected);
    assert_eq!(
        copy.delivery_state().unwrap(),
        log.delivery_state().unwrap()
    );
}

#[tokio::test]
async fn a_stopped_log_gives_no_backup() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    publish(&log, 1, 5).await;
    log.poison_for_tests("the disk is gone");
    let found = log.backup(None).unwrap_err();
    assert!(found.to_string().contains("the disk is gone"), "{found}");
}

/// While replaced rows are copied nothing is applied: each page shows those who wait that it goes on.
#[tokio::test]
async fn the_copy_of_many_rows_gives_signs_of_life() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let ring = &log.handle.shared.ring;
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let due = Timestamp::default().plus(since + Duration::from_hours(1));
    let mut signs = Vec::new();
    for appends in [0, 6] {
        for _ in 0..appends {
            let later = || Event {
                deliver_at: Some(due),
                ..event(1, "{}")
            };
            let events = (0..2000).map(|_| later()).collect();
            log.append(events).await.unwrap();
        }
        log.wait_applied();
        let before = ring.signs_of_life();
        log.backup(None).unwrap();
        signs.push(ring.signs_of_life() - before);
    }
    // 24,000 rows are two pages more.
    assert!(signs[1] >= signs[0] + 2, "{signs:?}");
}
