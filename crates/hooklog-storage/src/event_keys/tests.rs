use std::fs;
use std::sync::Barrier;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::event::{Appended, Event};
use crate::id::EventId;
use crate::log::tests::{config, event};
use crate::log::{AppendError, EventLog};
use crate::read::ReadError;
use crate::testing::{copy_directory, files};
use crate::{repair, restore};

fn key(text: &str, request: &str) -> IdempotencyKey {
    IdempotencyKey::new(&[b"tests"], text, request.as_bytes())
}

/// An event with an idempotency key, whose request is its payload.
fn keyed(text: &str, payload: &str) -> Event {
    Event {
        idempotency: Some(key(text, payload)),
        ..event(1, payload.to_owned())
    }
}

fn with_uid(application: u8, uid: &str) -> Event {
    Event {
        uid: Some(uid.parse().unwrap()),
        ..event(application, "{}")
    }
}

/// What becomes of one event.
fn append(log: &EventLog, event: Event) -> Appended {
    log.append_blocking(vec![event]).unwrap().remove(0)
}

#[track_caller]
fn committed(appended: &Appended) -> (EventId, Timestamp) {
    match appended {
        Appended::Committed { id, timestamp } => (*id, *timestamp),
        other => panic!("{other:?}"),
    }
}

/// The same answer for a request that comes again.
fn replayed(first: &Appended) -> Appended {
    let (id, timestamp) = committed(first);
    Appended::Replayed { id, timestamp }
}

/// Writes what is in memory to runs.
fn seal(log: &EventLog) {
    let shared = &log.handle.shared;
    shared.keys.seal_all(shared.ring.end());
}

fn at(directory: &TempDir, name: &str) -> Config {
    Config {
        directory: directory.path().join(name),
        ..config(directory)
    }
}

fn open(config: &Config) -> EventLog {
    EventLog::open(config.clone()).unwrap()
}

/// A log whose keys are partly in runs and partly in memory, and what its first requests were told.
fn filled(config: &Config) -> (EventLog, Vec<Appended>) {
    let log = open(config);
    let mut told = Vec::new();
    for at in 0..40 {
        if at == 25 {
            seal(&log);
        }
        told.push(append(&log, keyed(&format!("key {at}"), "{}")));
        append(&log, with_uid(1, &format!("uid-{at}")));
    }
    (log, told)
}

/// Every key of a log made by `filled` is known, and no other.
#[track_caller]
fn assert_known(log: &EventLog, told: &[Appended]) {
    let end = log.end();
    for (at, first) in told.iter().enumerate() {
        let again = append(log, keyed(&format!("key {at}"), "{}"));
        assert_eq!(again, replayed(first));
        let (existing, _) = committed(first);
        let other = append(log, keyed(&format!("key {at}"), "{ }"));
        assert_eq!(other, Appended::KeyMismatch { existing });
        let application = ApplicationId::from_bytes([1; 20]);
        let uid = format!("uid-{at}");
        let found = log.find_event(application, &uid).unwrap().unwrap();
        let existing = found.id;
        assert_eq!(found.event.uid.unwrap().as_str(), uid);
        assert_eq!(
            append(log, with_uid(1, &uid)),
            Appended::UidTaken { existing }
        );
    }
    assert_eq!(log.end(), end, "no repetition took an offset");
    committed(&append(log, keyed("unheard of", "{}")));
    committed(&append(log, with_uid(1, "unheard-of")));
    committed(&append(log, with_uid(2, "uid-1")));
}

#[test]
fn keys_are_known_after_a_restart_a_kill_and_without_their_index() {
    let directory = TempDir::new().unwrap();
    let config = at(&directory, "log");
    let (log, told) = filled(&config);
    // As a kill leaves it, with the last keys in the log alone.
    let killed = at(&directory, "killed");
    copy_directory(&config.directory, &killed.directory);
    // As a copy of somebody who left out what is derived.
    let copied = at(&directory, "copied");
    copy_directory(&config.directory, &copied.directory);
    fs::remove_dir_all(copied.directory.join("keys")).unwrap();
    assert_known(&log, &told);
    log.close().unwrap();
    drop(log);
    assert_known(&open(&killed), &told);
    assert_known(&open(&copied), &told);
    let log = open(&config);
    assert_eq!(append(&log, keyed("key 3", "{}")), replayed(&told[3]));
    let known = append(&log, keyed("unheard of", "{}"));
    assert!(matches!(known, Appended::Replayed { .. }), "{known:?}");
    // A close leaves nothing to be read at the next open.
    let covered = log.handle.shared.keys.both().map(KeyIndex::covered);
    assert_eq!(covered, [log.end(); 2]);
}

