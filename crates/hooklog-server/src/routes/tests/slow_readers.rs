//! Clients that ask and do not take the answer.
//!
//! **Invariant:** what they leave with us is bounded, in bytes and in time.
//! **Next:** `stopping.rs`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::end_to_end::{APPS, application, ids, publish};
use super::harness::{Harness, PATIENCE, mint};
use crate::Limits;
use crate::token::Subject;

/// An HTTP/2 client without a window for bodies; the task ends with the connection.
async fn without_window(server: &Harness) -> (SendRequest<Empty<Bytes>>, JoinSet<()>) {
    let stream = TcpStream::connect(server.address).await.expect("connects");
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("speaks HTTP/2");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _outcome = connection.await;
    });
    (sender, tasks)
}

async fn get(
    server: &Harness,
    sender: &mut SendRequest<Empty<Bytes>>,
) -> http::Response<hyper::body::Incoming> {
    get_as(server, &server.token, &format!("{APPS}/a/msg"), sender).await
}

async fn get_as(
    server: &Harness,
    token: &str,
    path: &str,
    sender: &mut SendRequest<Empty<Bytes>>,
) -> http::Response<hyper::body::Incoming> {
    let request = http::Request::get(format!("http://{}{path}", server.address))
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::new())
        .expect("a request");
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request));
    answer.await.expect("in time").expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_are_bounded() {
    let limits = Limits {
        answer_bytes_in_flight_max: 64 << 10,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    let payload = json!({ "eventType": "x", "payload": { "a": "x".repeat(50_000) } });
    publish(&server, "a", payload).await;
    let (mut sender, tasks) = without_window(&server).await;
    let first = get(&server, &mut sender).await;
    assert_eq!(first.status(), 200);
    let second = get(&server, &mut sender).await;
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "1");
    // Those who publish have a pool of their own.
    publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    drop((first, second, sender, tasks));
    let list = format!("{APPS}/a/msg");
    let given_back = async { while server.get(&list).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, given_back)
        .await
        .expect("the memory comes back");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_have_a_deadline() {
    let limits = Limits {
        answer_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    // More than the sockets of both sides hold.
    let large = json!({ "eventType": "x", "payload": { "a": "x".repeat(1_900_000) } });
    for _ in 0..5 {
        publish(&server, "a", large.clone()).await;
    }
    // No page is larger than four of them.
    let page = server.get(&format!("{APPS}/a/msg")).await.is(200).body;
    assert_eq!((ids(&page).len(), &page["done"]), (4, &json!(false)));
    let rest = format!("{APPS}/a/msg?iterator={}", ids(&page)[3]);
    assert_eq!(ids(&server.get(&rest).await.is(200).body).len(), 1);

    let (mut sender, mut tasks) = without_window(&server).await;
    let held = get(&server, &mut sender).await;
    tokio::time::timeout(PATIENCE, tasks.join_next())
        .await
        .expect("the server ends the connection");
    drop(held);

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("is set");
    let mut stream = socket.connect(server.address).await.expect("connects");
    let request = format!(
        "GET {APPS}/a/msg HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n",
        server.token
    );
    let request = request.as_bytes();
    stream.write_all(request).await.expect("is sent");
    // A little at a time, so that writing never stalls, for longer than the deadline; then all that
    // the sockets still hold.
    let trickle = async {
        let mut interval = tokio::time::interval(Duration::from_millis(20));
        let (mut buffer, mut total) = (vec![0; 4 << 10], 0);
        for reads in 0.. {
            if reads < 100 {
                interval.tick().await;
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => total += count,
            }
        }
        total
    };
    let total = tokio::time::timeout(PATIENCE, trickle)
        .await
        .expect("the server ends the connection");
    assert!(total < 7_000_000, "{total}");
    server.stop().await;
}

/// The first line of the answer to a request for a backup; the rest is left.
async fn backup_status(server: &Harness, token: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let request = format!(
        "GET /api/v1/operator/backup HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("sends");
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("an answer");
    String::from_utf8_lossy(&status).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_nobody_takes_ends() {
    let limits = Limits {
        answer_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    let operator = mint(Subject::Operator);
    let (mut sender, mut tasks) = without_window(&server).await;
    let answer = get_as(&server, &operator, "/api/v1/operator/backup", &mut sender).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("hooklog-backup-bytes"));
    // The connection is cut off, and the next backup may begin.
    let cut = tokio::time::timeout(PATIENCE, tasks.join_next());
    assert!(cut.await.expect("in time").is_some());
    let free = async { while backup_status(&server, &operator).await != "HTTP/1.1 200" {} };
    tokio::time::timeout(PATIENCE, free).await.expect("in time");
    server.stop().await;
}
