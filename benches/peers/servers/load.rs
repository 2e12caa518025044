//! The load: connections that publish one event after the other, the same for every server.
//!
//! **Invariant:** closed loop: each connection has one event in flight, and the next one goes out when the
//! last one was acked. Requests are made before the clock runs.
//! **Next:** `peer.rs`, the servers.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::protocol::{Answer, Protocol, find};

/// Different payloads of a connection, as many as have about so many bytes.
const PAYLOADS: usize = 64;
const PAYLOADS_BYTES: usize = 1 << 20;
/// Letters of random text.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
/// Bytes of a payload around its text.
const FRAME: usize = "{\"text\":\"\"}".len();
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Read at a time.
const READ_BYTES: usize = 4096;

/// How hard, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    pub payload_bytes: usize,
    pub time: Duration,
}

/// What was reached.
pub struct Done {
    pub count: u64,
    pub per_second: f64,
    /// Microseconds.
    pub latency: Histogram<u64>,
}

/// Publishes on all connections for the time.
pub async fn run(load: Load, address: SocketAddr, protocol: &Protocol) -> Result<Done> {
    let mut ready = Vec::new();
    for number in 0..load.connections {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if let Some((greeting, end)) = protocol.greeting(number) {
            stream.write_all(greeting.as_bytes()).await?;
            let mut read = Vec::new();
            while find(&read, end.as_bytes()).is_none() {
                more(&mut stream, &mut read).await?;
            }
        }
        let mut rng = fastrand::Rng::with_seed(number as u64);
        let count = (PAYLOADS_BYTES / load.payload_bytes).clamp(2, PAYLOADS);
        let requests =
            (0..count).map(|_| protocol.request(number, &payload(&mut rng, load.payload_bytes)));
        ready.push((stream, requests.collect::<Vec<_>>()));
    }
    let protocol = Arc::new(protocol.clone());
    let started = Instant::now();
    let mut running = JoinSet::new();
    for (stream, requests) in ready {
        running.spawn(connection(
            stream,
            requests,
            Arc::clone(&protocol),
            started + load.time,
        ));
    }
    let mut latency = histogram();
    while let Some(one) = running.join_next().await {
        let one = one.map_err(Error::other)??;
        latency.add(one).expect("the same bounds");
    }
    let count = latency.len();
    Ok(Done {
        count,
        per_second: f64::from(u32::try_from(count).expect("a short run"))
            / started.elapsed().as_secs_f64(),
        latency,
    })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds")
}

/// Random JSON of so many bytes, which nothing compresses much.
fn payload(rng: &mut fastrand::Rng, bytes: usize) -> String {
    let letters = (0..bytes.saturating_sub(FRAME)).map(|_| char::from(LETTERS[rng.usize(..64)]));
    format!("{{\"text\":\"{}\"}}", letters.collect::<String>())
}

async fn connection(
    mut stream: TcpStream,
    requests: Vec<Vec<u8>>,
    protocol: Arc<Protocol>,
    end: Instant,
) -> Result<Histogram<u64>> {
    let (mut latency, mut read) = (histogram(), Vec::new());
    for request in requests.iter().cycle() {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        stream.write_all(request).await?;
        loop {
            match protocol.answer(&read) {
                Answer::Taken(length) => {
                    read.drain(..length);
                    break;
                }
                Answer::Aside(length, reply) => {
                    read.drain(..length);
                    stream.write_all(reply).await?;
                }
                Answer::Partial => more(&mut stream, &mut read).await?,
                Answer::Refused(text) => return Err(Error::other(format!("refused: {text}"))),
            }
        }
        let micros = begun.elapsed().as_micros();
        latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX).max(1));
    }
    Ok(latency)
}

/// Reads what has come.
async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<()> {
    read.reserve(READ_BYTES);
    let got = tokio::time::timeout(PATIENCE, stream.read_buf(read)).await;
    match got.map_err(|_| Error::other(format!("no answer in {PATIENCE:?}")))?? {
        0 => Err(Error::other("the server closed the connection")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_size() {
        let mut rng = fastrand::Rng::with_seed(1);
        for bytes in [64, 512, 4096] {
            let payload = payload(&mut rng, bytes);
            assert_eq!(payload.len(), bytes);
            serde_json::from_str::<serde_json::Value>(&payload).unwrap();
        }
    }
}
