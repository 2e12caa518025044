//! The README's tour with the real corpus, and what the command line says when it is used wrongly.
//!
//! **Invariant:** as many verified webhooks come out as events went in, with the same bytes.
//! **Next:** `sdk.rs`.

use std::process::Command;

use serde_json::Value;

use crate::harness::process::Process;
use crate::harness::server::{Server, hooklog};
use crate::harness::{corpus, corpus_path, shared, wait_for};

/// Events of the corpus; data/README.md says where they come from.
const EVENTS: usize = 329;

/// A secret of the test's own.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn the_corpus_goes_from_publish_to_receive_verified_and_unchanged() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("received.ndjson");
    let server = Server::start(&scratch.path().join("data"));

    let mut receive = hooklog(&["receive", "--listen", "127.0.0.1:0", "--secret", SECRET]);
    let mut receive = Process::spawn(receive.arg("--output").arg(&output));
    let (_, address) = receive.line("listening on ").unwrap();
    let mut api = server.api();
    api.create_application("tour");
    let endpoint = serde_json::json!({"url": address, "secret": SECRET});
    api.json("POST", "/app/tour/endpoint", &endpoint);

    let url = format!("http://{}", server.address);
    let mut publish = hooklog(&["publish", "--app", "tour", "--server", &url]);
    let ended = Process::run(publish.args(["--token", &server.token]).arg(corpus_path()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = ended.stdout.lines().next().unwrap_or_default();
    assert!(
        said.starts_with(&format!("published {EVENTS} events in ")),
        "{said}"
    );

    let verified = |text: &str| {
        text.lines()
            .filter(|line| line.contains(" verified msg_"))
            .count()
    };
    wait_for("line for each event", || {
        (verified(&receive.stdout()) >= EVENTS).then_some(())
    });
    assert!(
        !receive.stdout().contains("UNVERIFIED"),
        "{}",
        receive.stdout()
    );
    receive.terminate();
    let ended = receive.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        verified(&ended.stdout),
        EVENTS,
        "each exactly once, as nothing failed"
    );

    let mut sent: Vec<String> = corpus().into_iter().map(|event| event.payload).collect();
    let lines = std::fs::read_to_string(&output).unwrap();
    let mut received: Vec<String> = lines.lines().map(body).collect();
    sent.sort();
    received.sort();
    assert_eq!(received.len(), sent.len());
    assert!(
        received == sent,
        "every payload is the one that was published, byte for byte"
    );
    server.stop();
}

fn body(line: &str) -> String {
    let received: Value = serde_json::from_str(line).unwrap();
    assert_eq!(received["verified"], true);
    received["body"].as_str().unwrap().to_owned()
}

#[test]
fn a_webhook_with_another_secret_is_refused() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(scratch.path());
    let mut receive = hooklog(&["receive", "--listen", "127.0.0.1:0", "--secret", SECRET]);
    let mut receive = Process::spawn(&mut receive);
    let (_, address) = receive.line("listening on ").unwrap();
    let mut api = server.api();
    api.create_application("tour");
    api.create_endpoint("tour", &address);
    let event = api.accept("tour", r#"{"eventType":"tour.forged","payload":{}}"#);
    wait_for("refusal", || {
        receive.stdout().contains("UNVERIFIED").then_some(())
    });
    let attempt = wait_for("attempt on record", || {
        api.attempts("tour", &event).into_iter().next()
    });
    assert_eq!(attempt["responseStatusCode"], 401);
    assert_eq!(attempt["status"], 2);
}

/// Arguments, exit code, and what stderr says.
const WRONG: &[(&[&str], i32, &str)] = &[
    (&[], 2, "Usage: hooklog"),
    (&["nonsense"], 2, "unrecognized subcommand"),
    (&["serve", "--nonsense"], 2, "unexpected argument"),
    (&["serve", "--listen", "nowhere"], 2, "invalid value"),
    (
        &["serve", "--allow-network", "127.0.0.0/99"],
        2,
        "invalid value",
    ),
    (
        &["serve", "--retry-schedule", "0s,soon"],
        2,
        "invalid value",
    ),
    (
        &["serve", "--retry-schedule", "5s"],
        1,
        "the first delay is 5s, but must be 0",
    ),
    (&["publish", "--app", "demo"], 2, "required"),
    (&["publish", "file.json"], 2, "no application"),
    (&["receive", "--secret", "whsec_short"], 1, "--secret"),
    (
        &["token", "--data-dir", "absent"],
        1,
        "no JWT secret in absent",
    ),
    (
        &["token", "--data-dir", "absent", "--config", "absent.toml"],
        1,
        "absent.toml",
    ),
    (
        &[
            "publish",
            "--app",
            "a",
            "--server",
            "http://127.0.0.1:1",
            "--token",
            "t",
            "f",
        ],
        1,
        "127.0.0.1:1",
    ),
];

#[test]
fn wrong_usage_exits_2_and_everything_else_that_fails_1() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    for (arguments, code, text) in WRONG {
        let ended = Process::run(hooklog(arguments).current_dir(scratch.path()));
        let stderr = &ended.stderr;
        assert_eq!(ended.code, Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    assert_eq!(
        scratch.path().read_dir().unwrap().count(),
        0,
        "wrong usage leaves nothing behind"
    );
}

#[test]
fn a_bad_line_is_named_and_the_others_are_published() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(&scratch.path().join("data"));
    let file = scratch.path().join("events.ndjson");
    let lines = [
        r#"{"eventType":"a.b","payload":{"n":1}}"#,
        r#"{"eventType":"a.b","payload":"#,
        r#"{"eventType":"not a name","payload":{}}"#,
        r#"{"eventType":"a.b","payload":{"n":4}}"#,
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let url = format!("http://{}", server.address);
    let publish = [
        "publish",
        "--app",
        "lines",
        "--server",
        &url,
        "--token",
        &server.token,
    ];
    let ended = Process::run(hooklog(&publish).arg(&file));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stdout.starts_with("published 2 events"),
        "{}",
        ended.stdout
    );
    for line in [2, 3] {
        assert!(
            ended.stderr.contains(&format!("events.ndjson:{line}: ")),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(server.api().events("lines").unwrap().len(), 2);
}

#[test]
fn help_and_version_are_answered_on_stdout() {
    let version = Process::run(Command::new(crate::harness::BINARY).arg("--version"));
    assert_eq!(
        (version.code, version.stdout.as_str()),
        (
            Some(0),
            concat!("hooklog ", env!("CARGO_PKG_VERSION"), "\n")
        )
    );
    for command in ["serve", "token", "publish", "receive"] {
        let ended = Process::run(&mut hooklog(&[command, "--help"]));
        assert_eq!(ended.code, Some(0));
        assert!(
            ended.stdout.contains(&format!("Usage: hooklog {command}")),
            "{}",
            ended.stdout
        );
    }
}