/// What is damaged or lost below `keys/` is noticed at open and read from the log again, or it is
/// noticed by the first lookup that meets it; never is a key taken for unknown.
#[test]
fn a_damaged_index_is_never_believed() {
    let directory = TempDir::new().unwrap();
    let whole = at(&directory, "log");
    let (log, told) = filled(&whole);
    seal(&log);
    drop(log);
    let files = crate::testing::files(&whole.directory.join("keys"));
    assert_eq!(files.len(), 1 + 2 * (1 + 2), "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let name = file.strip_prefix(&whole.directory).unwrap();
        for way in ["gone", "flipped", "short"] {
            let config = at(&directory, &format!("{number} {way}"));
            copy_directory(&whole.directory, &config.directory);
            let path = config.directory.join(name);
            let mut bytes = fs::read(&path).unwrap();
            match way {
                "gone" => fs::remove_file(&path).unwrap(),
                "flipped" => {
                    // Every block, wherever it is, so that each lookup meets it.
                    bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 4);
                    fs::write(&path, &bytes).unwrap();
                }
                _ => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
            }
            assert_known(&open(&config), &told);
        }
    }
}

/// The blocks of a run break while the log is open: events with keys are refused, nothing else is,
/// and the next open makes the index anew.
#[test]
fn damage_at_run_time_stops_what_asks_for_keys_until_the_next_open() {
    let directory = TempDir::new().unwrap();
    let config = at(&directory, "log");
    let (log, told) = filled(&config);
    seal(&log);
    let keys = config.directory.join("keys/requests");
    for path in crate::testing::files(&keys) {
        if path
            .extension()
            .is_some_and(|extension| extension == "keys")
        {
            // In place: the log holds the file.
            let length = fs::metadata(&path).unwrap().len();
            let bytes = vec![0xa5; usize::try_from(length).unwrap()];
            fs::write(&path, bytes).unwrap();
        }
    }
    let end = log.end();
    let mixed = vec![event(1, "first"), keyed("key 1", "{}")];
    for events in [mixed, vec![keyed("key 2", "{}")], vec![with_uid(1, "u")]] {
        let refused = log.append_blocking(events);
        let expected = matches!(refused, Err(AppendError::Keys(ReadError::Keys { .. })));
        assert!(expected, "{refused:?}");
    }
    assert_eq!(log.end(), end, "nothing of a refused append is written");
    let found = log.find_event(ApplicationId::from_bytes([1; 20]), "uid-1");
    assert!(matches!(found, Err(ReadError::Keys { .. })), "{found:?}");
    committed(&append(&log, event(1, "without keys")));
    assert_eq!(log.poisoned(), None);
    log.close().unwrap();
    drop(log);
    assert_known(&open(&config), &told);
}

/// An index that belongs to another log of the same length knows the wrong things.
#[test]
fn an_index_of_another_log_is_found_out() {
    let directory = TempDir::new().unwrap();
    let (one, two) = (at(&directory, "one"), at(&directory, "two"));
    drop(filled(&one));
    let (log, told) = filled(&two);
    drop(log);
    fs::remove_dir_all(two.directory.join("keys")).unwrap();
    copy_directory(&one.directory.join("keys"), &two.directory.join("keys"));
    let log = open(&two);
    let refused = log.append_blocking(vec![keyed("key 1", "{}")]);
    let Err(AppendError::Keys(ReadError::Keys { reason })) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("does not carry"), "{reason}");
    committed(&append(&log, event(1, "without keys")));
    drop(log);
    assert_known(&open(&two), &told);
}

