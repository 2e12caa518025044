//! The description of the API, judged by programs that know nothing of it: it is valid OpenAPI 3.1,
//! and the real server does what it says, for requests that follow it and for such that do not.
//!
//! **Invariant:** no answer is a 5xx (but the 501 of routes that are not offered), and none has a
//! status, a content type or a body that the description does not say.
//! **Next:** `crash.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::process::Process;
use crate::harness::server::{Server, hooklog};
use crate::harness::{can_run, note, number, root, shared, wait_for};

fn program(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("conformance/schemathesis/bin").join(name)
}

/// Whether the programs are set up.
fn ready() -> Result<(), String> {
    for name in ["schemathesis", "openapi-spec-validator"] {
        let program = program(name);
        if !program.exists() {
            return Err(format!("no {}", program.display()));
        }
    }
    Ok(())
}

fn shown(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

/// What the requests are about: things that are there, and others to be ended. Names of variables
/// and their values.
fn prepare(api: &mut Api) -> Vec<(&'static str, String)> {
    // Nobody listens there, so there are attempts that fail.
    let nowhere = "http://127.0.0.1:9/hook";
    let application = api.json("POST", "/app", &json!({"name": "Demo", "uid": "demo"}));
    let application = shown(&application, "id");
    api.create_application("doomed");
    for name in ["invoice.paid", "doomed"] {
        let body = json!({"name": name, "description": name});
        api.json("POST", "/event-type", &body);
    }
    let endpoints = format!("/app/{application}/endpoint");
    let endpoint = api.json("POST", &endpoints, &json!({"url": nowhere, "uid": "books"}));
    let endpoint = shown(&endpoint, "id");
    let doomed = json!({"url": nowhere, "uid": "doomed", "disabled": true});
    api.json("POST", &endpoints, &doomed);
    let operational = "/operational-webhook/endpoint";
    api.json("POST", operational, &doomed);
    let operational = api.json("POST", operational, &json!({"url": nowhere}));
    let publish = |api: &mut Api, uid: &str| {
        let body = json!({"eventType": "invoice.paid", "payload": {"id": 7}, "eventId": uid});
        shown(
            &api.json("POST", &format!("/app/{application}/msg"), &body),
            "id",
        )
    };
    let message = publish(api, "invoice-7");
    for uid in ["doomed", "batch"] {
        publish(api, uid);
    }
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    let task = api.json("POST", &format!("{endpoints}/{endpoint}/recover"), &since);
    let attempts = format!("/app/{application}/attempt/msg/{message}");
    let attempt = wait_for("attempt", || {
        let page = api.json("GET", &attempts, &Value::Null);
        page["data"][0]["id"].as_str().map(str::to_owned)
    });
    vec![
        ("HOOKLOG_OPERATIONAL", shown(&operational, "id")),
        ("HOOKLOG_TASK", shown(&task, "id")),
        ("HOOKLOG_APP", application),
        ("HOOKLOG_ENDPOINT", endpoint),
        ("HOOKLOG_MESSAGE", message),
        ("HOOKLOG_ATTEMPT", attempt),
    ]
}

#[test]
fn the_server_does_what_its_description_says() {
    if !can_run("schemathesis against the description", ready()) {
        return;
    }
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let server = Server::start(&data);
    let document = server.api().call("GET", "/openapi.json", b"").unwrap();
    let file = scratch.path().join("openapi.json");
    std::fs::write(&file, &document.body).unwrap();
    let judged = Process::run(Command::new(program("openapi-spec-validator")).arg(&file));
    let said = format!("{}{}", judged.stdout, judged.stderr);
    assert_eq!(judged.code, Some(0), "{said}");

    let values = prepare(&mut server.api());
    // Of another lifetime, or it would be the same token.
    let mut to_end = hooklog(&["token", "--expires", "1h", "--data-dir"]);
    let to_end = Process::run(to_end.arg(&data)).stdout;
    // A few requests of each kind; where time is given, more of them, and every value at its limits.
    let rounds = number("HOOKLOG_TEST_ROUNDS", 1);
    let phases = if rounds > 1 {
        "examples,coverage,fuzzing"
    } else {
        "examples,fuzzing"
    };
    let conformance = root().join("tests/conformance");
    let mut command = Command::new(program("schemathesis"));
    command
        .arg("--config-file")
        .arg(conformance.join("schemathesis.toml"))
        .args(["run", "--no-color", "--continue-on-failure"])
        .args(["--phases", phases, "--seed", "7"])
        .args(["--max-examples", &(3 * rounds).to_string()])
        .arg(format!("http://{}/api/v1/openapi.json", server.address))
        .env("HOOKLOG_TOKEN", &server.token)
        .env("HOOKLOG_TOKEN_TO_END", to_end.trim())
        .envs(values)
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONPATH", &conformance)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(scratch.path());
    // Not in the time that all else must do with: it is as long as there are requests, each of which
    // has its own.
    let judged = command.args(["--request-timeout", "20"]).output().unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    note(&said);
    assert!(
        judged.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    let tested = said.split("Tested: ").nth(1).expect(&said);
    let tested: u32 = tested.split_whitespace().next().unwrap().parse().unwrap();
    assert!(tested > 90, "only {tested} operations were tried");
    server.stop();
}
