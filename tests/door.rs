//! The ways into the server besides plain TCP, with curl as the client: HTTPS and a Unix socket.
//!
//! **Invariant:** certificates are made for each test; curl trusts them because it is told to.
//! **Next:** `crash.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::generate_simple_self_signed;

use crate::harness::process::{Ended, Process};
use crate::harness::server::hooklog;
use crate::harness::{can_run, shared};

fn curl_is_here() -> Result<(), String> {
    let version = Command::new("curl").arg("--version").output();
    version
        .map(|_| ())
        .map_err(|error| format!("curl: {error}"))
}

/// Asks for the health, and says status and version of HTTP.
fn curl(arguments: &[&str]) -> Ended {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--output",
        "/dev/null",
    ]);
    command.args(["--write-out", "%{http_code} %{http_version}"]);
    let mut ended = Process::run(command.args(arguments));
    ended.stdout.truncate(ended.stdout.trim_end().len());
    ended
}

fn serve(directory: &Path, options: &[&str]) -> Process {
    let mut command = hooklog(&["serve", "--data-dir"]);
    command.arg(directory.join("data")).args(options);
    Process::spawn(&mut command)
}

/// A certificate for localhost and its key.
fn write_pair(directory: &Path) -> (PathBuf, PathBuf) {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn stop(mut server: Process) -> Ended {
    server.terminate();
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn curl_speaks_https() {
    if !can_run("HTTPS with curl", curl_is_here()) {
        return;
    }
    let _machine = shared();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = write_pair(directory.path());
    let (certificate, key) = (text(&certificate), text(&key));
    let options = [
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ];
    let mut server = serve(directory.path(), &options);
    let (_, address) = server.line("listening on https://").unwrap();
    let port = address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/api/v1/health");
    let here = format!("localhost:{port}:127.0.0.1");
    let here = ["--resolve", &here, &url];
    for (version, expected) in [("--http1.1", "200 1.1"), ("--http2", "200 2")] {
        let answer = curl(&[&["--cacert", certificate, version], &here[..]].concat());
        assert_eq!(answer.stdout, expected, "{}", answer.stderr);
    }
    // 60 is curl's code for a certificate that it does not trust, 35 and 56 for no TLS at all.
    assert_eq!(curl(&here).code, Some(60));
    let plain = curl(&[&format!("http://{address}/api/v1/health")]);
    assert_ne!(plain.code, Some(0), "{}", plain.stdout);
    let ended = stop(server);
    // The umask of most machines lets everybody read what a test writes.
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
}

#[test]
fn curl_speaks_over_a_unix_socket() {
    if !can_run("a Unix socket with curl", curl_is_here()) {
        return;
    }
    let _machine = shared();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hooklog.sock");
    let listen = format!("unix:{}", path.display());
    let health = [
        "--unix-socket",
        text(&path),
        "http://localhost/api/v1/health",
    ];
    let mut server = serve(directory.path(), &["--listen", &listen]);
    server.line("listening on unix:").unwrap();
    assert_eq!(curl(&health).stdout, "200 1.1");
    // The line for the first steps works as it is printed.
    let (_, line) = server.line("try: ").unwrap();
    let made = Process::run(Command::new("sh").args(["-c", &line]));
    assert!(
        made.stdout.contains("\"uid\":\"demo\""),
        "{line}: {}",
        made.stderr
    );
    // A server that is killed leaves its socket, which the next one takes over.
    server.kill();
    assert!(path.exists());
    let mut server = serve(directory.path(), &["--listen", &listen]);
    server.line("listening on unix:").unwrap();
    assert_eq!(curl(&health).stdout, "200 1.1");
    let mut second = hooklog(&["serve", "--listen", &listen, "--data-dir"]);
    let second = Process::run(second.arg(directory.path().join("other")));
    assert_eq!(second.code, Some(1));
    assert!(
        second.stderr.contains("somebody listens there"),
        "{}",
        second.stderr
    );
    assert_eq!(curl(&health).stdout, "200 1.1");
    stop(server);
    assert!(!path.exists());
}

#[test]
fn a_certificate_alone_is_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = write_pair(directory.path());
    let cases = [
        (
            vec!["--tls-cert", text(&certificate)],
            2,
            "--tls-cert needs --tls-key",
        ),
        (
            vec!["--tls-key", text(&key)],
            2,
            "--tls-key needs --tls-cert",
        ),
        (
            vec!["--tls-cert", text(&key), "--tls-key", text(&key)],
            1,
            "no certificate in PEM form in ",
        ),
    ];
    for (options, code, message) in cases {
        let options = [&["--listen", "127.0.0.1:0"], &options[..]].concat();
        let ended = serve(directory.path(), &options).wait();
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
}

#[test]
fn requests_are_logged_as_text_or_json_whatever_the_log_says() {
    if !can_run("the access log with curl", curl_is_here()) {
        return;
    }
    let _machine = shared();
    for form in ["text", "json", "off"] {
        let directory = tempfile::tempdir().unwrap();
        let options = [
            "--listen",
            "127.0.0.1:0",
            "--access-log",
            form,
            "--log",
            "error",
        ];
        let mut server = serve(directory.path(), &options);
        let (_, address) = server.line("listening on http://").unwrap();
        let url = format!("http://{address}/api/v1/app/demo?secret=1");
        curl(&[
            "--header",
            "x-request-id: mine",
            "--header",
            "authorization: Bearer secret",
            &url,
        ]);
        let log = stop(server).stderr;
        assert!(!log.contains("secret"), "{log}");
        match form {
            "text" => {
                let line = "method=GET route=\"/app/{app}\" status=401 bytes_in=0 ";
                assert!(
                    log.contains("INFO hooklog::access: request id=\"mine\" "),
                    "{log}"
                );
                assert!(log.contains(line), "{log}");
            }
            "json" => {
                let line: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
                assert_eq!(line["target"], "hooklog::access", "{log}");
                assert_eq!(line["id"], "mine", "{log}");
                assert_eq!(line["route"], "/app/{app}", "{log}");
                assert_eq!(line["status"], 401, "{log}");
                assert!(line["duration_ms"].is_f64(), "{log}");
            }
            _ => assert_eq!(log, ""),
        }
    }
}
