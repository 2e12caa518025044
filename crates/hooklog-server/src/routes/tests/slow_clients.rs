//! Clients that are slow, silent or too generous.
//!
//! **Invariant:** none of them holds a connection for longer than its deadline, and none stops the
//! server from serving others.
//! **Next:** `request.rs`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Harness, PATIENCE, read_reply};
use crate::Limits;

fn short() -> Limits {
    let soon = Duration::from_millis(300);
    Limits {
        body_bytes_max: 64 << 10,
        header_read_timeout: soon,
        body_read_timeout: soon,
        idle_timeout: soon,
        write_stall_timeout: soon,
        ..Limits::default()
    }
}

fn post(server: &Harness) -> String {
    let token = &server.token;
    format!("POST /api/v1/app HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n")
}

/// Sends `start`, then `more` again and again, until the server ends the connection.
async fn drip(server: &Harness, start: &[u8], more: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(start).await.expect("is sent");
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        let mut interval = tokio::time::interval(Duration::from_millis(50));
        loop {
            interval.tick().await;
            if more.is_empty() || writer.write_all(more).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let ended = async {
        tokio::select! {
            // A reset is an end too.
            _outcome = reader.read_to_end(&mut answer) => {}
            () = write => {}
        }
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("the server ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_off() {
    let server = Harness::start_with(short()).await;
    let with_length = format!("{}content-length: 1000\r\n\r\n{{", post(&server));
    let chunked = format!(
        "{}transfer-encoding: chunked\r\n\r\n1\r\n{{\r\n",
        post(&server)
    );
    let idle = "GET /api/v1/health HTTP/1.1\r\nhost: a\r\n\r\n";
    let cases: [(&str, &[u8], &[u8], &str); 8] = [
        ("silent", b"", b"", ""),
        ("one byte", b"P", b"", ""),
        ("half a preface", b"PRI * HTTP/2.0\r\n", b"", ""),
        (
            "a preface and no more",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"",
            "",
        ),
        (
            "header drip",
            b"GET /api/v1/health HTTP/1.1\r\n",
            b"a: b\r\n",
            "",
        ),
        ("body drip", with_length.as_bytes(), b" ", "HTTP/1.1 408"),
        (
            "chunk drip",
            chunked.as_bytes(),
            b"1\r\n \r\n",
            "HTTP/1.1 408",
        ),
        (
            "idle between requests",
            idle.as_bytes(),
            b"",
            "HTTP/1.1 200",
        ),
    ];
    for (name, start, more, status) in cases {
        let answer = drip(&server, start, more).await;
        assert!(answer.starts_with(status), "{name}: {answer:?}");
        server.get("/api/v1/health").await.is(200);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_get_their_413() {
    let server = Harness::start_with(short()).await;
    // Announced, and sent before the answer is read: the client must still see it.
    let announced = format!("{}content-length: 3000000\r\n\r\n", post(&server));
    let mut whole = announced.clone().into_bytes();
    whole.resize(whole.len() + 3_000_000, b' ');
    let mut chunked = format!("{}transfer-encoding: chunked\r\n\r\n", post(&server)).into_bytes();
    for _ in 0..40 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.resize(chunked.len() + 0x1000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for request in [whole, chunked] {
        let reply = server.raw(&request).await.is(413);
        assert_eq!(reply.body["code"], "payload_too_large");
    }
    // Announced and not sent: answered at once, without waiting for it.
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream
        .write_all(announced.as_bytes())
        .await
        .expect("is sent");
    let mut start = [0; 12];
    let read = stream.read_exact(&mut start);
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 413");
    drop(stream);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_heads_are_refused() {
    let server = Harness::start().await;
    let long = format!(
        "GET /api/v1/health HTTP/1.1\r\na: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let _outcome = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _outcome = tokio::time::timeout(PATIENCE, read).await.expect("in time");
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{answer:?}"
    );
    server.get("/api/v1/health").await.is(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_makes_others_wait() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    let first = TcpStream::connect(server.address).await.expect("connects");
    let mut second = Box::pin(server.get("/api/v1/health"));
    let early = tokio::time::timeout(Duration::from_millis(100), second.as_mut()).await;
    assert!(early.is_err(), "must wait for the first to leave");
    drop(first);
    second.as_mut().await.is(200);
    drop(second);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_beyond_the_memory_for_them_are_busy() {
    let limits = Limits {
        body_bytes_in_flight_max: 1_000,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(1_000));
    let busy = server.call("POST", "/api/v1/app", &body).await.is(503);
    assert!(busy.head.contains("retry-after: 1"), "{busy:?}");
    server
        .call("POST", "/api/v1/app", r#"{"name":"x"}"#)
        .await
        .is(201);
    server.stop().await;
}

/// Announcing a body took its share of the memory, so a few silent uploads stopped everyone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_bodies_cost_nothing() {
    let limits = Limits {
        body_bytes_in_flight_max: 100_000,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    let announced = format!(
        "{}expect: 100-continue\r\ncontent-length: 90000\r\n\r\n",
        post(&server)
    );
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        let request = announced.as_bytes();
        stream.write_all(request).await.expect("is sent");
        // It is asked for, so the server is at it.
        let mut start = [0; 21];
        stream.read_exact(&mut start).await.expect("goes on");
        assert_eq!(&start, b"HTTP/1.1 100 Continue");
        idle.push(stream);
    }
    let body = r#"{"name":"x"}"#;
    server.call("POST", "/api/v1/app", body).await.is(201);
    drop(idle);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_bodies_end_soon_and_small_ones_stay_small() {
    let limits = Limits {
        body_start_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    let silent = format!("{}content-length: 1000\r\n\r\n", post(&server));
    let answer = drip(&server, silent.as_bytes(), b"").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    let large = "x".repeat((256 << 10) + 1);
    let reply = server.call("POST", "/api/v1/app", &large).await.is(413);
    assert!(reply.text.contains("262144"), "{reply:?}");
    let name = r#"{"name":"a","uid":"a"}"#;
    server.call("POST", "/api/v1/app", name).await.is(201);
    let message = format!(r#"{{"eventType":"x","payload":{{"a":"{large}"}}}}"#);
    let path = "/api/v1/app/a/msg";
    server.call("POST", path, &message).await.is(202);
    server.stop().await;
}

/// A client that sends before it reads saw a reset instead of its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_seen_by_those_who_send_first() {
    let server = Harness::start().await;
    let body = "x".repeat(8 << 20);
    for (token, method, path, status) in [
        ("garbage", "POST", "/api/v1/app", 401),
        (server.token.as_str(), "POST", "/api/v1/nowhere", 404),
        (&server.token, "DELETE", "/api/v1/app", 405),
        (&server.token, "POST", "/api/v1/app?a=%ff", 400),
        (&server.token, "GET", "/api/v1/app", 200),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        let exchange = async {
            let request = request.as_bytes();
            stream.write_all(request).await.expect("all of it is taken");
            read_reply(&mut stream).await
        };
        let reply = tokio::time::timeout(PATIENCE, exchange).await;
        reply.expect("in time").is(status);
    }
    server.stop().await;
}
