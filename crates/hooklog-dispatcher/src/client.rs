//! The HTTP client: pooled connections that only ever go to checked addresses.
//!
//! Names are resolved here at every new connection; all addresses are checked, the connection goes
//! to one of them and nowhere else, and the peer is checked once more. No proxy is taken from the
//! environment: a guard in front of a proxy would guard nothing.
//!
//! **Invariant:** no byte is sent to an address that the guard has not passed; what idles in the
//! pool is bounded.
//! **Next:** `deliver.rs`, which makes the requests.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hooklog_storage::ApplicationId;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use crate::resolve::Resolve;
use crate::ssrf::Guard;

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

tokio::task_local! {
    /// For whom a connection is made. The pool's interface has no place to pass it on: it calls the
    /// connector with a URL alone, but within the poll of the request that wants the connection.
    static APPLICATION: ApplicationId;
}

/// Makes a request for an application.
pub(crate) async fn request(
    client: &Client,
    application: ApplicationId,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
    APPLICATION
        .scope(application, client.request(request))
        .await
}

/// Why there is no connection. Tenants read it, so it names what they wrote, never an address that
/// an inner name stands for; that is in the log.
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
    #[error(
        "refused to connect to {host}: its address is not public; \
         the server must run with --allow-network and that address to send there"
    )]
    Blocked { host: String },
    #[error("cannot connect to {host}")]
    Connect { host: String, source: io::Error },
    #[error("connecting to {host} took longer than {CONNECT_TIMEOUT:?}")]
    ConnectTimeout { host: String },
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
    async fn connect(
        self,
        application: Option<ApplicationId>,
        uri: Uri,
    ) -> Result<Socket, ConnectError> {
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
        let addresses = self.addresses(application, &host, port).await?;
        for address in &addresses {
            self.check(&host, *address)?;
        }
        let mut last = ConnectError::NoAddress { host: host.clone() };
        for address in addresses {
            match connect(&host, address).await {
                Ok((stream, peer)) => {
                    self.check(&host, peer)?;
                    let permit = Arc::clone(&self.pooled).try_acquire_owned().ok();
                    return Ok(Socket {
                        stream: TokioIo::new(stream),
                        permit,
                    });
                }
                Err(error) => {
                    tracing::debug!(host, %address, error = &error as &dyn Error, "no connection");
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn check(&self, host: &str, address: SocketAddr) -> Result<(), ConnectError> {
        self.guard.check_address(address.ip()).map_err(|blocked| {
            tracing::debug!(host, %blocked, "refused to connect");
            ConnectError::Blocked {
                host: host.to_owned(),
            }
        })
    }

    async fn addresses(
        &self,
        application: Option<ApplicationId>,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, port)]);
        }
        let host = || host.to_owned();
        let Some(application) = application else {
            let source = io::Error::other("asked for by nobody");
            return Err(ConnectError::Resolve {
                host: host(),
                source,
            });
        };
        let resolving = self.resolver.resolve(application, host(), port);
        match tokio::time::timeout(RESOLVE_TIMEOUT, resolving).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(source)) => Err(ConnectError::Resolve {
                host: host(),
                source,
            }),
            Err(_) => Err(ConnectError::ResolveTimeout { host: host() }),
        }
    }
}

/// Connects, and says whom to.
async fn connect(host: &str, address: SocketAddr) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let failed = |source| ConnectError::Connect {
        host: host.to_owned(),
        source,
    };
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(failed)?,
        Err(_) => {
            return Err(ConnectError::ConnectTimeout {
                host: host.to_owned(),
            });
        }
    };
    // A request is written as a whole; waiting for more to send would only delay it.
    stream.set_nodelay(true).map_err(failed)?;
    let peer = stream.peer_addr().map_err(failed)?;
    Ok((stream, peer))
}

impl Service<Uri> for GuardedConnector {
    type Response = Socket;
    type Error = ConnectError;
    type Future = BoxFuture<Result<Socket, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // Read here and not in the future: the pool may go on with that in a task of its own.
        let application = APPLICATION.try_with(|application| *application).ok();
        Box::pin(self.clone().connect(application, uri))
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
