//! Durability as the kernel saw it: the real server under strace.
//!
//! A process that is killed loses nothing that it wrote, so `crash.rs` cannot notice a missing
//! fdatasync. This can: it reads the order of system calls.
//!
//! **Invariant:** between an event's last write to the journal and its 202 there is an fdatasync of
//! that file that returned 0; a segment is written anew only after such an fdatasync of sled's file.
//! **Next:** `syscalls/trace.rs`, then `damage.rs`.

mod trace;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use self::trace::Trace;
use crate::harness::server::{Server, Setup, segment_bytes};
use crate::harness::sink::Sink;
use crate::harness::{can_run, note, shared};

/// What writes and what syncs.
const CALLS: &str = "trace=pwrite64,pwritev,write,writev,sendto,sendmsg,fdatasync,fsync";

fn strace_works() -> Result<(), String> {
    let mut command = Command::new("strace");
    let output = command.args(["-f", "-o", "/dev/null", "true"]).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; ")),
        Err(error) => Err(format!("strace: {error}")),
    }
}

/// A server whose calls go to a file. `-y` names the file of each descriptor, `-s` shows enough of
/// what is written to find an event in it.
fn start(directory: &Path, output: &Path, options: &[&str]) -> Server {
    let arguments = [
        "strace", "-f", "-ttt", "-y", "-s", "4096", "-e", CALLS, "-o",
    ];
    let wrapper = arguments.iter().map(OsString::from).chain([output.into()]);
    Setup::new(directory).under(wrapper).with(options).start()
}

/// Ends the server, so that the trace is complete.
fn stop(mut server: Server) {
    server.process.terminate();
    server.process.wait();
}

fn read(path: &Path) -> Trace {
    Trace::parse(&std::fs::read_to_string(path).unwrap())
}

#[test]
fn every_202_follows_an_fdatasync_of_the_journal() {
    if !can_run(
        "the order of fdatasync and 202 under strace",
        strace_works(),
    ) {
        return;
    }
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let (directory, output) = (scratch.path().join("data"), scratch.path().join("trace"));
    let server = start(&directory, &output, &[]);
    let sink = Sink::start();
    let mut api = server.api();
    api.create_application("proof");
    api.create_endpoint("proof", &sink.url());
    let markers: Vec<String> = (0..20)
        .map(|number| format!("marker-{number:04}-end"))
        .collect();
    for marker in &markers {
        let body = format!(r#"{{"eventType":"proof.sync","payload":{{"is":"{marker}"}}}}"#);
        api.accept("proof", &body);
    }
    sink.wait("deliveries", |deliveries| {
        (deliveries.len() == markers.len()).then_some(())
    });
    stop(server);
    read(&output).check_acks(&markers).unwrap();
}

/// The mode whose name says that a 202 does not survive power loss by itself; and the proof that the
/// one above can fail.
#[test]
fn process_safe_acks_before_it_syncs_and_syncs_soon() {
    if !can_run("a 202 before its sync under strace", strace_works()) {
        return;
    }
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let (directory, output) = (scratch.path().join("data"), scratch.path().join("trace"));
    let options = ["--durability", "process-safe", "--sync-interval", "10ms"];
    let server = start(&directory, &output, &options);
    let mut api = server.api();
    api.create_application("proof");
    let markers: Vec<String> = (0..50)
        .map(|number| format!("marker-{number:04}-end"))
        .collect();
    for marker in &markers {
        let body = format!(r#"{{"eventType":"proof.sync","payload":{{"is":"{marker}"}}}}"#);
        api.accept("proof", &body);
    }
    stop(server);
    let trace = read(&output);
    let synced_first = |marker: &&String| trace.check_acks(&[(*marker).clone()]).is_ok();
    let early = markers.iter().filter(synced_first).count();
    assert!(
        early < markers.len() / 2,
        "{early} were synced before their 202"
    );
    trace.check_synced_at_last(&markers).unwrap();
}

#[test]
fn no_segment_is_recycled_before_sled_is_synced() {
    if !can_run(
        "the recycling of journal segments under strace",
        strace_works(),
    ) {
        return;
    }
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let (directory, output) = (scratch.path().join("data"), scratch.path().join("trace"));
    let server = start(&directory, &output, &[]);
    let mut api = server.api();
    api.create_application("proof");
    let text = "abcdefgh".repeat(50_000);
    let body = format!(r#"{{"eventType":"proof.recycle","payload":{{"text":"{text}"}}}}"#);
    // Some times around: at first new segments are made, because sled is not synced yet.
    let count = 14 * segment_bytes(&directory) / u64::try_from(body.len()).unwrap();
    for _ in 0..count {
        api.accept("proof", &body);
    }
    stop(server);
    let recycled = read(&output).check_recycling(&[]).unwrap();
    note(&format!("{recycled} segments recycled"));
    assert!(
        recycled >= 2,
        "only {recycled} segments were recycled: this proved nothing"
    );

    // A start writes over segments that an earlier process filled.
    let output = scratch.path().join("trace-of-the-restart");
    let used = segments(&directory);
    let server = start(&directory, &output, &[]);
    let shown = server
        .api()
        .list("proof", "limit=250&with_content=false")
        .unwrap();
    assert_eq!(u64::try_from(shown.len()).unwrap(), count);
    stop(server);
    let recycled = read(&output).check_recycling(&used).unwrap();
    assert!(
        recycled >= 1,
        "the restart wrote over no segment: this proved nothing"
    );
}

fn segments(directory: &Path) -> Vec<String> {
    let entries = directory.join("journal").read_dir().unwrap();
    entries
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .collect()
}
