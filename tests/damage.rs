//! Damaged data directories, a full disk, and a second process on the same directory.
//!
//! **Invariant:** a start either serves every acked event (but for one, see `publish_uncounted`) or
//! ends with exit code 1 and one line that names the directory; nothing panics, and nothing acked is
//! missing without a word.
//! **Next:** `damage/directory.rs`, `damage/disk.rs`, then `full_disk.rs`.

mod directory;
pub(crate) mod disk;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use self::directory::{Damage, copy, damages};
use self::disk::Disk;
use crate::harness::api::{Api, Shown};
use crate::harness::process::Ended;
use crate::harness::server::{Server, Setup, hooklog};
use crate::harness::sink::Sink;
use crate::harness::{can_run, corpus, note, number, shared, wait_for};

/// A data directory that the real binary wrote, and what it acked.
struct Written {
    scratch: tempfile::TempDir,
    acked: BTreeMap<String, Shown>,
}

/// Events of the corpus that are published: some batches, and below what the applier takes at once,
/// so that a kill leaves them in the journal alone.
const EVENTS: usize = 60;

fn publish(api: &mut Api, count: usize) -> BTreeMap<String, Shown> {
    let mut acked = BTreeMap::new();
    for event in corpus().into_iter().take(count) {
        let id = api.accept("damage", &event.line);
        let line: serde_json::Value = serde_json::from_str(&event.line).unwrap();
        let event_type = line["eventType"].as_str().unwrap().to_owned();
        acked.insert(
            id,
            Shown {
                event_type,
                payload: event.payload,
            },
        );
    }
    acked
}

/// One more event, which may be lost to damage: a frame of the journal is proved durable by the
/// next one, which is written a moment after the ack. If a crash comes within that moment and the
/// very frame is damaged, it cannot be told from one that was torn before its ack.
fn publish_uncounted(api: &mut Api) {
    api.accept("damage", r#"{"eventType":"damage.last","payload":{}}"#);
}

/// Everything is in sled, and then some more only in the journal: as it is found after a crash of
/// a server that had been restarted before.
fn written_then_killed() -> Written {
    let scratch = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("damage");
    api.create_endpoint("damage", &sink.url());
    let mut acked = publish(&mut api, EVENTS);
    server.stop();
    let mut server = Server::start(scratch.path());
    acked.extend(publish(&mut server.api(), EVENTS));
    publish_uncounted(&mut server.api());
    server.process.kill();
    Written { scratch, acked }
}

/// The first run was killed at once: sled may hold nothing yet.
fn killed_at_once() -> Written {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("damage");
    let acked = publish(&mut api, EVENTS);
    publish_uncounted(&mut api);
    server.process.kill();
    Written { scratch, acked }
}

/// A clean end: sled holds all.
fn stopped() -> Written {
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("damage");
    let acked = publish(&mut api, EVENTS);
    server.stop();
    Written { scratch, acked }
}

/// Starts on a directory and holds it to the promise; returns what happened in a few words, or what
/// is wrong.
fn judge(directory: &Path, acked: &BTreeMap<String, Shown>) -> Result<&'static str, String> {
    match Setup::new(directory).try_start() {
        Ok(server) => {
            let shown = server.api().events("damage");
            no_panic(&server.process.stderr())?;
            // A reading that fails says so; an event that is not there does not.
            let shown = match shown {
                Ok(shown) => shown,
                Err(answer) if answer.contains("server_error") => {
                    return Ok("serves with an error");
                }
                Err(answer) => return Err(format!("started, but: {answer}")),
            };
            let missing = acked
                .iter()
                .filter(|(id, event)| shown.get(*id) != Some(event))
                .count();
            if missing > 0 {
                return Err(format!(
                    "started, but {missing} of {} events are missing or changed",
                    acked.len()
                ));
            }
            Ok("serves all")
        }
        Err(ended) => {
            refused(directory, &ended)?;
            Ok("refused")
        }
    }
}

/// Exit code 1, and one line that says where.
fn refused(directory: &Path, ended: &Ended) -> Result<(), String> {
    no_panic(&ended.stderr)?;
    let said = ended
        .stderr
        .lines()
        .rfind(|line| line.starts_with("error: "));
    let names = said.is_some_and(|line| line.contains(directory.to_str().unwrap()));
    if ended.code != Some(1) || !names {
        return Err(format!(
            "ended with {:?}, saying: {}",
            ended.code, ended.stderr
        ));
    }
    Ok(())
}

/// sled may panic inside, where it is caught; we never do.
fn no_panic(stderr: &str) -> Result<(), String> {
    let mut panics = stderr.lines().filter(|line| line.contains("panicked at"));
    match panics.find(|line| !line.contains("/sled-0.34")) {
        Some(line) => Err(format!("a panic of ours: {line}")),
        None => Ok(()),
    }
}

