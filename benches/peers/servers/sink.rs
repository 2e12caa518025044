//! The receiver of webhooks: reads a request to its end, looks for its event and answers 200 at once.
//!
//! **Invariant:** what has no signature or carries no event is an error that stops the run; an event
//! is acked once the answer is written.
//! **Next:** `main.rs`, which starts it all, or `table.rs`, what it prints.

use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::http::Message;
use crate::ledger::{Consumers, Ledger};
use crate::stamp;
use crate::wire::shown;

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// By either name of Standard Webhooks.
const SIGNATURES: [&str; 2] = ["webhook-signature", "svix-signature"];
/// Read at a time, at least.
const READ_BYTES: usize = 4096;

/// Listens on a free port of this machine, which it tells.
pub async fn start(ledger: &Arc<Ledger>, consumers: &mut Consumers) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let ledger = Arc::clone(ledger);
    consumers.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    connections.spawn(connection(accepted?.0, Arc::clone(&ledger)));
                }
                Some(ended) = connections.join_next() => ended.map_err(Error::other)??,
            }
        }
    });
    Ok(address)
}

/// Ends well when the server closes it, in whatever way.
async fn connection(mut stream: TcpStream, ledger: Arc<Ledger>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        while let Some(message) = Message::parse(&read)? {
            let now = Instant::now();
            let stamp = event(&message)?;
            let length = message.length;
            read.drain(..length);
            if stream.write_all(TAKEN).await.is_err() {
                return Ok(());
            }
            ledger.acked(&[stamp], now);
        }
        read.reserve(READ_BYTES);
        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return Ok(());
        }
    }
}

fn event(message: &Message<'_>) -> Result<u64> {
    if SIGNATURES.iter().all(|name| message.header(name).is_none()) {
        return Err(Error::other("a webhook without a signature"));
    }
    stamp::read(message.body)
        .ok_or_else(|| Error::other(format!("a webhook of no event: {}", shown(message.body))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_signed_and_has_an_event() {
        let body = "{\"n\":\"000000000000000a\"}";
        let cases = [
            ("webhook-signature: v1,x", body, true),
            ("Svix-Signature: v1,x", body, true),
            ("signature: v1,x", body, false),
            ("webhook-signature: v1,x", "{}", false),
        ];
        for (header, body, is_taken) in cases {
            let length = body.len();
            let text =
                format!("POST / HTTP/1.1\r\n{header}\r\ncontent-length: {length}\r\n\r\n{body}");
            let message = Message::parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(event(&message).ok(), is_taken.then_some(10), "{header}");
        }
    }
}
