//! Operating a log with the real binary: backup of a running server, restore, check, repair, compact.
//!
//! **Invariant:** whatever is moved, saved or repaired, every event keeps its id and its payload.
//! **Next:** `tidy.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::api::Shown;
use crate::harness::process::{Ended, Process};
use crate::harness::server::{Server, hooklog};
use crate::harness::{corpus, shared, wait_for};

/// Runs a command; `{dir}` in an argument is the scratch directory.
fn run(scratch: &Path, line: &str) -> Ended {
    let directory = scratch.to_str().unwrap();
    let arguments = line.split(' ');
    let arguments: Vec<_> = arguments.map(|a| a.replace("{dir}", directory)).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Process::run(&mut hooklog(&arguments))
}

#[track_caller]
fn succeed(scratch: &Path, line: &str) -> String {
    let ended = run(scratch, line);
    assert_eq!(
        ended.code,
        Some(0),
        "{line}: {} {}",
        ended.stdout,
        ended.stderr
    );
    ended.stdout
}

#[track_caller]
fn fail(scratch: &Path, line: &str) -> Ended {
    let ended = run(scratch, line);
    assert_eq!(
        ended.code,
        Some(1),
        "{line}: {} {}",
        ended.stdout,
        ended.stderr
    );
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// All events of a directory, by a server that is started on it.
#[track_caller]
fn events(directory: &Path) -> BTreeMap<String, Shown> {
    let server = Server::start(directory);
    let events = server.api().events("shop").unwrap();
    server.stop();
    events
}

/// Backups of a server under load hold what was acked before each, and restore to one log.
#[test]
fn a_running_server_is_backed_up_and_restored() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let server = Server::start(&directory);
    server.api().create_application("shop");
    let stop = AtomicBool::new(false);
    let full = format!("--server http://{}", server.address);
    let (mut acked, mut acked_before) = (BTreeMap::new(), Vec::new());
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut api = server.api();
            let mut ids = Vec::new();
            for event in corpus().into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                ids.push((api.accept("shop", &event.line), event.payload));
            }
            ids
        });
        let mut since = String::new();
        for round in 0..3 {
            let seen = acked_before.last().map_or(0, BTreeMap::len);
            let events = wait_for("more events", || {
                let events = server.api().events("shop").ok()?;
                (events.len() > seen + 20).then_some(events)
            });
            acked_before.push(events);
            let line =
                format!("backup --data-dir {{dir}}/data {full} --to {{dir}}/{round}.hlb{since}");
            let said = succeed(scratch.path(), &line);
            assert!(said.starts_with("saved "), "{said}");
            since = format!(" --since {{dir}}/{round}.hlb");
        }
        stop.store(true, Ordering::Relaxed);
        acked.extend(publisher.join().unwrap());
    });
    // Tokens of tenants are of no use.
    let other = format!("backup --data-dir {{dir}}/data {full} --to {{dir}}/x");
    let denied = fail(scratch.path(), &format!("{other} --token {}", server.token));
    assert!(denied.stderr.contains("403"), "{}", denied.stderr);
    assert!(!scratch.path().join("x").exists() && !scratch.path().join("x.part").exists());
    let all = server.api().events("shop").unwrap();
    server.stop();

    for (round, files) in [
        "0.hlb",
        "0.hlb {dir}/1.hlb",
        "0.hlb {dir}/1.hlb {dir}/2.hlb",
    ]
    .iter()
    .enumerate()
    {
        let said = succeed(
            scratch.path(),
            &format!("restore {{dir}}/{files} --data-dir {{dir}}/r{round}"),
        );
        assert!(said.contains("1 applications"), "{said}");
        let restored = events(&scratch.path().join(format!("r{round}")));
        for (id, event) in &acked_before[round] {
            assert_eq!(restored.get(id), Some(event), "{id} was acked before");
        }
        for (id, event) in &restored {
            assert_eq!(acked.get(id), Some(&event.payload), "{id}");
            assert_eq!(all.get(id), Some(event), "{id}");
        }
    }
    let stopped = "backup --data-dir {dir}/data --to {dir}/3.hlb --since {dir}/2.hlb";
    succeed(scratch.path(), stopped);
    let chain = "restore {dir}/0.hlb {dir}/1.hlb {dir}/2.hlb {dir}/3.hlb --data-dir {dir}/all";
    succeed(scratch.path(), chain);
    assert_eq!(events(&scratch.path().join("all")), all);
}

/// A log is checked, compacted, damaged, found damaged, and repaired.
#[test]
fn a_stopped_log_is_checked_compacted_and_repaired() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let server = Server::start(&directory);
    let mut api = server.api();
    api.create_application("shop");
    for event in corpus().into_iter().take(80) {
        api.accept("shop", &event.line);
    }
    let expected = api.events("shop").unwrap();
    let in_use = fail(scratch.path(), "compact --data-dir {dir}/data");
    assert!(in_use.stderr.contains("in use"), "{}", in_use.stderr);
    let in_use = fail(scratch.path(), "check --data-dir {dir}/data");
    assert!(in_use.stderr.contains("in use"), "{}", in_use.stderr);
    server.stop();

    let said = succeed(scratch.path(), "check --data-dir {dir}/data");
    assert!(said.contains("events    0..80"), "{said}");
    assert!(said.ends_with("good: nothing is wrong\n"), "{said}");
    let said = succeed(scratch.path(), "compact --data-dir {dir}/data");
    assert!(said.starts_with("compacted "), "{said}");
    assert_eq!(events(&directory), expected);

    // One bit of the first event's batch, in each place where the file has it: the database that was
    // just compacted recovers as an empty one, and must not pass for that of an empty log.
    let database = directory.join("sled/db");
    let mut bytes = fs::read(&database).unwrap();
    let head = b"HLB1\x01\x01\x01\x00\0\0\0\0\0\0\0\0";
    let places: Vec<_> = (0..bytes.len() - head.len())
        .filter(|at| bytes[*at..].starts_with(head))
        .collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place + 80] ^= 1;
    }
    fs::write(&database, bytes).unwrap();

    let json = fail(scratch.path(), "check --data-dir {dir}/data --json");
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(report["problems_total"].as_u64() > Some(0), "{report}");
    assert!(json.stderr.contains("--repair"), "{}", json.stderr);
    let repair = "check --data-dir {dir}/data --repair {dir}/repaired";
    let said = succeed(scratch.path(), repair);
    assert!(
        said.contains("..80, ") && said.contains("repaired into"),
        "{said}"
    );
    let said = succeed(scratch.path(), "check --data-dir {dir}/repaired");
    assert!(said.contains("..80 in"), "{said}");
    let again = fail(scratch.path(), repair);
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);
}
