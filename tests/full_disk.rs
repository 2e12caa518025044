//! A disk that fills up: events are refused in time, retention makes room, and an open that finds no
//! space says how much it needs.
//!
//! **Invariant:** nothing acked is missing afterwards, and a log on a disk that filled up by it alone
//! is never stopped.
//! **Next:** `operate.rs`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use hooklog::storage::{
    AppendError, Appended, ApplicationId, CommitError, Config, ConsumerOptions, Event, EventLog,
    Limit, Offset, OpenErrorKind,
};

use crate::damage::disk::Disk;
use crate::harness::{can_run, shared, wait_for};

/// Room for some dozen of files of batches beside what is kept free.
const DISK_MIB: u64 = 48;
const MIB: u64 = 1 << 20;
const PAYLOAD_BYTES: usize = 100_000;

fn config(disk: &Disk) -> Config {
    Config {
        journal_segment_bytes: 1 << 20,
        payload_bytes_max: 256 << 10,
        unapplied_bytes_max: 2 << 20,
        tail_bytes_max: 0,
        extent_bytes: 1 << 20,
        barrier_interval: Duration::from_millis(10),
        ..Config::new(disk.path().join("data"))
    }
}

/// Bytes that no compression shrinks, of a seed each.
fn event(seed: u64) -> Event {
    let mut payload = vec![0; PAYLOAD_BYTES];
    fastrand::Rng::with_seed(seed).fill(&mut payload);
    let application = ApplicationId::from_bytes([1; 20]);
    Event::new(application, "disk.full".parse().unwrap(), payload)
}

/// Whether an event was taken; if not, the disk was the reason.
fn publish(log: &EventLog, seed: u64) -> bool {
    match log.append_blocking(vec![event(seed)]) {
        Ok(appended) => {
            assert!(matches!(appended[..], [Appended::Committed { .. }]));
            true
        }
        Err(AppendError::Commit(CommitError::Busy { what: "the disk" })) => false,
        Err(error) => panic!("event {seed}: {error}"),
    }
}

/// Publishes until the disk is full; returns how many events there are then.
fn fill(log: &EventLog) -> u64 {
    let refused = (0..10 * DISK_MIB * MIB / PAYLOAD_BYTES as u64).find(|seed| !publish(log, *seed));
    refused.expect("the disk was never full")
}

/// Every event from one offset to another is the one of its seed.
fn assert_there(log: &EventLog, from: u64, to: u64) {
    let some = Limit {
        items: 10,
        bytes: usize::MAX,
    };
    let mut next = Offset::new(from);
    while next < Offset::new(to) {
        for record in log.read(next, some).unwrap() {
            assert_eq!(record.offset, next);
            assert!(record.event == event(next.get()), "event {next}");
            next = next.next();
        }
    }
}

fn used(disk: &Disk) -> u64 {
    let found = rustix::fs::statvfs(disk.path()).unwrap();
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

/// What another program leaves no room with.
fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
}

#[test]
fn a_disk_that_fills_refuses_events_until_retention_has_made_room() {
    if !can_run("a full disk", Disk::can_mount()) {
        return;
    }
    let _machine = shared();
    let disk = Disk::mount(DISK_MIB);
    let mut config = config(&disk);
    // All of it has expired, but for the consumer.
    config.retention.events.age = Some(Duration::from_millis(1));
    config.retention.undelivered_bytes_max = Some(u64::MAX);
    let log = EventLog::open(config.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let options = ConsumerOptions::default();
    let mut consumer = runtime.block_on(log.consumer("slow", options)).unwrap();
    let full = fill(&log);
    assert!(full > 100, "{full}");
    assert_eq!(log.poisoned(), None);
    assert_there(&log, 0, full);

    // Nothing but space is missing: it is opened and written to again on the same disk.
    runtime
        .block_on(consumer.seek(Offset::new(full - 1)))
        .unwrap();
    let mut end = full;
    wait_for("room on the disk", || {
        let taken = publish(&log, end);
        end += u64::from(taken);
        (end > full + 100).then_some(())
    });
    assert_eq!(log.low().events, Offset::new(full - 1));
    assert_there(&log, full - 1, end);
    drop(consumer);
    log.close().unwrap();
    drop(log);
    let log = EventLog::open(config).unwrap();
    assert_there(&log, log.low().events.get(), end);
}

#[test]
fn a_log_on_a_disk_that_it_filled_opens_again() {
    if !can_run("a full disk", Disk::can_mount()) {
        return;
    }
    let _machine = shared();
    let disk = Disk::mount(DISK_MIB);
    let log = EventLog::open(config(&disk)).unwrap();
    let full = fill(&log);
    log.close().unwrap();
    drop(log);
    for _ in 0..3 {
        let log = EventLog::open(config(&disk)).unwrap();
        assert_there(&log, 0, full);
        assert_eq!(log.end(), Offset::new(full));
        assert!(!publish(&log, full));
        log.close().unwrap();
    }
}

/// A log that was closed, one that was killed with its last events in the journal, and a new one.
#[test]
fn an_open_without_space_says_how_much_it_needs_and_that_is_enough() {
    if !can_run("a full disk", Disk::can_mount()) {
        return;
    }
    let _machine = shared();
    for (what, events, closed) in [
        ("closed", 100, true),
        ("killed", 100, false),
        ("new", 0, true),
    ] {
        let disk = Disk::mount(DISK_MIB);
        let config = config(&disk);
        let elsewhere = tempfile::tempdir().unwrap();
        if events > 0 {
            let log = EventLog::open(Config {
                directory: elsewhere.path().join("data"),
                barrier_interval: Duration::from_hours(1),
                ..config.clone()
            })
            .unwrap();
            for seed in 0..events {
                assert!(publish(&log, seed));
            }
            if closed {
                log.close().unwrap();
            }
            copy(&elsewhere.path().join("data"), &config.directory);
        }
        let filler = disk.path().join("filler");
        fill_up(&filler);
        let error = EventLog::open(config.clone()).unwrap_err();
        let OpenErrorKind::NoSpace {
            ref directory,
            needed,
            free,
            ..
        } = error.kind
        else {
            panic!("{what}: {error}")
        };
        assert_eq!(*directory, config.directory, "{what}");
        assert!(free < needed && needed <= 24 * MIB, "{what}: {error}");
        let text = error.to_string();
        assert!(text.contains(&needed.to_string()), "{what}: {text}");
        disk.resize((used(&disk) + needed).div_ceil(MIB));
        let log = EventLog::open(config).unwrap();
        assert_eq!(log.end(), Offset::new(events), "{what}");
        assert_there(&log, 0, events);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
