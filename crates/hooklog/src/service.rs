//! The whole service in one value: log, dispatcher and server, started and stopped in order.
//!
//! **Invariant:** parts start from the log outwards and stop from the outside in (requests end,
//! deliveries end, the log closes), each within a bounded time, so nothing writes to a closed log.
//! **Next:** `hooklog-server`'s `server.rs`, where requests come in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hooklog_dispatcher::{Dispatcher, Guard};
use hooklog_server::token::{MintError, Subject, mint};
use hooklog_server::{
    AccessLog, Address, BindError, Limits, RateLimits, Server, TlsFiles, TokenKeys, UrlPolicy,
};
use hooklog_storage::{CommitError, EventLog, OpenError};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How much longer than its drain time a part may take before it is given up.
const GRACE: Duration = Duration::from_secs(5);
/// Longest time for the log to apply and sync what is left: its bound of unapplied bytes takes a
/// few seconds on a slow disk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long messages and attempts are kept: what users of Svix-compatible servers know.
const RETENTION: Duration = Duration::from_hours(90 * 24);

/// Settings of all parts; see [`Config::new`] for the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log. Unlike the storage crate by itself, messages and attempts expire after 90 days.
    pub log: hooklog_storage::Config,
    /// The dispatcher. Its allowed networks also decide which endpoint URLs the server takes.
    pub dispatcher: hooklog_dispatcher::Config,
    /// Where the server listens; port 0 picks a free one.
    pub listen: Vec<Address>,
    /// With files, the TCP addresses speak TLS alone.
    pub tls: Option<TlsFiles>,
    /// What signs and verifies bearer tokens.
    pub token_keys: TokenKeys,
    /// Bounds and deadlines of the server.
    pub limits: Limits,
    /// Whether each request is logged.
    pub access_log: AccessLog,
    /// How many requests a token's subject may make.
    pub rate_limits: RateLimits,
    /// Longest time that requests, and then deliveries, get to finish when the service stops.
    pub drain_timeout: Duration,
}

