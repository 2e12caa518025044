//! A network in memory, whose hosts do what a test says: for virtual time and for all that goes wrong.
//!
//! **Invariant:** nothing in it reads a clock or a socket, so with paused time a test runs the same way
//! each time; connections are counted until they are closed by the client.
//! **Next:** the tests of `client.rs`.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::connect::{Dial, Dialling, Stream};
use crate::resolve::{Found, LookUp, LookingUp};

/// What a socket buffers, about as a kernel does.
const BUFFER_BYTES: usize = 16 << 10;

/// What a host does with a connection.
pub(crate) type Serve =
    Arc<dyn Fn(DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Host {
    Serve(Serve),
    /// Takes no connection and refuses none.
    Hang,
    Refuse,
}

/// A host that does this with each connection.
pub(crate) fn serve<F>(serve: impl Fn(DuplexStream) -> F + Send + Sync + 'static) -> Host
where
    F: Future<Output = ()> + Send + 'static,
{
    Host::Serve(Arc::new(move |stream| Box::pin(serve(stream))))
}

#[derive(Clone, Default)]
pub(crate) struct Net {
    hosts: Arc<Mutex<BTreeMap<SocketAddr, Host>>>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    dialled: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Net {
    pub(crate) fn host(&self, address: &str, host: Host) {
        self.hosts.lock().insert(address.parse().unwrap(), host);
    }

    /// How often somebody connected or tried to.
    pub(crate) fn dialled(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }

    /// Connections that the client has not closed.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Dial for Net {
    fn dial(&self, address: SocketAddr) -> Dialling {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let host = self.hosts.lock().get(&address).cloned();
        let this = self.clone();
        Box::pin(async move {
            match host {
                Some(Host::Serve(serve)) => {
                    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
                    this.tasks.lock().spawn(serve(far));
                    this.open.fetch_add(1, Ordering::Relaxed);
                    let near = Counted(near, Arc::clone(&this.open));
                    Ok((Box::new(near) as Box<dyn Stream>, address))
                }
                Some(Host::Hang) => std::future::pending().await,
                Some(Host::Refuse) | None => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}

struct Counted(DuplexStream, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Names of a test; one that is not there is never answered.
pub(crate) struct Names(pub(crate) BTreeMap<&'static str, IpAddr>);

impl LookUp for Names {
    fn look_up(&self, host: String) -> LookingUp {
        let found = self.0.get(host.as_str()).copied();
        Box::pin(async move {
            let Some(address) = found else {
                return std::future::pending().await;
            };
            Ok(Found {
                addresses: vec![address],
                ttl: Duration::from_mins(1),
            })
        })
    }
}

/// TLS servers with a certificate of their own, and who vouches for them.
pub(crate) struct Tls {
    config: ServerConfig,
    pub(crate) roots: RootCertStore,
}

impl Tls {
    /// For a name; `protocols` are what the server offers.
    pub(crate) fn new(name: &str, protocols: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        Self { config, roots }
    }

    /// A host that does this behind TLS.
    pub(crate) fn serve<F>(
        &self,
        inner: impl Fn(TlsStream<DuplexStream>) -> F + Send + Sync + 'static,
    ) -> Host
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(Arc::new(self.config.clone()));
        let inner = Arc::new(inner);
        serve(move |stream| {
            let (acceptor, inner) = (acceptor.clone(), Arc::clone(&inner));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    inner(stream).await;
                }
            }
        })
    }
}
