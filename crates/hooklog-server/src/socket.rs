//! A client's socket: what was read ahead is read again, and writing must make progress.
//!
//! **Invariant:** a client that takes no byte for `write_stall_timeout` while we have some for it
//! loses its connection; without that, one that never reads holds its answer in memory for good.
//! **Next:** `dispatch.rs`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::transport::Transport;

/// A connection behind its first bytes.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Transport,
    /// Read before it was known who reads on.
    ahead: Bytes,
    stall_timeout: Duration,
    /// Runs while a write waits.
    writing: Stall,
    /// Runs while a flush or the end waits: TLS takes some bytes before it sends them. Apart from
    /// the other, because without TLS a flush always succeeds and says nothing about the client.
    flushing: Stall,
}

type Stall = Option<Pin<Box<Sleep>>>;

impl Socket {
    pub(crate) fn new(stream: Transport, ahead: Bytes, stall_timeout: Duration) -> Self {
        Self {
            stream,
            ahead,
            stall_timeout,
            writing: None,
            flushing: None,
        }
    }
}

/// Passes the outcome of a write on, unless it has been waiting for too long.
fn watch<T>(
    stall: &mut Stall,
    timeout: Duration,
    context: &mut Context<'_>,
    outcome: Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    if outcome.is_ready() {
        *stall = None;
        return outcome;
    }
    let waiting =
        stall.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
    ready!(waiting.as_mut().poll(context));
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        let bytes = self.ahead.split_to(count);
        buffer.put_slice(bytes.chunk());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        watch(&mut this.writing, this.stall_timeout, context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        watch(&mut this.writing, this.stall_timeout, context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        watch(&mut this.flushing, this.stall_timeout, context, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
        watch(&mut this.flushing, this.stall_timeout, context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair(ahead: &'static [u8]) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("connects");
        let (server, _) = listener.accept().await.expect("accepts");
        (
            Socket::new(
                Transport::Tcp(server),
                Bytes::from_static(ahead),
                Duration::from_millis(100),
            ),
            client,
        )
    }

    #[tokio::test]
    async fn what_was_read_ahead_comes_first() {
        let (mut socket, mut client) = pair(b"GET ").await;
        client.write_all(b"/ HTTP/1.1").await.expect("is sent");
        let mut bytes = [0; 14];
        socket.read_exact(&mut bytes[..2]).await.expect("reads");
        socket.read_exact(&mut bytes[2..]).await.expect("reads");
        assert_eq!(&bytes, b"GET / HTTP/1.1");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut socket, _client) = pair(b"").await;
        let chunk = vec![0; 1 << 16];
        let error = loop {
            if let Err(error) = socket.write_all(&chunk).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
