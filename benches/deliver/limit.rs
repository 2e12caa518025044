//! The limit: raw hyper connections that sign and send, one request after the other on each.
//!
//! **Invariant:** nothing is stored, routed, recorded or timed.
//! **Next:** `README.md` beside this folder, for the results.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hooklog::signature::{Secret, sign};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::payload;
use crate::sink::Sink;
use crate::{Args, KEY, float};

/// Deliveries, and deliveries a second.
pub(crate) async fn run(args: &Args, time: Duration) -> (usize, f64) {
    let sink = Sink::start().await;
    let payloads: Vec<Bytes> = payload::payloads(args.payload)
        .into_iter()
        .map(|(_, payload)| payload)
        .collect();
    let (payloads, sent) = (Arc::new(payloads), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for number in 0..args.connections {
        let address = sink.address;
        let (payloads, sent) = (Arc::clone(&payloads), Arc::clone(&sent));
        let stop = Arc::clone(&stop);
        tasks.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .unwrap();
            let mut driver = JoinSet::new();
            driver.spawn(connection);
            let secret = Secret::from_bytes(&KEY).unwrap();
            let mut turn = number;
            while !stop.load(Ordering::Relaxed) {
                let payload = payloads.get(turn % payloads.len()).unwrap().clone();
                turn += 1;
                let id = format!("msg_{turn:027}");
                let signature = sign([&secret], &id, 1_700_000_000, &payload);
                let request = Request::post("/hook")
                    .header("host", "localhost")
                    .header("content-type", "application/json")
                    .header("webhook-id", id)
                    .header("webhook-timestamp", "1700000000")
                    .header("webhook-signature", signature)
                    .body(Full::new(payload))
                    .unwrap();
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert!(response.status().is_success());
                response.into_body().collect().await.unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(time).await;
    let rate = float(sent.load(Ordering::Relaxed)) / begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    (sent.load(Ordering::Relaxed), rate)
}
