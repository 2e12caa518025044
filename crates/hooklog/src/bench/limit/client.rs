//! The limit of delivering: raw hyper connections that sign and send, one request after the other on
//! each.
//!
//! **Invariant:** nothing is stored, routed, recorded or timed; each request is signed with HMAC-SHA256,
//! and each answer is waited for.
//! **Next:** `file.rs`, the limit of appending.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hooklog_signature::{Secret, sign};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::latency::float;

/// Key bytes of every signature.
pub const KEY: [u8; 24] = [7; 24];
/// The time of every signature; its digits count, not its value.
const TIMESTAMP: i64 = 1_700_000_000;

/// Deliveries, and deliveries a second, of so many connections in a time.
pub async fn run(
    address: SocketAddr,
    connections: usize,
    payloads: Vec<Bytes>,
    time: Duration,
) -> anyhow::Result<(u64, f64)> {
    let (payloads, sent) = (Arc::new(payloads), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for number in 0..connections {
        let (payloads, sent) = (Arc::clone(&payloads), Arc::clone(&sent));
        tasks.spawn(connection(address, number, payloads, sent, begun + time));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let sent = sent.load(Ordering::Relaxed);
    Ok((sent, float(sent) / begun.elapsed().as_secs_f64()))
}

async fn connection(
    address: SocketAddr,
    number: usize,
    payloads: Arc<Vec<Bytes>>,
    sent: Arc<AtomicU64>,
    end: Instant,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let secret = Secret::from_bytes(&KEY)?;
    let mut turn = number;
    while Instant::now() < end {
        let payload = payloads.get(turn % payloads.len().max(1));
        let payload = payload.context("no payload")?.clone();
        turn += 1;
        let id = format!("msg_{turn:027}");
        let signature = sign([&secret], &id, TIMESTAMP, &payload);
        let request = Request::post("/hook")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", TIMESTAMP)
            .header("webhook-signature", signature)
            .body(Full::new(payload))?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        anyhow::ensure!(response.status().is_success(), "a sink that refuses");
        response.into_body().collect().await?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