impl Config {
    /// The defaults for a data directory and a key.
    pub fn new(directory: impl Into<PathBuf>, token_keys: impl Into<TokenKeys>) -> Self {
        let mut log = hooklog_storage::Config::new(directory);
        log.retention.events.age = Some(RETENTION);
        log.retention.attempts.age = Some(RETENTION);
        let server = hooklog_server::Config::new(token_keys);
        Self {
            log,
            dispatcher: hooklog_dispatcher::Config::default(),
            listen: server.listen,
            tls: server.tls,
            token_keys: server.token_keys,
            limits: server.limits,
            access_log: server.access_log,
            rate_limits: server.rate_limits,
            // Both drains and the log's close stay below the 90 s after which systemd kills.
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Why the service did not start. What had started is stopped again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log did not open.
    #[error(transparent)]
    Open(OpenError),
    /// The dispatcher did not start.
    #[error("cannot start the dispatcher")]
    Dispatcher(#[source] hooklog_dispatcher::StartError),
    /// The server cannot listen.
    #[error("cannot start the server")]
    Bind(#[source] BindError),
    /// The task that opens the log died.
    #[error("opening the log was interrupted")]
    Interrupted(#[source] JoinError),
}

/// A part ended although nobody stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} ended by itself")]
pub struct FailedError {
    /// Which.
    pub part: &'static str,
}

/// What went wrong while stopping. All parts were stopped nevertheless, as far as they could be.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// A part did not end in time.
    #[error("{part} did not stop within {} s", limit.as_secs())]
    Late {
        /// Which.
        part: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The log did not close cleanly. What was acknowledged is on disk all the same.
    #[error("the log did not close cleanly")]
    Close(#[source] CommitError),
    /// The task that closes the log died.
    #[error("closing the log was interrupted")]
    Interrupted(#[source] JoinError),
}

/// A running service. Dropping it ends everything at once, as a crash would: nothing that was
/// acknowledged is lost, but deliveries in flight happen again.
#[derive(Debug)]
pub struct Service {
    log: EventLog,
    dispatcher: Dispatcher,
    /// Holds one task, so that dropping the service ends it.
    server: JoinSet<()>,
    addresses: Vec<Address>,
    shutdown: CancellationToken,
    token_keys: TokenKeys,
    drain_timeout: Duration,
}

impl Service {
    /// Opens the log, starts the dispatcher, starts the server. Call it within a tokio runtime.
    ///
    /// # Cancel safety
    /// A dropped call ends what it had started; the log closes when its recovery is through.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let opening = tokio::task::spawn_blocking(move || EventLog::open(config.log));
        let log = opening
            .await
            .map_err(StartError::Interrupted)?
            .map_err(StartError::Open)?;
        let guard = Guard::new(config.dispatcher.allow_networks.clone());
        let dispatcher = Dispatcher::start(log.clone(), config.dispatcher)
            .await
            .map_err(StartError::Dispatcher)?;
        let server_config = hooklog_server::Config {
            listen: config.listen,
            tls: config.tls,
            token_keys: config.token_keys.clone(),
            limits: config.limits,
            access_log: config.access_log,
            rate_limits: config.rate_limits,
            url_policy: UrlPolicy::new(move |url| {
                guard.check_url(url).map_err(|blocked| blocked.to_string())
            }),
        };
        let server = match Server::bind(log.clone(), server_config).await {
            Ok(server) => server,
            Err(error) => {
                dispatcher.stop(Duration::ZERO).await;
                return Err(StartError::Bind(error));
            }
        };
        let (addresses, shutdown) = (server.addresses().to_vec(), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(server.run(shutdown.clone(), config.drain_timeout));
        Ok(Self {
            log,
            dispatcher,
            server: task,
            addresses,
            shutdown,
            token_keys: config.token_keys,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Where the server listens, in the order asked for, with the ports that the system chose.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The first of them that is of TCP.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.iter().find_map(Address::tcp)
    }

    /// The log, for publishing and reading without HTTP.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// A bearer token for the server, valid from now on.
    #[expect(
        clippy::disallowed_methods,
        reason = "the composition root: tokens start now"
    )]
    pub fn token(&self, subject: Subject, expires: Duration) -> Result<String, MintError> {
        mint(
            self.token_keys.current(),
            subject,
            SystemTime::now().into(),
            expires,
        )
    }

    /// Resolves if the server or the dispatcher ends although nobody stopped it: a service that
    /// accepts events and delivers none must not look alive.
    ///
    /// A log that stopped after an I/O error ends the dispatcher, too, but not the service: it still
    /// answers reads, refuses writes with 503, and says so in `/api/v1/health`.
    ///
    /// # Cancel safety
    /// It may be dropped and called again.
    pub async fn failed(&mut self) -> FailedError {
        let (log, dispatcher) = (&self.log, &mut self.dispatcher);
        let dispatcher_failed = async {
            dispatcher.ended().await;
            if log.poisoned().is_some() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = self.server.join_next() => FailedError { part: "server" },
            () = dispatcher_failed => FailedError { part: "dispatcher" },
        }
    }

    /// Stops accepting requests and lets running ones finish, then deliveries, then closes the log.
    /// Goes through all steps whatever happens, and returns the first problem.
    ///
    /// The directory can be opened again once the last clone of the log is dropped.
    pub async fn stop(mut self) -> Result<(), StopError> {
        self.shutdown.cancel();
        let limit = self.drain_timeout + GRACE;
        let late = |part| StopError::Late { part, limit };
        let server = tokio::time::timeout(limit, self.server.join_next()).await;
        // Ends the task if it is late; nothing of it may write once the log closes.
        self.server.shutdown().await;
        let dispatcher = self.dispatcher.stop(self.drain_timeout);
        let dispatcher = tokio::time::timeout(limit, dispatcher).await;
        let closed = close(self.log).await;
        server.map_err(|_| late("the server"))?;
        dispatcher.map_err(|_| late("the dispatcher"))?;
        closed
    }
}

async fn close(log: EventLog) -> Result<(), StopError> {
    let closing = tokio::task::spawn_blocking(move || log.close());
    match tokio::time::timeout(CLOSE_TIMEOUT, closing).await {
        Ok(Ok(result)) => result.map_err(StopError::Close),
        Ok(Err(error)) => Err(StopError::Interrupted(error)),
        Err(_) => Err(StopError::Late {
            part: "the log",
            limit: CLOSE_TIMEOUT,
        }),
    }
}

#[cfg(test)]
mod tests;
