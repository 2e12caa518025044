//! Clients that leave, and the server that stops.
//!
//! **Invariant:** neither loses a request that was begun.
//! **Next:** `request.rs`.

use hooklog_storage::{Offset, TailItem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::end_to_end::{APPS, application};
use super::harness::{Harness, PATIENCE, read_reply};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_leaves_does_not_stop_its_publish() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let body = r#"{"eventType":"x","payload":{}}"#;
    let request = format!(
        "POST {APPS}/a/msg HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         content-length: {}\r\n\r\n{body}",
        server.token,
        body.len()
    );
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    drop(stream);
    let mut tail = server.log.tail(Offset::ZERO);
    let arrives =
        async { while !matches!(tail.next().await.expect("reads"), TailItem::Records(_)) {} };
    tokio::time::timeout(PATIENCE, arrives)
        .await
        .expect("the event is in the log");
    drop(tail);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_what_was_begun() {
    let server = Harness::start().await;
    let body = r#"{"name":"a"}"#;
    let head = format!(
        "POST {APPS} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        server.token,
        body.len()
    );
    let mut begun = TcpStream::connect(server.address).await.expect("connects");
    begun.write_all(head.as_bytes()).await.expect("is sent");
    let mut line = [0; 25];
    begun.read_exact(&mut line).await.expect("is told to go on");
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    // One that idles does not hold the stop up.
    let mut idle = TcpStream::connect(server.address).await.expect("connects");
    let (address, stopping) = (server.address, server.stop());
    let finish = async {
        assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0, "is closed");
        begun.write_all(body.as_bytes()).await.expect("is sent");
        assert_eq!(read_reply(&mut begun).await.is(201).body["name"], "a");
    };
    let both = async { tokio::join!(stopping, finish) };
    tokio::time::timeout(PATIENCE, both).await.expect("in time");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "listens no more"
    );
}
