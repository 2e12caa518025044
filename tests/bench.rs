//! `hooklog bench`, run for real and briefly: every kind of work gives figures, a server that is there can
//! be measured, and nothing is left behind however it ends.
//!
//! **Invariant:** figures of a debug build are looked at for their shape, never for their size.
//! **Next:** `tidy.rs`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::Process;
use crate::harness::server::{Server, Setup, hooklog};
use crate::harness::{pause, shared, wait_for};

/// Everything as small as it can be.
const SMALL: &[&str] = &[
    "--rounds=1",
    "--connections=4",
    "--backlog=5000",
    "--subscriptions=100",
    "--window=2MiB",
    "--rate=200",
    "--endpoints=10",
];

fn command(scratch: &Path, arguments: &[&str]) -> Command {
    let mut command = hooklog(&["bench", "--directory", scratch.to_str().unwrap()]);
    command.args(SMALL).args(arguments);
    command
}

/// Runs it to its end; the report as JSON.
fn report(scratch: &Path, arguments: &[&str]) -> Value {
    let ended =
        Process::spawn(command(scratch, arguments).args(["--duration=200ms", "--json"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    for row in report["rows"].as_array().unwrap() {
        assert!(row["count"].as_u64().unwrap() > 0, "{row}");
        assert!(row["ours"].as_f64().unwrap() > 0.0, "{row}");
        if !row["ratio"].is_null() {
            let ratio = row["ratio"]["median"].as_f64().unwrap();
            assert!(ratio.is_finite() && ratio > 0.0, "{row}");
        }
    }
    assert_empty(scratch);
    report
}

fn assert_empty(scratch: &Path) {
    let left: Vec<_> = scratch.read_dir().unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn ids(report: &Value) -> Vec<&str> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap()).collect()
}

#[test]
fn throughput_and_latency_are_measured_with_their_costs() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let page = tempfile::NamedTempFile::new().unwrap();
    let page = page.path().to_str().unwrap();
    let report = report(scratch.path(), &["--only=P1,P2,P3,P5", "--html", page]);
    assert_eq!(ids(&report), ["P1", "P1", "P2", "P3", "P5", "P5"]);
    let publish = &report["rows"][0];
    assert_eq!(publish["over_time"]["ours"].as_array().unwrap().len(), 40);
    assert!(publish["latency"]["p999_ms"].as_f64().unwrap() > 0.0);
    assert!(publish["cost"]["cpu_us"].as_f64().unwrap() > 0.0);
    assert_eq!(report["build"], "debug");
    let warnings = report["warnings"].as_array().unwrap();
    assert!(warnings[0].as_str().unwrap().starts_with("debug build"));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
}

#[test]
fn what_a_server_carries_is_measured() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let report = report(scratch.path(), &["--only=P6,P7,P8,P9,P10"]);
    let expected = ["P6", "P7", "P8", "P8", "P8", "P9", "P10"];
    assert_eq!(ids(&report), expected);
    let points = report["rows"][0]["curve"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
}

#[test]
fn a_server_that_is_there_is_measured_by_its_url() {
    let _shared = shared();
    let (scratch, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Setup::new(data.path()).start();
    let url = format!("http://{}", server.address);
    let arguments = [
        "--only=p1,p3,p7",
        "--fan-out=5",
        "--url",
        &url,
        "--token",
        &server.token,
    ];
    let report = report(scratch.path(), &arguments);
    assert_eq!(ids(&report), ["P1", "P1", "P3", "P7"]);
    assert_eq!(report["rows"][0]["cost"]["cpu_us"], Value::Null);
    assert!(!report.to_string().contains(&server.token));
    assert!(!report["warnings"].to_string().contains("left behind"));
    assert_nothing_left(&server);
}

/// Neither applications nor event types: nothing was there before.
fn assert_nothing_left(server: &Server) {
    for path in ["/app", "/event-type"] {
        let listed = server.api().json("GET", path, &Value::Null);
        assert_eq!(listed["data"], serde_json::json!([]), "{path}: {listed}");
    }
}

#[test]
fn a_run_that_is_stopped_leaves_nothing_on_a_foreign_server() {
    let _shared = shared();
    let (scratch, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Setup::new(data.path()).start();
    let url = format!("http://{}", server.address);
    let arguments = ["--only=p7", "--fan-out=5", "--duration=1h", "--url", &url];
    let mut command = command(scratch.path(), &arguments);
    let mut bench = Process::spawn(command.env("HOOKLOG_TOKEN", &server.token));
    // Behind the first message all that a run makes is there.
    wait_for("message of the benchmark", || {
        let listed = server.api().json("GET", "/app", &Value::Null);
        let id = listed["data"][0]["id"].as_str()?.to_owned();
        let path = format!("/app/{id}/msg");
        let messages = server.api().json("GET", &path, &Value::Null);
        messages["data"].as_array()?.first().cloned()
    });
    bench.terminate();
    let ended = bench.wait();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("stopped by SIGTERM"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("left behind"), "{}", ended.stderr);
    assert_nothing_left(&server);
}

#[test]
fn a_run_is_held_against_a_stored_one() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let work = "disk ÷ payloads kept, 2 MiB of 512 B";
    let arguments = ["--only=P10", "--json", "--against", path];
    // What was stored, and how the run ends: as good, far worse, and other work.
    let cases = [
        (1000.0, work, Some(0), "better"),
        (0.01, work, Some(1), "worse"),
        (1.0, "other work", Some(1), "missing"),
    ];
    for (stored, work, code, verdict) in cases {
        let row = serde_json::json!({"id": "P10", "work": work, "unit": "×", "ours": stored});
        let text = serde_json::json!({ "rows": [row] }).to_string();
        std::fs::write(file.path(), text).unwrap();
        let ended = Process::spawn(&mut command(scratch.path(), &arguments)).wait();
        assert_eq!(ended.code, code, "{verdict}: {}", ended.stderr);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(report["against"]["figures"][0]["verdict"], verdict);
        let is_told = ended
            .stderr
            .contains(&format!("far behind {path}: P10 {work}"));
        assert_eq!(is_told, code == Some(1), "{}", ended.stderr);
    }
    // Before anything is measured.
    std::fs::write(file.path(), "{}").unwrap();
    let ended = Process::spawn(&mut command(scratch.path(), &arguments)).wait();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("no report of hooklog bench"),
        "{}",
        ended.stderr
    );
    assert_empty(scratch.path());
}

#[test]
fn curves_go_through_their_points() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let page = tempfile::NamedTempFile::new().unwrap();
    let page = page.path().to_str().unwrap();
    // Quantities at each point, but for those that nothing can be measured of without a backlog or a log.
    let cases = [
        (
            "--curve=connections,payload,fan-out,backlog",
            "2",
            10,
            vec![2, 2, 2, 1, 1, 2],
        ),
        (
            "--curve=subscriptions,log-size",
            "1",
            6,
            vec![1, 1, 1, 1, 1, 1],
        ),
    ];
    for (curve, points, rows, lengths) in cases {
        let arguments = [curve, "--points", points, "--html", page];
        let report = report(scratch.path(), &arguments);
        let found = report["rows"].as_array().unwrap();
        assert_eq!(found.len(), rows, "{curve}");
        let curves = found.iter().map(|row| &row["curve"]["points"]);
        let curves: Vec<usize> = curves
            .filter_map(|points| Some(points.as_array()?.len()))
            .collect();
        assert_eq!(curves, lengths, "{curve}");
        let text = std::fs::read_to_string(page).unwrap();
        assert!(text.contains("<svg"), "{curve}");
    }
}

