//! TLS by rustls: the certificate and its key from PEM files, read again when they change.
//!
//! **Invariant:** a new pair of files takes effect whole or not at all; while the files are unusable
//! the server goes on with what it had, and says so once. A handshake has a deadline, and a bounded
//! number of them runs at once.
//! **Next:** `transport.rs`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::Limits;
use crate::transport::Transport;

/// Most bytes of either file: a chain of certificates takes some KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What is spoken above TLS, the preferred first (RFC 7301, RFC 9113 §3.2).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate first, then those between it and a known root.
    pub certificate: PathBuf,
    /// PEM: the key of the first certificate (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is something else.
    #[error("{} has more than {FILE_BYTES_MAX} bytes, so it is no PEM file of TLS", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what it should, in PEM form.
    #[error("no {what} in PEM form in {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What was wrong, unless there was simply none.
        source: Option<pem::Error>,
    },
    /// The key is none that can be used, or it is not that of the certificate.
    #[error("{} does not go with {}", key.display(), certificate.display())]
    Pair {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// TLS itself cannot be set up.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    /// The task that reads the files died.
    #[error("reading the files of TLS was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// What a server needs to speak TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    acceptor: Acceptor,
    current: Arc<Current>,
    handshakes: Semaphore,
    /// What [`Tls::follow`] compares with.
    loaded: Contents,
}

struct Acceptor(TlsAcceptor);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor(…)")
    }
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// The files' contents, to tell whether they changed.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contents(…)")
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) async fn load(files: TlsFiles, limits: &Limits) -> Result<Self, TlsError> {
        let contents = Contents::read(&files).await?;
        let current = Arc::new(Current(RwLock::new(contents.parse(&files)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self {
            files,
            acceptor: Acceptor(TlsAcceptor::from(Arc::new(config))),
            current,
            handshakes: Semaphore::new(limits.handshakes_max.clamp(1, Semaphore::MAX_PERMITS)),
            loaded: contents,
        })
    }

    /// Looks at the files every `interval`, for ever. Their contents are compared, not their times:
    /// times can stay the same, and links to directories can be exchanged.
    pub(crate) async fn follow(&self, interval: Duration) {
        let mut seen = Some(self.loaded.clone());
        loop {
            tokio::time::sleep(interval).await;
            match self.look(&mut seen).await {
                None => {}
                Some(Ok(())) => {
                    let path = self.files.certificate.display();
                    tracing::info!(certificate = %path, "the certificate was read again");
                }
                Some(Err(error)) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the new TLS files are not usable; the old certificate stays"
                ),
            }
        }
    }

    /// What came of the files if they are not as they were `seen` the last time, used or not.
    async fn look(&self, seen: &mut Option<Contents>) -> Option<Result<(), TlsError>> {
        let found = Contents::read(&self.files).await;
        let contents = match found {
            Ok(contents) if seen.as_ref() == Some(&contents) => return None,
            Ok(contents) => contents,
            // Said once, until there is something again.
            Err(_) if seen.is_none() => return None,
            Err(error) => {
                *seen = None;
                return Some(Err(error));
            }
        };
        let parsed = contents.parse(&self.files);
        *seen = Some(contents);
        Some(parsed.map(|pair| *self.current.0.write() = pair))
    }

    /// The handshake with a client; `None` if it comes to nothing in time.
    pub(crate) async fn accept(&self, stream: TcpStream, limits: &Limits) -> Option<Transport> {
        let handshake = async {
            // Silent clients take no place: a handshake begins with the client's hello. Only a look at
            // it tells, for a socket may be called readable that is not.
            stream.peek(&mut [0]).await?;
            let _place = self.handshakes.acquire().await.map_err(io::Error::other)?;
            self.acceptor.0.accept(stream).await
        };
        match tokio::time::timeout(limits.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Some(Transport::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                // A client's doing: scanners, plain HTTP, roots that are not known.
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                None
            }
        }
    }
}

impl Contents {
    async fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let files = files.clone();
        let reading = tokio::task::spawn_blocking(move || {
            Ok(Self {
                certificate: read_bounded(&files.certificate)?,
                key: read_bounded(&files.key)?,
            })
        });
        reading.await.map_err(TlsError::Interrupted)?
    }

    /// The pair that can be shown to clients.
    fn parse(&self, files: &TlsFiles) -> Result<Arc<CertifiedKey>, TlsError> {
        warn_if_open(&files.key);
        let no_certificate = |source| TlsError::Pem {
            path: files.certificate.clone(),
            what: "certificate",
            source,
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| no_certificate(Some(error)))?;
        if chain.is_empty() {
            return Err(no_certificate(None));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsError::Pem {
            path: files.key.clone(),
            what: "private key",
            source: Some(error).filter(|error| !matches!(error, pem::Error::NoItemsFound)),
        })?;
        let pair = CertifiedKey::from_der(chain, key, &default_provider());
        pair.map(Arc::new).map_err(|source| TlsError::Pair {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
            source,
        })
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    let count = u64::try_from(read.map_err(failed)?).unwrap_or(u64::MAX);
    if count > FILE_BYTES_MAX {
        return Err(TlsError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// A group that may read the key is how some systems share it; everybody is a mistake.
fn warn_if_open(key: &Path) {
    let mode = key.metadata().map_or(0, |found| found.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!(path = %key.display(), mode = format_args!("{:o}", mode & 0o777),
            "every user of the machine may read the TLS key");
    }
}

#[cfg(test)]
mod tests;
