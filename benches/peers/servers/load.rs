//! The load: connections that publish one event after the other, the same for every server.
//!
//! **Invariant:** closed loop: each connection has one event in flight, and the next one goes out when the
//! last one was acked. Requests are made before the clock runs, but for the stamp of each event.
//! **Next:** `stamp.rs`, by which each event is known.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::protocol::{Answer, Protocol};
use crate::stamp::{self, BEFORE, DIGITS};
use crate::wire::{find, more};

/// Different payloads of a connection, as many as have about so many bytes.
const PAYLOADS: usize = 64;
const PAYLOADS_BYTES: usize = 1 << 20;
/// Letters of random text.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
/// What comes behind the stamp and before the text, and behind that.
const MIDDLE: &str = "\",\"text\":\"";
const END: &str = "\"}";
/// Bytes of a payload around its text.
const FRAME: usize = BEFORE.len() + DIGITS + MIDDLE.len() + END.len();

/// How hard, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: u16,
    pub payload_bytes: usize,
    pub time: Duration,
}

/// What was reached.
pub struct Done {
    pub count: u64,
    pub per_second: f64,
    /// Microseconds to the ack.
    pub latency: Histogram<u64>,
    /// When the first event went out.
    pub started: Instant,
    /// Of all events.
    pub stamps: Vec<u64>,
}

/// Publishes on all connections for the time; stamps count from the epoch.
pub async fn run(
    load: Load,
    address: SocketAddr,
    protocol: &Protocol,
    epoch: Instant,
) -> Result<Done> {
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
        let mut rng = fastrand::Rng::with_seed(u64::from(number));
        let count = (PAYLOADS_BYTES / load.payload_bytes).clamp(2, PAYLOADS);
        let requests =
            (0..count).map(|_| protocol.request(number, &payload(&mut rng, load.payload_bytes)));
        ready.push((number, stream, requests.collect::<Vec<_>>()));
    }
    let protocol = Arc::new(protocol.clone());
    let started = Instant::now();
    let mut running = JoinSet::new();
    for (number, stream, requests) in ready {
        let times = Times {
            epoch,
            end: started + load.time,
        };
        let protocol = Arc::clone(&protocol);
        running.spawn(connection(number, stream, requests, protocol, times));
    }
    let (mut latency, mut stamps) = (histogram(), Vec::new());
    while let Some(one) = running.join_next().await {
        let (one, sent) = one.map_err(Error::other)??;
        latency.add(one).expect("the same bounds");
        stamps.extend(sent);
    }
    let count = latency.len();
    Ok(Done {
        count,
        per_second: f64::from(u32::try_from(count).expect("a short run"))
            / started.elapsed().as_secs_f64(),
        latency,
        started,
        stamps,
    })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds")
}

/// Random JSON of so many bytes, which nothing compresses much, with a stamp that is still to come.
fn payload(rng: &mut fastrand::Rng, bytes: usize) -> String {
    let letters = (0..bytes.saturating_sub(FRAME)).map(|_| char::from(LETTERS[rng.usize(..64)]));
    let text: String = letters.collect();
    format!("{BEFORE}{:0>DIGITS$}{MIDDLE}{text}{END}", 0)
}

/// What stamps count from, and when no more events are sent.
#[derive(Clone, Copy)]
struct Times {
    epoch: Instant,
    end: Instant,
}

async fn connection(
    number: u16,
    mut stream: TcpStream,
    mut requests: Vec<Vec<u8>>,
    protocol: Arc<Protocol>,
    times: Times,
) -> Result<(Histogram<u64>, Vec<u64>)> {
    let (mut latency, mut stamps, mut read) = (histogram(), Vec::new(), Vec::new());
    // All of a connection's requests are alike.
    let place = requests.first().and_then(|request| stamp::place(request));
    let place = place.ok_or_else(|| Error::other("a request without a stamp"))?;
    let count = requests.len();
    for next in (0..count).cycle() {
        let begun = Instant::now();
        if begun >= times.end {
            break;
        }
        let stamp = stamp::stamp(begun.duration_since(times.epoch), number);
        let request = &mut requests[next];
        stamp::put(&mut request[place.clone()], stamp);
        stamps.push(stamp);
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
    Ok((latency, stamps))
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
            assert_eq!(stamp::read(payload.as_bytes()), Some(0));
            serde_json::from_str::<serde_json::Value>(&payload).unwrap();
        }
    }
}