#[test]
fn a_corpus_and_other_promises_are_measured() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let corpus = crate::harness::root().join("data/events");
    let arguments = [
        "--only=P4",
        "--durability=none",
        "--corpus",
        corpus.to_str().unwrap(),
    ];
    let report = report(scratch.path(), &arguments);
    let work = report["rows"][0]["work"].as_str().unwrap();
    assert!(work.contains("the corpus in process"), "{work}");
}

#[test]
fn a_url_that_would_tell_too_much_is_refused() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "--only=P1",
        "--token=t",
        "--url=http://me:hidden@127.0.0.1:9",
    ];
    let ended = Process::spawn(&mut command(scratch.path(), &arguments)).wait();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("no user and no password"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("hidden"), "{}", ended.stderr);
}

#[test]
fn a_signal_ends_it_and_leaves_nothing_behind() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let arguments = ["--only=P1", "--duration=1h"];
    let mut bench = Process::spawn(&mut command(scratch.path(), &arguments));
    // The first child has its directory.
    wait_for("child process", || {
        let mut below = scratch.path().read_dir().unwrap().flatten();
        below.find(|entry| entry.path().join("bench-part.stderr").exists())
    });
    bench.terminate();
    let ended = bench.wait();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("stopped by SIGTERM"),
        "{}",
        ended.stderr
    );
    assert_empty(scratch.path());
}

/// `.ci/run` sets it; a few seconds otherwise.
const SOAK_SECONDS: &str = "HOOKLOG_SOAK_SECONDS";

#[test]
fn a_soak_stays_flat() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let seconds = std::env::var(SOAK_SECONDS).ok();
    let seconds: u64 = seconds.map_or(2, |seconds| seconds.parse().unwrap());
    let mut command = hooklog(&["bench", "--json", "--connections=4", "--rate=200"]);
    command.arg("--directory").arg(scratch.path());
    command.arg(format!("--soak={seconds}s"));
    let mut bench = Process::spawn(&mut command);
    pause(Duration::from_secs(seconds));
    let ended = bench.wait();
    let report: Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    let is_flat = rows.iter().all(|row| row["target"]["met"] == true);
    assert_eq!(ended.code, Some(i32::from(!is_flat)), "{}", ended.stderr);
    assert_eq!(
        ended.stderr.contains("not flat: "),
        !is_flat,
        "{}",
        ended.stderr
    );
    for row in rows {
        let work = row["work"].as_str().unwrap();
        // In a few seconds caches still fill; latencies and rates are the machine's as much as ours.
        let is_judged =
            seconds >= 30 && !work.starts_with("publish p50") && !work.starts_with("rate");
        assert!(row["target"]["met"] == true || !is_judged, "{row}");
        assert!(
            row["count"].as_u64().unwrap() >= 200 * seconds * 9 / 10,
            "{row}"
        );
    }
    assert_empty(scratch.path());
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_under_test_ends_when_the_benchmark_is_killed() {
    let _shared = shared();
    let scratch = tempfile::tempdir().unwrap();
    let mut bench = Process::spawn(&mut command(
        scratch.path(),
        &["--only=P8", "--duration=1h"],
    ));
    let server = wait_for("server under test", || child_of(bench.id(), "serve"));
    bench.kill();
    wait_for("end of the server", || {
        let stat = std::fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
        // Gone, or dead and not reaped by whoever inherited it.
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

/// The child of a process that runs this command.
fn child_of(parent: u32, command: &str) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.find(|id: &u32| {
        let read = |name| std::fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
        let (stat, line) = (read("stat"), read("cmdline"));
        let of = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        of == Some(parent.to_string().as_str()) && line.split('\0').nth(1) == Some(command)
    })
}
