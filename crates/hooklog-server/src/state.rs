//! What all requests share.
//!
//! **Invariant:** reads of the log that may touch the disk run on blocking threads, at most
//! `reads_max` at once; the slot is held by the read itself, not by the request that asked, so
//! clients that hang up cannot pile up reads. A request waits for a slot for `read_wait_timeout` at
//! most. Tasks are tracked, so shutdown waits.
//! **Next:** `dispatch.rs`.

use std::sync::Arc;
use std::time::SystemTime;

use hooklog_storage::{EventLog, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::answers::Pool;
use crate::config::{Config, Limits, UrlPolicy};
use crate::error::ApiError;
use crate::rate::Rates;
use crate::repeat::AtWork;
use crate::request_id::RequestIds;
use crate::token::TokenKeys;
use crate::verified::Verified;
use crate::visit::AccessLog;
use crate::waiters::Waiters;

/// Answers made into XML at once: with 64 MiB each at most, as much memory as for answers in all.
const SHAPES_MAX: usize = 4;

/// One per server.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: EventLog,
    pub(crate) token_keys: TokenKeys,
    pub(crate) limits: Limits,
    pub(crate) url_policy: UrlPolicy,
    pub(crate) portal_url: Option<Url>,
    pub(crate) access_log: AccessLog,
    pub(crate) request_ids: RequestIds,
    pub(crate) rates: Rates,
    /// Bytes of request bodies that may still be taken in.
    pub(crate) body_bytes: Arc<Semaphore>,
    /// Bytes of answers to reads that may still be held.
    pub(crate) read_answers: Pool,
    /// The same for answers to writes, apart from them: readers who do not take their answers must
    /// not stop those who publish.
    pub(crate) write_answers: Pool,
    /// Requests that run in tasks of their own.
    pub(crate) tasks: TaskTracker,
    /// Requests with idempotency keys of their own that are at work.
    pub(crate) at_work: AtWork,
    /// Tokens of this second.
    pub(crate) verified: Verified,
    /// Answers that are made into XML at once: each may grow to many times its JSON first.
    pub(crate) shapes: Arc<Semaphore>,
    /// One backup at a time: each keeps expired events from being removed.
    pub(crate) backups: Arc<Semaphore>,
    /// Who waits for events.
    pub(crate) waiters: Arc<Waiters>,
    /// The server is about to stop: who waits is answered, and streams end.
    pub(crate) stopping: CancellationToken,
    reads: Arc<Semaphore>,
}

impl State {
    pub(crate) fn new(log: EventLog, config: Config) -> Self {
        let limits = config.limits;
        Self {
            waiters: Arc::new(Waiters::new(log.clone(), &limits)),
            stopping: CancellationToken::new(),
            log,
            token_keys: config.token_keys,
            limits,
            url_policy: config.url_policy,
            portal_url: config.portal_url,
            access_log: config.access_log,
            request_ids: RequestIds::new(),
            rates: Rates::new(config.rate_limits),
            body_bytes: permits(limits.body_bytes_in_flight_max),
            read_answers: Pool::new(limits.answer_bytes_in_flight_max),
            write_answers: Pool::new(limits.answer_bytes_in_flight_max),
            tasks: TaskTracker::new(),
            at_work: AtWork::default(),
            verified: Verified::default(),
            shapes: permits(SHAPES_MAX),
            backups: permits(1),
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
        let free = Arc::clone(&self.reads).try_acquire_owned();
        let slot = if let Ok(slot) = free {
            Some(slot)
        } else {
            let slot = Arc::clone(&self.reads).acquire_owned();
            // In a box, for reads seldom wait, and all that may read would carry the timer.
            let slot = Box::pin(tokio::time::timeout(self.limits.read_wait_timeout, slot)).await;
            slot.map_err(|_| ApiError::Busy("too many reads at once".to_owned()))?
                .ok()
        };
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::token::TokenKey;

    #[tokio::test]
    async fn a_read_waits_for_its_turn_but_not_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = hooklog_storage::Config::new(directory.path().join("data"));
        settings.journal_segment_bytes = 8 << 20;
        let key = TokenKey::new("the secret of the tests").expect("long enough");
        let mut config = Config::new(key);
        config.limits.reads_max = 1;
        config.limits.read_wait_timeout = Duration::from_millis(50);
        let log = EventLog::open(settings).expect("opens");
        let state = State::new(log, config);
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let first = state.read(move |_| {
            begun.send(()).expect("is awaited");
            ends.blocking_recv().expect("is told");
            Ok::<_, ApiError>(())
        });
        let second = async {
            begins.await.expect("begins");
            let refused = state.read(|_| Ok::<_, ApiError>(())).await;
            assert!(matches!(refused, Err(ApiError::Busy(_))));
            end.send(()).expect("still reads");
        };
        let (first, ()) = tokio::join!(first, second);
        first.expect("is read");
        state.read(|_| Ok::<_, ApiError>(())).await.expect("free");
    }
}
