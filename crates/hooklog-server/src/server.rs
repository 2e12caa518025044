//! The server: listens, accepts, and stops in good order.
//!
//! **Invariant:** no task outlives [`Server::run`] but writes that the log is still busy with. An
//! error of one connection never stops the accept loop.
//! **Next:** `listen.rs`, `tls.rs`, then `connection.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::EventLog;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection;
use crate::listen::{Accepted, Address, Listeners};
use crate::state::State;
use crate::tls::{Tls, TlsError};

/// How long accepting pauses when descriptors ran out: connections end in the meantime.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    addresses: Vec<Address>,
    tls: Option<Arc<Tls>>,
    state: Arc<State>,
}

/// Why a server could not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused an address.
    #[error("cannot listen on {address}")]
    Address {
        /// The address asked for.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// There is none.
    #[error("there is no address to listen on")]
    Nowhere,
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Server {
    /// Starts to listen; clients can connect from now on and are served by [`run`](Self::run).
    pub async fn bind(log: EventLog, mut config: Config) -> Result<Self, BindError> {
        let tls = match config.tls.take() {
            Some(files) => Some(Arc::new(Tls::load(files, &config.limits).await?)),
            None => None,
        };
        let failed = |(address, source)| BindError::Address { address, source };
        let listeners = Listeners::bind(&config.listen).await.map_err(failed)?;
        let addresses = listeners.addresses();
        let first = config.listen.first().ok_or(BindError::Nowhere)?;
        let addresses = addresses.map_err(|source| failed((first.clone(), source)))?;
        Ok(Self {
            listeners,
            addresses,
            tls,
            state: Arc::new(State::new(log, config)),
        })
    }

    /// Where it listens, in the order asked for; says which port when port 0 was asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The first of them that is of TCP.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.iter().find_map(Address::tcp)
    }

    /// Serves until `shutdown`, then finishes what is in flight, for at most `drain`; what is left
    /// then is cut off. Accepting stops first.
    ///
    /// # Cancel safety
    /// Dropping it stops accepting and cuts connections off at once.
    pub async fn run(self, shutdown: CancellationToken, drain: Duration) {
        let Self {
            mut listeners,
            tls,
            state,
            ..
        } = self;
        let mut upkeep = JoinSet::new();
        if let Some(tls) = &tls {
            let (tls, interval) = (Arc::clone(tls), state.limits.tls_files_interval);
            upkeep.spawn(async move { tls.follow(interval).await });
        }
        let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
        let cut_on_drop = cut.clone().drop_guard();
        // Also when this future is dropped.
        let stopping = state.stopping.clone().drop_guard();
        let waking = Arc::clone(&state.waiters).run(state.stopping.clone());
        state.tasks.spawn(waking);
        let slots = state
            .limits
            .connections_max
            .clamp(1, Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(slots));
        while let Some((stream, slot)) = next(&mut listeners, &slots, &shutdown).await {
            let (state, shutdown, cut) = (Arc::clone(&state), shutdown.clone(), cut.clone());
            let tls = tls.clone();
            connections.spawn(async move {
                let _slot = slot;
                connection::serve(state, stream, tls, shutdown, cut).await;
            });
        }
        drop(listeners);
        // Who waits is answered at once.
        drop(stopping);
        connections.close();
        state.tasks.close();
        let finished = async {
            connections.wait().await;
            state.tasks.wait().await;
        };
        if tokio::time::timeout(drain, finished).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "cut off after the drain time"
            );
        }
        drop(cut_on_drop);
        connections.wait().await;
    }
}

/// The next connection, once there is room for it; `None` at shutdown.
async fn next(
    listeners: &mut Listeners,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(Accepted, OwnedSemaphorePermit)> {
    let accept = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listeners.accept().await {
                Ok(accepted) => {
                    if let Accepted::Tcp(stream, _) = &accepted {
                        // Answers are written whole; waiting for more to send only delays them. If
                        // it fails the connection is gone, and reading from it will say so.
                        let _outcome = stream.set_nodelay(true);
                    }
                    return Some((accepted, slot));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: trying at once would spin.
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot accept a connection"
                    );
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        accepted = accept => accepted,
    }
}

/// Errors of a connection that died in the backlog; `accept` hands them on.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
