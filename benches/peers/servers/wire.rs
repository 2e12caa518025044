//! Bytes of a connection: what is read, and where things are in it.
//!
//! **Invariant:** a server that says nothing for long is an error, never a hang.
//! **Next:** `http.rs`, `redis.rs` and `nats.rs`, which know what the bytes mean.

use std::io::{Error, Result};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Read at a time, at least.
const READ_BYTES: usize = 4096;
/// A consumer's buffer: a batch of 64 events of 512 B, and their frames.
pub const BATCH_BYTES: usize = 64 << 10;

/// Reads what has come.
pub async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<()> {
    read.reserve(READ_BYTES);
    let got = tokio::time::timeout(PATIENCE, stream.read_buf(read)).await;
    match got.map_err(|_| Error::other(format!("no answer in {PATIENCE:?}")))?? {
        0 => Err(Error::other("the server closed the connection")),
        _ => Ok(()),
    }
}

/// The first line, without its end.
pub fn line(read: &[u8]) -> Option<&str> {
    let end = find(read, b"\r\n")?;
    std::str::from_utf8(&read[..end]).ok()
}

pub fn find(read: &[u8], what: &[u8]) -> Option<usize> {
    read.windows(what.len()).position(|window| window == what)
}

/// The beginning, to be shown in an error.
pub fn shown(read: &[u8]) -> String {
    String::from_utf8_lossy(&read[..read.len().min(400)]).into_owned()
}
