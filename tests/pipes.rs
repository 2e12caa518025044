//! A stdout that nobody reads any more, as behind `| head -1`, with the real binary.
//!
//! **Invariant:** the reader is gone before the program starts, so nothing depends on who is faster.
//! **Next:** `door.rs`.

use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;

use crate::harness::http::Message;
use crate::harness::process::{Ended, Process};
use crate::harness::server::{Server, hooklog};
use crate::harness::{PATIENCE, shared, wait_for};

#[track_caller]
fn run_unread(arguments: &[&str]) -> Ended {
    let ended = Process::spawn_unread(&mut hooklog(arguments)).wait();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// `hooklog serve | head -1` ended the server, which could not print its second line.
#[test]
fn a_server_goes_on_whether_or_not_its_greeting_is_read() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let (data, socket) = (scratch.path().join("data"), scratch.path().join("socket"));
    let listen = format!("unix:{}", socket.display());
    let arguments = ["serve", "--listen", &listen, "--data-dir"];
    let mut server = Process::spawn_unread(hooklog(&arguments).arg(&data));
    wait_for("complaint about stdout", || {
        server
            .stderr()
            .contains("nobody reads stdout")
            .then_some(())
    });
    // It has said so after it began to listen, and answers now as it did before.
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /api/v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let answer = Message::read(&mut BufReader::new(stream)).unwrap().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    server.terminate();
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// As other Unix tools do: no word, and the exit code that a shell gives for SIGPIPE.
#[test]
fn other_commands_end_quietly() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let server = Server::start(&data);
    server.api().create_application("shop");
    server
        .api()
        .accept("shop", r#"{"eventType":"a","payload":{}}"#);
    let url = format!("http://{}", server.address);
    let data = data.to_str().unwrap();
    let cases: [&[&str]; 3] = [
        &["token", "--data-dir", data],
        &[
            "tail",
            "--data-dir",
            data,
            "--server",
            &url,
            "--app",
            "shop",
            "--from-start",
        ],
        &["receive", "--listen", "127.0.0.1:0"],
    ];
    for case in cases {
        let ended = run_unread(case);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(141), ""),
            "{case:?}"
        );
    }
    server.stop();
    for options in [&["--json"][..], &[]] {
        let ended = run_unread(&[&["check", "--data-dir", data], options].concat());
        assert_eq!(ended.code, Some(141), "{}", ended.stderr);
        assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
    }
}

/// A closed pipe must not hide that something failed.
#[test]
fn failures_are_told_all_the_same() {
    let _machine = shared();
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let server = Server::start(&data);
    server.api().create_application("shop");
    let url = format!("http://{}", server.address);
    let input = scratch.path().join("input.jsonl");
    std::fs::write(&input, "no event\n").unwrap();
    let mut arguments = vec!["publish", "--data-dir", data.to_str().unwrap()];
    arguments.extend(["--server", &url, "--app", "shop", input.to_str().unwrap()]);
    let ended = run_unread(&arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("error: 1 failed"), "{}", ended.stderr);
    server.stop();
}
