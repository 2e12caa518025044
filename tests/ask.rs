//! Asking instead of being told, against the real binary: what waiting costs, and a `tail` that
//! outlives the server.
//!
//! **Invariant:** costs are read off the kernel's counters of the process, not off our own.
//! **Next:** `crash.rs`.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::http::Message;
use crate::harness::process::Process;
use crate::harness::server::{Server, Setup, hooklog};
use crate::harness::{PATIENCE, alone, note, pause, shared, wait_for};

/// Connections that wait at once: both ends have to fit into the usual 1,024 files of a process.
const WAITING: usize = 400;
/// Most memory of one that waits, its connection included, in a build without optimisation.
const WAITER_KIB_MAX: u64 = 48;

/// A number of a file that the kernel keeps for a process, by the start of its line.
fn counter(process: &Process, file: &str, line: &str) -> u64 {
    let path = format!("/proc/{}/{file}", process.id());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|text| text.strip_prefix(line));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// Bytes that were asked of files: by `read` and the like, cached or not. Sockets count elsewhere.
fn bytes_read(server: &Server) -> u64 {
    counter(&server.process, "io", "rchar:")
}

fn resident_kib(server: &Server) -> u64 {
    counter(&server.process, "status", "VmRSS:")
}

/// Waits until the server has nothing to do any more.
fn settle(server: &Server) {
    let ticks = || {
        let path = format!("/proc/{}/stat", server.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let fields: Vec<_> = text.rsplit(')').next().unwrap().split(' ').collect();
        fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
    };
    let mut seen = (ticks(), Instant::now());
    wait_for("end of the work", || {
        let now = ticks();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        (seen.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
}

#[test]
fn who_waits_costs_neither_a_read_nor_a_thread_and_little_memory() {
    let _machine = alone();
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("a");
    api.create_application("b");
    let made = api.accept("a", r#"{"eventType":"x","payload":{}}"#);
    let place = api.json("GET", "/app/a/poller/s", &Value::Null)["iterator"].clone();
    let path = format!(
        "/api/v1/app/a/poller/s?iterator={}",
        place.as_str().unwrap()
    );
    let request = |more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n{more}\r\n",
            server.token
        )
    };
    settle(&server);
    let before = (bytes_read(&server), resident_kib(&server));
    let threads = counter(&server.process, "status", "Threads:");
    let waiting = request("prefer: wait=45\r\n");
    let mut connections = Vec::new();
    for _ in 0..WAITING {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(waiting.as_bytes()).unwrap();
        connections.push(BufReader::new(stream));
    }
    settle(&server);
    // Time itself is what costs a waiter that would look again and again.
    pause(Duration::from_secs(1));
    let kib = resident_kib(&server).saturating_sub(before.1);
    let each = kib * 1024 / u64::try_from(WAITING).unwrap();
    note(&format!(
        "{WAITING} waiting polls: {kib} KiB, {each} bytes each"
    ));
    assert!(each <= WAITER_KIB_MAX * 1024, "{each} bytes each");
    let now = counter(&server.process, "status", "Threads:");
    assert!(now <= threads, "{now} threads instead of {threads}");

    // Who asks again and has it all already costs no read either.
    let mut stream = BufReader::new(TcpStream::connect(server.address).unwrap());
    let mut ask = |more: &str| {
        let request = request(more);
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        Message::read(&mut stream).unwrap().unwrap()
    };
    let tag = ask("").header("etag").unwrap().to_owned();
    for _ in 0..50 {
        let same = ask(&format!("if-none-match: {tag}\r\n"));
        assert_eq!((same.status(), same.body.len()), (304, 0));
    }
    assert_eq!(
        bytes_read(&server),
        before.0,
        "something was read of a file"
    );

    // One event answers all of them, and that of another application none.
    api.accept("b", r#"{"eventType":"x","payload":{}}"#);
    let next = api.accept("a", r#"{"eventType":"x","payload":{}}"#);
    let started = Instant::now();
    for connection in &mut connections {
        let answer = Message::read(connection).unwrap().unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.header("preference-applied"), Some("wait=45"));
        assert_eq!(body["data"][0]["id"], json!(next));
        assert_eq!(body["data"].as_array().unwrap().len(), 1);
    }
    note(&format!("all answered within {:?}", started.elapsed()));
    assert_ne!(made, next);
    server.stop();
}

fn tail(server: &Server, directory: &Path, more: &[&str]) -> Process {
    let url = format!("http://{}", server.address);
    let mut command = hooklog(&["tail", "--app", "a", "--server", &url, "--data-dir"]);
    Process::spawn(command.arg(directory).args(more))
}

#[test]
fn a_tail_prints_each_event_once_though_the_server_was_killed() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let mut server = Server::start(scratch.path());
    let address = server.address;
    let mut api = server.api();
    api.create_application("a");
    let body = |number: u32| json!({ "eventType": "x", "payload": { "n": number } }).to_string();
    let first = api.accept("a", &body(1));
    let all = tail(&server, scratch.path(), &["--from-start"]);
    let payloads = tail(
        &server,
        scratch.path(),
        &["--last-event-id", &first, "--json"],
    );
    let second = api.accept("a", "{\"eventType\":\"y\",\"payload\":{\n \"n\": 2}}");
    wait_for("two lines", || {
        (all.stdout().lines().count() == 2).then_some(())
    });
    // One that has never reached the server gives up.
    wait_for("the first payload", || {
        (payloads.stdout().lines().count() == 1).then_some(())
    });
    server.process.kill();
    wait_for("word of it", || {
        all.stderr().contains("coming again").then_some(())
    });
    let server = Setup::new(scratch.path()).listen(address).start();
    let third = server.api().accept("a", &body(3));
    wait_for("three lines", || {
        (all.stdout().lines().count() == 3).then_some(())
    });
    wait_for("two payloads", || {
        (payloads.stdout().lines().count() == 2).then_some(())
    });
    assert_eq!(payloads.stdout(), "{  \"n\": 2}\n{\"n\":3}\n");
    let lines = all.stdout();
    for (line, (id, rest)) in lines.lines().zip([
        (&first, "x 7 B {\"n\":1}"),
        (&second, "y 10 B {· \"n\": 2}"),
        (&third, "x 7 B {\"n\":3}"),
    ]) {
        assert!(line.ends_with(&format!("Z {id} {rest}")), "{line}");
    }
    for mut process in [all, payloads] {
        process.terminate();
        assert_eq!(process.wait().code, Some(0));
    }
    // What no further try can mend ends it.
    let url = format!("http://{address}");
    for (arguments, code, said) in [
        (&["tail", "--app", "gone", "--server", &url][..], 1, "404"),
        (
            &["tail", "--app", "a", "--server", &url, "--since", "soon"],
            1,
            "after",
        ),
        (&["tail"], 2, "--app"),
    ] {
        let ended = Process::run(hooklog(arguments).arg("--data-dir").arg(scratch.path()));
        assert_eq!(ended.code, Some(code), "{arguments:?} {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    server.stop();
}