#[test]
fn of_equal_keys_at_the_same_time_one_wins() {
    const THREADS: usize = 16;
    let directory = TempDir::new().unwrap();
    let log = open(&at(&directory, "log"));
    let rounds = 20 * crate::testing::rounds();
    for round in 0..rounds {
        let start = Barrier::new(THREADS);
        let run = |index: usize| {
            let text = format!("race {round}");
            start.wait();
            // Half of them have a body of their own, all of them share uids by four.
            let mut event = keyed(&text, if index.is_multiple_of(2) { "{}" } else { "{ }" });
            event.uid = Some(format!("{round}-{}", index % 4).parse().unwrap());
            append(&log, event)
        };
        let told: Vec<Appended> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|index| scope.spawn(move || run(index)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let wins: Vec<_> = told
            .iter()
            .filter(|told| matches!(told, Appended::Committed { .. }))
            .collect();
        assert_eq!(wins.len(), 1, "{told:?}");
        let (existing, _) = committed(wins[0]);
        let count = |wanted: &Appended| told.iter().filter(|told| *told == wanted).count();
        assert_eq!(count(&replayed(wins[0])), THREADS / 2 - 1, "{told:?}");
        assert_eq!(count(&Appended::KeyMismatch { existing }), THREADS / 2);
        assert_eq!(log.end().get(), round + 1);
    }
}

#[test]
fn equal_keys_in_one_append_are_told_apart() {
    let directory = TempDir::new().unwrap();
    let log = open(&at(&directory, "log"));
    let taken = Event {
        idempotency: Some(key("d", "{}")),
        ..with_uid(1, "u")
    };
    let events = vec![
        with_uid(1, "u"),
        keyed("a", "{}"),
        keyed("a", "{}"),
        keyed("a", "other"),
        // Its uid is taken, so its key stays free for the next one.
        taken,
        keyed("d", "{}"),
        event(1, "{}"),
    ];
    let told = log.append_blocking(events).unwrap();
    let existing = committed(&told[0]).0;
    let first = committed(&told[1]).0;
    assert_eq!(told[2], replayed(&told[1]));
    assert_eq!(told[3], Appended::KeyMismatch { existing: first });
    assert_eq!(told[4], Appended::UidTaken { existing });
    committed(&told[5]);
    committed(&told[6]);
    assert_eq!(log.end().get(), 4);
    let records = log.read(
        Offset::ZERO,
        crate::Limit {
            items: 10,
            bytes: 1 << 20,
        },
    );
    let ids: Vec<_> = records.unwrap().iter().map(|record| record.id).collect();
    let placed = [0, 1, 5, 6].map(|at| committed(&told[at]).0);
    assert_eq!(ids, placed);
}

#[test]
fn a_key_expires_by_the_time_of_commits_and_its_next_event_takes_it_over() {
    let directory = TempDir::new().unwrap();
    let config = at(&directory, "log");
    let first = {
        let log = open(&config);
        let first = append(&log, keyed("k", "{}"));
        assert_eq!(append(&log, keyed("k", "{}")), replayed(&first));
        first
    };
    let (id, timestamp) = committed(&first);
    let short = Config {
        idempotency_age: Duration::from_millis(50),
        ..config.clone()
    };
    let second = {
        let log = open(&short);
        let deadline = Instant::now() + Duration::from_secs(20);
        // Until the log's own clock says so.
        let mut now = timestamp;
        while now.since(timestamp) < short.idempotency_age {
            assert!(Instant::now() < deadline, "the clock stands still");
            (_, now) = committed(&append(&log, event(1, "later")));
        }
        append(&log, keyed("k", "{}"))
    };
    assert_ne!(committed(&second).0, id);
    // The newest event of a key counts, wherever the index has them.
    let log = open(&config);
    assert_eq!(append(&log, keyed("k", "{}")), replayed(&second));
    drop(log);
    fs::remove_dir_all(config.directory.join("keys")).unwrap();
    let log = open(&config);
    assert_eq!(append(&log, keyed("k", "{}")), replayed(&second));
    drop(log);
    // Zero switches keys off, and uids stay what they are.
    let log = open(&Config {
        idempotency_age: Duration::ZERO,
        ..config
    });
    committed(&append(&log, keyed("k", "{}")));
    let told = log.append_blocking(vec![keyed("k", "{}"), keyed("k", "x")]);
    told.unwrap().iter().map(committed).for_each(drop);
    committed(&append(&log, with_uid(1, "u")));
    let again = append(&log, with_uid(1, "u"));
    assert!(matches!(again, Appended::UidTaken { .. }), "{again:?}");
}

#[test]
fn copies_of_a_log_know_its_keys() {
    let directory = TempDir::new().unwrap();
    let config = at(&directory, "log");
    let (log, told) = filled(&config);
    let backup = directory.path().join("backup");
    let pieces: Vec<u8> = log
        .backup(None)
        .unwrap()
        .flat_map(|piece| piece.unwrap().to_vec())
        .collect();
    fs::write(&backup, pieces).unwrap();
    log.close().unwrap();
    drop(log);
    let keys_of = |config: &Config| {
        let keys = files(&config.directory.join("keys"));
        keys.into_iter()
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    let kept = keys_of(&config);
    let scratch = directory.path().join("scratch");
    let found = crate::check(&config.directory, &scratch, |_| {}).unwrap();
    assert!(found.keys >= u64::try_from(told.len()).unwrap() && found.key_runs > 0);
    let (restored, repaired) = (at(&directory, "restored"), at(&directory, "repaired"));
    restore(&restored, &[backup], |_| {}).unwrap();
    repair(&config.directory, &repaired, |_| {}).unwrap();
    crate::compact(config.clone(), |_| {}).unwrap();
    for copy in [&restored, &repaired, &config] {
        let scratch = directory.path().join("scratch");
        let report = crate::check(&copy.directory, &scratch, |_| {}).unwrap();
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.keys, found.keys, "{}", copy.directory.display());
    }
    assert_eq!(keys_of(&config), kept, "a compaction leaves it as it is");
    // A backup has none, so without the one that was made, it is made at open.
    fs::remove_dir_all(restored.directory.join("keys")).unwrap();
    for copy in [restored, repaired, config] {
        assert_known(&open(&copy), &told);
    }
}

/// A full index refuses before anything is written, and has room again after a seal.
#[test]
fn room_is_asked_for_before_keys_are_inserted() {
    let directory = TempDir::new().unwrap();
    let log = open(&at(&directory, "log"));
    append(&log, keyed("k", "{}"));
    let shared = &log.handle.shared;
    let record = shared.get_at(Offset::ZERO).unwrap().unwrap();
    let limits = Limits {
        entries_max: 80,
        memtable_max: 10,
    };
    let path = directory.path().join("small");
    let keys = EventKeys::open(&path, limits, Offset::ZERO, log.config()).unwrap();
    assert!(keys.has_room(10, 10) && !keys.has_room(11, 0) && !keys.has_room(0, 11));
    for at in 0..10 {
        let mut record = record.clone();
        record.event.idempotency = Some(key(&at.to_string(), "{}"));
        keys.insert(&record).unwrap();
    }
    assert!(!keys.has_room(1, 0) && keys.has_room(0, 10));
    keys.requests.seal(Offset::new(1)).unwrap();
    assert!(keys.has_room(10, 10));
}

/// The threads keep what waits in memory small, and a kill leaves little to be read again.
#[test]
fn keys_go_to_disk_behind_the_acks() {
    let directory = TempDir::new().unwrap();
    let config = at(&directory, "log");
    let log = open(&config);
    let due = Limits::STANDARD.seal_entries();
    let mut count = 0;
    while count < due {
        let events = (count..count + 1000).map(|at| with_uid(1, &at.to_string()));
        log.append_blocking(events.collect()).unwrap();
        count += 1000;
    }
    let uids = || &log.handle.shared.keys.uids;
    let deadline = Instant::now() + Duration::from_mins(1);
    while uids().stats().runs == 0 {
        assert!(Instant::now() < deadline, "{:?}", uids().stats());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(uids().stats().memtable < due);
    assert!(uids().covered() > Offset::ZERO);
    let killed = at(&directory, "killed");
    copy_directory(&config.directory, &killed.directory);
    for log in [log, open(&killed)] {
        for at in (0..count).step_by(997) {
            let told = append(&log, with_uid(1, &at.to_string()));
            let expected = matches!(&told, Appended::UidTaken { existing }
                if existing.offset() == Offset::new(u64::try_from(at).unwrap()));
            assert!(expected, "{at}: {told:?}");
        }
    }
}

/// What the index needs is not there any more: the log says so rather than to forget keys silently.
#[test]
fn an_index_that_cannot_be_written_stops_the_log() {
    let directory = TempDir::new().unwrap();
    let config = at(&directory, "log");
    let log = open(&config);
    let first = append(&log, keyed("k", "{}"));
    fs::remove_dir_all(config.directory.join("keys")).unwrap();
    let error = log.close().unwrap_err().to_string();
    assert!(error.contains("requests"), "{error}");
    drop(log);
    assert_eq!(append(&open(&config), keyed("k", "{}")), replayed(&first));
}
