//! Makes connections that only ever go to checked addresses.
//!
//! Names are resolved at every new connection; all addresses are checked, the connection goes to one of
//! them and nowhere else, and the peer is checked once more. No proxy is taken from the environment: a
//! guard in front of a proxy would guard nothing.
//!
//! **Invariant:** no byte is sent to an address that the guard has not passed, be the answer of the
//! resolver old or new.
//! **Next:** `pool.rs`, where connections wait for their next request.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::ApplicationId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::resolve::Resolve;
use crate::ssrf::Guard;
use crate::target::Place;

/// A resolver that does not answer in this time will not (the usual default of resolvers).
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Per address, so that one dead address of a name leaves time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a server chooses HTTP/2 by, within the TLS handshake (RFC 9113 section 3.2).
const ALPN_HTTP2: &[u8] = b"h2";

/// A connection's bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Dialled = (Box<dyn Stream>, SocketAddr);
pub(crate) type Dialling = Pin<Box<dyn Future<Output = io::Result<Dialled>> + Send>>;

/// Connects to an address, and says whom it has reached. Replaced in tests.
pub(crate) trait Dial: Send + Sync + 'static {
    fn dial(&self, address: SocketAddr) -> Dialling;
}

/// The network.
pub(crate) struct Tcp;

impl Dial for Tcp {
    fn dial(&self, address: SocketAddr) -> Dialling {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // A request is written as a whole; waiting for more to send would only delay it.
            stream.set_nodelay(true)?;
            let peer = stream.peer_addr()?;
            Ok((Box::new(stream) as Box<dyn Stream>, peer))
        })
    }
}

/// Why there is no connection. Tenants read it, so it names what they wrote, never an address that
/// an inner name stands for; that is in the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot resolve {host}")]
    Resolve { host: Arc<str>, source: io::Error },
    #[error("resolving {host} took longer than {RESOLVE_TIMEOUT:?}")]
    ResolveTimeout { host: Arc<str> },
    #[error("{host} has no address")]
    NoAddress { host: Arc<str> },
    #[error(
        "refused to connect to {host}: its address is not public; \
         the server must run with --allow-network and that address to send there"
    )]
    Blocked { host: Arc<str> },
    #[error("cannot connect to {host}")]
    Connect { host: Arc<str>, source: io::Error },
    #[error("connecting to {host} took longer than {CONNECT_TIMEOUT:?}")]
    ConnectTimeout { host: Arc<str> },
    #[error("{host} and we do not agree on TLS")]
    Tls { host: Arc<str>, source: io::Error },
}

/// A new connection, and what is spoken on it.
pub(crate) struct Connected {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) is_http2: bool,
}

/// Makes connections.
pub(crate) struct Connector {
    guard: Arc<Guard>,
    resolver: Arc<dyn Resolve>,
    dial: Arc<dyn Dial>,
    tls: TlsConnector,
}

/// The authorities that browsers trust, compiled in: no file that could be missing or changed.
pub(crate) fn public_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

impl Connector {
    pub(crate) fn new(
        guard: Arc<Guard>,
        resolver: Arc<dyn Resolve>,
        dial: Arc<dyn Dial>,
        roots: RootCertStore,
    ) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        #[expect(
            clippy::expect_used,
            reason = "fails only for a provider without any cipher of TLS 1.2 and 1.3"
        )]
        let builder = builder.expect("the provider speaks TLS 1.2 and 1.3");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()];
        Self {
            guard,
            resolver,
            dial,
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Connects, for an application. Takes as long as it takes: the attempt has a deadline.
    pub(crate) async fn connect(
        &self,
        application: ApplicationId,
        place: &Place,
    ) -> Result<Connected, ConnectError> {
        let stream = self.reach(application, place).await?;
        if !place.is_https {
            let is_http2 = false;
            return Ok(Connected { stream, is_http2 });
        }
        let failed = |source| ConnectError::Tls {
            host: Arc::clone(&place.host),
            source,
        };
        // A name may end in a dot, as DNS has it; certificates do not.
        let name = place.host.strip_suffix('.').unwrap_or(&place.host);
        let name = ServerName::try_from(name.to_owned());
        let name = name.map_err(|error| failed(io::Error::other(error)))?;
        let stream = self.tls.connect(name, stream).await.map_err(failed)?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
        let stream = Box::new(stream);
        Ok(Connected { stream, is_http2 })
    }

    async fn reach(
        &self,
        application: ApplicationId,
        place: &Place,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        let host = &place.host;
        let addresses = self.addresses(application, place).await?;
        for address in &addresses {
            self.check(host, *address)?;
        }
        let mut last = ConnectError::NoAddress {
            host: Arc::clone(host),
        };
        for address in addresses {
            match self.dial(host, address).await {
                Ok((stream, peer)) => {
                    self.check(host, peer)?;
                    return Ok(stream);
                }
                Err(error) => {
                    let cause = &error as &dyn Error;
                    tracing::debug!(%host, %address, error = cause, "no connection");
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn check(&self, host: &Arc<str>, address: SocketAddr) -> Result<(), ConnectError> {
        self.guard.check_address(address.ip()).map_err(|blocked| {
            tracing::debug!(%host, %blocked, "refused to connect");
            ConnectError::Blocked {
                host: Arc::clone(host),
            }
        })
    }

    async fn addresses(
        &self,
        application: ApplicationId,
        place: &Place,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(literal) = place.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, place.port)]);
        }
        let host = Arc::clone(&place.host);
        let resolving = self
            .resolver
            .resolve(application, host.as_ref().to_owned(), place.port);
        match tokio::time::timeout(RESOLVE_TIMEOUT, resolving).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(source)) => Err(ConnectError::Resolve { host, source }),
            Err(_) => Err(ConnectError::ResolveTimeout { host }),
        }
    }

    async fn dial(&self, host: &Arc<str>, address: SocketAddr) -> Result<Dialled, ConnectError> {
        let host = Arc::clone(host);
        match tokio::time::timeout(CONNECT_TIMEOUT, self.dial.dial(address)).await {
            Ok(Ok(dialled)) => Ok(dialled),
            Ok(Err(source)) => Err(ConnectError::Connect { host, source }),
            Err(_) => Err(ConnectError::ConnectTimeout { host }),
        }
    }
}
