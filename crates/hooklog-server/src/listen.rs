//! Where the server listens: TCP addresses and Unix sockets, side by side.
//!
//! **Invariant:** a socket file of somebody who still answers is never removed, nor is a file that is
//! no socket; our own goes when we stop listening, unless somebody put another in its place.
//! **Next:** `tls.rs`.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// What a Unix socket's path starts with.
const UNIX: &str = "unix:";
/// The owner and the group may connect: the group is how a proxy is let in.
const SOCKET_MODE: u32 = 0o660;
/// How long a socket that is already there may take to answer; it is on this machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// An address to listen on, as `127.0.0.1:8071` or `unix:/run/hooklog.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// An IP address and a port; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A Unix socket at a path, open to the owner and the group of the process.
    Unix(PathBuf),
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is neither an address with a port, as 127.0.0.1:8071, nor a socket, as \
     unix:/run/hooklog.sock"
)]
pub struct AddressError {
    /// What was found.
    pub text: String,
}

impl Address {
    /// The IP address and port, if it has them.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<(Ipv4Addr, u16)> for Address {
    fn from(address: (Ipv4Addr, u16)) -> Self {
        Self::Tcp(address.into())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError {
            text: text.to_owned(),
        };
        match text.strip_prefix(UNIX) {
            Some("") => Err(wrong()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| wrong()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A process of this machine; it has no address.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A connection as it was accepted.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// All that the server listens on.
#[derive(Debug)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    /// Who is asked first next time, so that a busy one does not starve the others.
    turn: usize,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listeners {
    /// Listens on each address, or on none of them.
    pub(crate) async fn bind(addresses: &[Address]) -> Result<Self, (Address, io::Error)> {
        let mut all = Vec::new();
        for address in addresses {
            let bound = match address {
                Address::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
                Address::Unix(path) => bind_unix(path).await,
            };
            all.push(bound.map_err(|error| (address.clone(), error))?);
        }
        Ok(Self { all, turn: 0 })
    }

    /// Where it listens, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> io::Result<Vec<Address>> {
        let addresses = self.all.iter().map(|listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Listener::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
        });
        addresses.collect()
    }

    /// The next connection of any of them.
    ///
    /// # Cancel safety
    /// A connection is either returned or still in the backlog.
    pub(crate) async fn accept(&mut self) -> io::Result<Accepted> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let count = self.all.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(listener) = self.all.get(index) else {
                continue;
            };
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                self.turn = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

impl Listener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp(listener) => listener
                .poll_accept(context)
                .map_ok(|(stream, peer)| Accepted::Tcp(stream, peer)),
            Self::Unix(listener, _) => listener
                .poll_accept(context)
                .map_ok(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

async fn bind_unix(path: &Path) -> io::Result<Listener> {
    remove_stale(path).await?;
    let listener = UnixListener::bind(path)?;
    // Before that, what the umask left: with the usual ones, less.
    let file = SocketFile::of(path)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(Listener::Unix(listener, file))
}

/// Removes the socket of a server that was killed.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let what = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match tokio::time::timeout(ANSWER_TIMEOUT, UnixStream::connect(path)).await {
        // Only this says that nobody listens; a full backlog, for one, says something else.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if SocketFile::of(path).is_ok_and(|now| now.is(&found)) {
                tracing::info!(path = %path.display(), "removed the socket of a server that is gone");
                fs::remove_file(path)?;
            }
            Ok(())
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Ok(_)) | Err(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "somebody listens there",
        )),
        Ok(Err(error)) => Err(error),
    }
}

/// A socket in the file system: which file it is, besides its path.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn is(&self, other: &Metadata) -> bool {
        (self.device, self.inode) == (other.dev(), other.ino())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Self::Unix(_, file) = self else {
            return;
        };
        let is_ours = fs::symlink_metadata(&file.path).is_ok_and(|found| file.is(&found));
        if is_ours && let Err(error) = fs::remove_file(&file.path) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(path = %file.path.display(), error, "cannot remove the socket");
        }
    }
}

#[cfg(test)]
mod tests;
