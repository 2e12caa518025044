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
use crate::harness::server::{Server, Setup};
use crate::harness::sink::{Delivery, Sink};
use crate::harness::{can_run, corpus, corpus_path, root, shared};

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

/// The Node that the SDKs ask for, beside them.
fn node() -> PathBuf {
    conformance().join("node/node_modules/.bin/node")
}

/// Whether a package of an interpreter's environment is there: one that was set up before there was
/// the package has the others without it.
fn has(interpreter: &Path, package: &str) -> Result<(), String> {
    present(interpreter)?;
    if interpreter == node() {
        return present(&conformance().join("node/node_modules").join(package));
    }
    let environment = interpreter.parent().and_then(Path::parent).unwrap();
    let lib = environment.join("lib");
    let versions = std::fs::read_dir(&lib).map_err(|error| error.to_string())?;
    let mut packages =
        versions.map(|entry| entry.unwrap().path().join("site-packages").join(package));
    match packages.find(|package| package.exists()) {
        Some(_) => Ok(()),
        None => Err(format!("no {package} in {}", lib.display())),
    }
}

/// Runs a program of `conformance/` against a server and a sink of its own: with the server's URL, a
/// token, the sink's URL, and `more`. It says which version of `package` it ran, and ends well.
fn flow(name: &str, interpreter: &Path, package: &str, version: &str, more: &str) {
    let what = format!("{name} with {package} {version}");
    if !can_run(&what, has(interpreter, package)) {
        return;
    }
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    // What fails is given up soon.
    let server = Setup::new(scratch.path()).retry_schedule("0s,20ms,50ms");
    let server = server.start();
    let sink = Sink::start();
    let mut command = Command::new(interpreter);
    command
        .env("HOOKLOG_NODE_MODULES", conformance().join("node"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script(name))
        .arg(format!("http://{}", server.address))
        .args([&server.token, &sink.url(), more]);
    let said = succeed(&mut command);
    let ran = format!("{} {version}", package.replace("sseclient", "sseclient-py"));
    assert!(said.contains(&ran), "{ran} did not run: {said}");
    assert!(said.ends_with("all steps passed\n"), "{said}");
    server.stop();
}

#[test]
fn the_svix_2_sdk_of_python_goes_through_all_its_methods() {
    flow("svix_flow.py", &python(2), "svix", "2.", "sync");
}

#[test]
fn the_svix_2_sdk_of_python_does_so_asynchronously() {
    flow("svix_flow.py", &python(2), "svix", "2.", "async");
}

#[test]
fn the_svix_1_sdk_of_python_goes_through_all_its_methods() {
    flow("svix_flow.py", &python(1), "svix", "1.", "sync");
}

#[test]
fn the_svix_1_sdk_of_python_does_so_asynchronously() {
    flow("svix_flow.py", &python(1), "svix", "1.", "async");
}

#[test]
fn the_svix_sdk_of_node_goes_through_all_its_methods_and_the_corpus() {
    let corpus = corpus_path();
    flow(
        "svix_flow.mjs",
        &node(),
        "svix",
        "2.",
        corpus.to_str().unwrap(),
    );
}

#[test]
fn the_svix_2_sdk_polls_and_an_sse_client_follows() {
    flow("poll_flow.py", &python(2), "sseclient", "1.", "");
}

#[test]
fn the_svix_1_sdk_polls_and_an_sse_client_follows() {
    flow("poll_flow.py", &python(1), "sseclient", "1.", "");
}

#[test]
fn an_sse_client_of_node_comes_again_where_it_broke_off() {
    flow("stream_flow.mjs", &node(), "eventsource", "5.", "");
}

#[test]
fn the_cloudevents_sdk_of_python_sends_and_receives() {
    let corpus = corpus_path();
    let corpus = corpus.to_str().unwrap();
    flow(
        "cloudevents_flow.py",
        &python(2),
        "cloudevents",
        "2.",
        corpus,
    );
}

#[test]
fn the_cloudevents_sdk_of_node_sends_and_receives() {
    let corpus = corpus_path();
    let corpus = corpus.to_str().unwrap();
    flow(
        "cloudevents_flow.mjs",
        &node(),
        "cloudevents",
        "10.",
        corpus,
    );
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
    let what = "the standardwebhooks and svix libraries as receivers";
    let ready = present(&python(1))
        .and(present(&python(2)))
        .and(has(&node(), "standardwebhooks"));
    if !can_run(what, ready) {
        return;
    }
    let _machine = shared();
    let (deliveries, cases) = deliver_corpus();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("deliveries.json");
    std::fs::write(&file, cases.to_string()).unwrap();
    let verifier = "standardwebhooks_verify.py";
    for (interpreter, name) in [
        (python(1), verifier),
        (python(2), verifier),
        (node(), "standardwebhooks_verify.mjs"),
    ] {
        let mut command = Command::new(interpreter);
        command.env("HOOKLOG_NODE_MODULES", conformance().join("node"));
        let said = succeed(command.arg(script(name)).arg(&file));
        assert_eq!(said, format!("verified {} deliveries\n", deliveries.len()));
    }
}
