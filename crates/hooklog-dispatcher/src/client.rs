//! The HTTP client: pooled connections that only ever go to checked addresses.
//!
//! Names are resolved here at every new connection; all addresses are checked, the connection goes
//! to one of them and nowhere else, and the peer is checked once more. No proxy is taken from the
//! environment: a guard in front of a proxy would guard nothing.
//!
//! **Invariant:** no byte is sent to an address that the guard has not passed; what idles in the
//! pool is bounded.
//! **Next:** `deliver.rs`, which makes the requests.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use crate::ssrf::{Blocked, Guard};

/// The pooled client.
pub(crate) type Client =
    hyper_util::client::legacy::Client<Deadline<HttpsConnector<GuardedConnector>>, Full<Bytes>>;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A resolver that does not answer in this time will not (the usual default of resolvers).
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Per address, so that one dead address of a name leaves time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Common servers close idle connections after 60 s or more; below it a reused one is likely alive.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that may be kept for reuse; above it a connection serves one request. As many as
/// attempts in flight by default, so that idle ones at most double the open files.
const POOLED_MAX: usize = 1024;
/// Most headers of an answer (hyper's own default, stated because it is a bound).
const HEADERS_MAX: usize = 100;
/// Most bytes of an answer's head, as common servers and proxies have it.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Turns a name into addresses. Replaced in tests.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// The addresses of a name.
    fn resolve(&self, host: String, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the URL has no host")]
    NoHost,
    #[error("cannot resolve {host}")]
    Resolve { host: String, source: io::Error },
    #[error("resolving {host} took longer than {RESOLVE_TIMEOUT:?}")]
    ResolveTimeout { host: String },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("refused to connect to {host}")]
    Blocked { host: String, source: Blocked },
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("connecting to {address} took longer than {CONNECT_TIMEOUT:?}")]
    ConnectTimeout { address: SocketAddr },
}

/// Builds the client. `idle_max` bounds what is kept per host, `timeout` one connection's making.
pub(crate) fn client(
    guard: Arc<Guard>,
    resolver: Arc<dyn Resolve>,
    idle_max: usize,
    timeout: Duration,
) -> Client {
    let tcp = GuardedConnector {
        guard,
        resolver,
        pooled: Arc::new(Semaphore::new(POOLED_MAX)),
    };
    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    // The pool may finish a connection in the background for a request that is long gone.
    let connector = Deadline {
        inner: https,
        limit: timeout,
    };
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle_max)
        .http1_max_headers(HEADERS_MAX)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .build(connector)
}

/// Makes TCP connections to checked addresses.
#[derive(Clone)]
pub(crate) struct GuardedConnector {
    guard: Arc<Guard>,
    resolver: Arc<dyn Resolve>,
    pooled: Arc<Semaphore>,
}

impl GuardedConnector {
    async fn connect(self, uri: Uri) -> Result<Socket, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let default = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(default);
        let addresses = self.addresses(&host, port).await?;
        let blocked = |source| ConnectError::Blocked {
            host: host.clone(),
            source,
        };
        for address in &addresses {
            self.guard.check_address(address.ip()).map_err(blocked)?;
        }
        let mut last = ConnectError::NoAddress { host: host.clone() };
        for address in addresses {
            match connect(address).await {
                Ok(stream) => {
                    let peer = stream
                        .peer_addr()
                        .map_err(|source| ConnectError::Connect { address, source })?;
                    self.guard.check_address(peer.ip()).map_err(blocked)?;
                    let permit = Arc::clone(&self.pooled).try_acquire_owned().ok();
                    return Ok(Socket {
                        stream: TokioIo::new(stream),
                        permit,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, port)]);
        }
        let resolving = self.resolver.resolve(host.to_owned(), port);
        match tokio::time::timeout(RESOLVE_TIMEOUT, resolving).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(source)) => Err(ConnectError::Resolve {
                host: host.to_owned(),
                source,
            }),
            Err(_) => Err(ConnectError::ResolveTimeout {
                host: host.to_owned(),
            }),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(ConnectError::Connect { address, source }),
        Err(_) => return Err(ConnectError::ConnectTimeout { address }),
    };
    // A request is written as a whole; waiting for more to send would only delay it.
    stream
        .set_nodelay(true)
        .map_err(|source| ConnectError::Connect { address, source })?;
    Ok(stream)
}

impl Service<Uri> for GuardedConnector {
    type Response = Socket;
    type Error = ConnectError;
    type Future = BoxFuture<Result<Socket, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connector whose connections must be ready (TLS and all) within a limit.
#[derive(Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl<S> Service<Uri> for Deadline<S>
where
    S: Service<Uri, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.inner.call(uri));
        Box::pin(async move { connecting.await? })
    }
}

/// A TCP stream and its place among the connections that may be pooled.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TokioIo<TcpStream>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.permit.is_none() {
            // A poisoned connection serves its request and is closed instead of pooled.
            connected.poison();
        }
        connected
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}
