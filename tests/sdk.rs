//! Foreign SDKs against the real server: as clients of its API, and as receivers of its webhooks.
//!
//! The programs are in `conformance/`, the SDKs in `target/conformance/`, where `tests/run` puts
//! them, unmodified.
//!
//! **Invariant:** what is signed is verified by code that shares nothing with ours, over the bytes
//! that arrived.
//! **Next:** `crash.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::process::Process;
use crate::harness::server::Server;
use crate::harness::sink::{Delivery, Sink};
use crate::harness::{can_run, corpus, root, shared};

fn conformance() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("conformance")
}

/// A Python with one major version of the `svix` SDK, and `standardwebhooks`.
fn python(major: u8) -> PathBuf {
    conformance().join(format!("svix{major}/bin/python"))
}

fn script(name: &str) -> PathBuf {
    root().join("tests/conformance").join(name)
}

fn present(path: &Path) -> Result<(), String> {
    if path.exists() {
        Ok(())
    } else {
        Err(format!("no {}", path.display()))
    }
}

/// Runs a program to its successful end.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let ended = Process::run(command);
    let output = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(0), "{command:?}:\n{output}");
    ended.stdout
}

fn basic_flow(major: u8) {
    let python = python(major);
    let what = format!("the svix {major}.x SDK as a client");
    if !can_run(&what, present(&python)) {
        return;
    }
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let sink = Sink::start();
    let url = format!("http://{}", server.address);
    let mut command = Command::new(python);
    command
        .arg(script("svix_flow.py"))
        .args([&url, &server.token, &sink.url()]);
    let said = succeed(&mut command);
    assert!(
        said.contains(&format!("svix {major}.")),
        "another version ran: {said}"
    );
    assert!(said.ends_with("all steps passed\n"), "{said}");
    server.stop();
}

#[test]
fn the_svix_2_sdk_goes_through_its_basic_flow() {
    basic_flow(2);
}

#[test]
fn the_svix_1_sdk_goes_through_its_basic_flow() {
    basic_flow(1);
}

/// Polls with every kind of cursor, and a stream.
fn poll_flow(major: u8) {
    let python = python(major);
    let sse = conformance().join(format!("svix{major}/lib"));
    let what = format!("the svix {major}.x SDK and sseclient-py, asking");
    let ready = present(&python).and_then(|()| has_sse_client(&sse));
    if !can_run(&what, ready) {
        return;
    }
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let url = format!("http://{}", server.address);
    let mut command = Command::new(python);
    command
        .arg(script("poll_flow.py"))
        .args([&url, &server.token]);
    let said = succeed(&mut command);
    assert!(said.contains(&format!("svix {major}.")), "{said}");
    assert!(said.ends_with("all steps passed\n"), "{said}");
    server.stop();
}

/// Set up before there was this client, the SDKs are there without it.
fn has_sse_client(lib: &Path) -> Result<(), String> {
    let versions = std::fs::read_dir(lib).map_err(|error| error.to_string())?;
    let mut packages = versions.map(|entry| entry.unwrap().path().join("site-packages/sseclient"));
    match packages.find(|package| package.exists()) {
        Some(_) => Ok(()),
        None => Err(format!("no sseclient in {}", lib.display())),
    }
}

#[test]
fn the_svix_2_sdk_polls_and_an_sse_client_follows() {
    poll_flow(2);
}

#[test]
fn the_svix_1_sdk_polls_and_an_sse_client_follows() {
    poll_flow(1);
}

/// Publishes the corpus, rotates the secret in the middle, and returns what arrived with the
/// secrets, as the verifying programs read it.
fn deliver_corpus() -> (Vec<Delivery>, Value) {
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let sink = Sink::start();
    let mut api = server.api();
    api.create_application("corpus");
    let (endpoint, old) = api.create_endpoint("corpus", &sink.url());
    let events = corpus();
    let mut published = BTreeMap::new();
    let half = events.len() / 2;
    for event in &events[..half] {
        published.insert(api.accept("corpus", &event.line), event.payload.as_bytes());
    }
    sink.wait("first half", |deliveries| {
        (deliveries.len() == half).then_some(())
    });
    let path = format!("/app/corpus/endpoint/{endpoint}/secret");
    api.json("POST", &format!("{path}/rotate"), &json!({}));
    let new = api.json("GET", &path, &Value::Null)["key"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(new, old);
    for event in &events[half..] {
        published.insert(api.accept("corpus", &event.line), event.payload.as_bytes());
    }
    sink.wait("second half", |deliveries| {
        (deliveries.len() == events.len()).then_some(())
    });

    let deliveries = sink.deliveries();
    for delivery in &deliveries {
        let payload = published.remove(&delivery.id).expect("each event once");
        assert!(
            delivery.message.body == payload,
            "{}: other bytes arrived",
            delivery.id
        );
    }
    assert!(published.is_empty());
    let cases = deliveries.iter().enumerate().map(|(index, delivery)| {
        let mut case = delivery.to_json();
        // Of the second half both must verify: the old secret is in its grace period.
        case["secrets"] = if index < half {
            json!([old])
        } else {
            json!([old, new])
        };
        case["strangers"] = if index < half {
            json!([new])
        } else {
            json!([])
        };
        case
    });
    let cases = cases.collect();
    (deliveries, cases)
}

#[test]
fn payloads_arrive_byte_for_byte_with_both_families_of_headers() {
    let _machine = shared();
    let (deliveries, _) = deliver_corpus();
    for Delivery { message, .. } in deliveries {
        for name in ["id", "timestamp", "signature"] {
            let ours = message.header(&format!("webhook-{name}"));
            assert!(ours.is_some(), "no webhook-{name}");
            assert_eq!(ours, message.header(&format!("svix-{name}")));
        }
        assert_eq!(message.header("content-type"), Some("application/json"));
        assert_eq!(message.first, "POST /hook HTTP/1.1");
    }
}

#[test]
fn foreign_libraries_verify_what_arrives() {
    let node_modules = conformance().join("node/node_modules/standardwebhooks");
    let what = "the standardwebhooks and svix libraries as receivers";
    let ready = present(&python(1))
        .and(present(&python(2)))
        .and(present(&node_modules));
    if !can_run(what, ready) {
        return;
    }
    let _machine = shared();
    let (deliveries, cases) = deliver_corpus();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("deliveries.json");
    std::fs::write(&file, cases.to_string()).unwrap();
    let node = Command::new("node");
    for mut command in [Command::new(python(1)), Command::new(python(2)), node] {
        let name = if command.get_program() == "node" {
            command.env("HOOKLOG_NODE_MODULES", conformance().join("node"));
            "standardwebhooks_verify.mjs"
        } else {
            "standardwebhooks_verify.py"
        };
        let said = succeed(command.arg(script(name)).arg(&file));
        assert_eq!(said, format!("verified {} deliveries\n", deliveries.len()));
    }
}
