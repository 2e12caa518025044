//! What all requests share.
//!
//! **Invariant:** reads of the log that may touch the disk run on blocking threads, at most
//! `reads_max` at once; the slot is held by the read itself, not by the request that asked, so
//! clients that hang up cannot pile up reads. Tasks are tracked, so shutdown waits.
//! **Next:** `dispatch.rs`.

use std::sync::Arc;
use std::time::SystemTime;

use hooklog_storage::{EventLog, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Limits, UrlPolicy};
use crate::error::ApiError;
use crate::token::TokenKey;

/// One per server.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: EventLog,
    pub(crate) token_key: TokenKey,
    pub(crate) limits: Limits,
    pub(crate) url_policy: UrlPolicy,
    /// Bytes of request bodies that may still be taken in.
    pub(crate) body_bytes: Arc<Semaphore>,
    /// Requests that run in tasks of their own.
    pub(crate) tasks: TaskTracker,
    reads: Arc<Semaphore>,
}

impl State {
    pub(crate) fn new(log: EventLog, config: Config) -> Self {
        let limits = config.limits;
        Self {
            log,
            token_key: config.token_key,
            limits,
            url_policy: config.url_policy,
            body_bytes: permits(limits.body_bytes_in_flight_max),
            tasks: TaskTracker::new(),
            reads: permits(limits.reads_max),
        }
    }

    /// Runs `read` where it may block.
    pub(crate) async fn read<T, E>(
        &self,
        read: impl FnOnce(&EventLog) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        E: Into<ApiError> + Send + 'static,
    {
        let slot = Arc::clone(&self.reads).acquire_owned().await;
        let log = self.log.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            read(&log)
        });
        done.await?.map_err(Into::into)
    }
}

fn permits(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)))
}

/// The time of a request, read once at its door.
#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of the server, for token expiry"
)]
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}