/// Damages copies of a directory in every way, one at a time.
#[track_caller]
fn damage_everything(name: &str, written: &Written) {
    let _machine = shared();
    let seed = number("HOOKLOG_TEST_SEED", 1);
    let flips = number("HOOKLOG_TEST_ROUNDS", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut wrong = Vec::new();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for Damage { what, apply } in damages(written.scratch.path(), flips, &mut random) {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("data");
        copy(written.scratch.path(), &directory);
        apply(&directory);
        match judge(&directory, &written.acked) {
            Ok(outcome) => {
                note(&format!("{name}: {what}: {outcome}"));
                *outcomes.entry(outcome).or_default() += 1;
            }
            Err(reason) => wrong.push(format!("{what}: {reason}")),
        }
    }
    note(&format!("{name}, HOOKLOG_TEST_SEED={seed}: {outcomes:?}"));
    assert!(
        wrong.is_empty(),
        "{name}, HOOKLOG_TEST_SEED={seed}:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn damage_after_a_crash_is_healed_or_told() {
    damage_everything("killed after a restart", &written_then_killed());
}

#[test]
fn damage_after_a_crash_of_the_first_run_is_healed_or_told() {
    damage_everything("killed at once", &killed_at_once());
}

#[test]
fn damage_after_a_clean_stop_is_healed_or_told() {
    damage_everything("stopped", &stopped());
}

#[test]
fn an_undamaged_copy_serves_all() {
    let _machine = shared();
    for written in [written_then_killed(), killed_at_once(), stopped()] {
        assert_eq!(
            judge(written.scratch.path(), &written.acked),
            Ok("serves all")
        );
    }
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("damage");
    let mut acked = publish(&mut api, 3);
    let ended = Setup::new(scratch.path()).try_start().unwrap_err();
    refused(scratch.path(), &ended).unwrap();
    assert!(
        ended.stderr.contains("in use by another process"),
        "{}",
        ended.stderr
    );
    acked.extend(publish(&mut api, 3));
    assert_eq!(api.events("damage").unwrap(), acked);
    // With the first one gone the second is welcome.
    server.stop();
    assert_eq!(judge(scratch.path(), &acked), Ok("serves all"));
}

#[test]
fn a_directory_that_is_none_is_refused() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let ended = Setup::new(&file).try_start().unwrap_err();
    refused(&file, &ended).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a directory");
}

/// As small as two segments of the journal and three of sled's allow, with some room to fill.
const DISK_MIB: u64 = 96;
const LARGER_DISK_MIB: u64 = 320;

#[test]
fn a_full_disk_loses_nothing_and_space_heals_it() {
    if !can_run("a full disk", Disk::can_mount()) {
        return;
    }
    let _machine = shared();
    let disk = Disk::mount(DISK_MIB);
    let directory = disk.path().join("data");
    let mut server = Server::start(&directory);
    let mut api = server.api();
    api.create_application("damage");

    let mut random = fastrand::Rng::with_seed(number("HOOKLOG_TEST_SEED", 1));
    let mut acked = BTreeMap::new();
    let refusal = loop {
        let (body, event) = incompressible(&mut random);
        match api.publish("damage", &body).unwrap() {
            (202, id) => acked.insert(id, event),
            (status, answer) => break (status, answer),
        };
        assert!(acked.len() < 1000, "the disk is not full after 1000 MiB");
    };
    note(&format!("{} acked, then {refusal:?}", acked.len()));
    assert_eq!(refusal.0, 503, "{refusal:?}");
    assert!(refusal.1.contains("the disk is full"), "{refusal:?}");
    // It only takes no more messages, and so does the next one.
    let health = api.call("GET", "/health", b"").unwrap();
    assert_eq!(health.status(), 200, "{}", health.text());
    server.process.terminate();
    let ended = server.process.wait();
    no_panic(&ended.stderr).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(judge(&directory, &acked), Ok("serves all"));

    // Others leave no space at all: it says why it cannot start.
    let filler = disk.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    assert_eq!(judge(&directory, &acked), Ok("refused"));

    disk.resize(LARGER_DISK_MIB);
    let server = Server::start(&directory);
    let mut api = server.api();
    let shown = api.events("damage").unwrap();
    for (id, event) in &acked {
        assert!(shown.get(id) == Some(event), "{id} is missing or changed");
    }
    let (body, event) = incompressible(&mut random);
    acked.insert(api.accept("damage", &body), event);
    let health = wait_for("health", || api.call("GET", "/health", b"").ok());
    assert_eq!(health.status(), 200, "{}", health.text());
    server.stop();
    assert_eq!(judge(&directory, &acked), Ok("serves all"));
}

/// About a MiB that no compression shrinks much.
fn incompressible(random: &mut fastrand::Rng) -> (String, Shown) {
    let text: String = (0..1 << 20).map(|_| random.alphanumeric()).collect();
    let payload = format!(r#"{{"text":"{text}"}}"#);
    let body = format!(r#"{{"eventType":"damage.fill","payload":{payload}}}"#);
    (
        body,
        Shown {
            event_type: "damage.fill".to_owned(),
            payload,
        },
    )
}

#[test]
fn a_token_needs_no_open_directory() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let directory = scratch.path().to_str().unwrap();
    let mut command = hooklog(&["token", "--data-dir", directory]);
    let ended = crate::harness::process::Process::run(&mut command);
    assert_eq!(
        ended.code,
        Some(0),
        "while the server holds the lock: {}",
        ended.stderr
    );
    server.stop();
}
