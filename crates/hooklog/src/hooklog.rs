//! The log with what a program does to it: publish, consume, subscribe, push, close.
//!
//! **Invariant:** [`Hooklog::close`] ends from the outside in: closures, then deliveries, then the log;
//! nothing that it started outlives it.
//! **Next:** `worker.rs`, which runs closures; `push.rs`, which sends to endpoints.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    AppendError, Appended, Application, ChangeError, CommitError, Config, Consumer, ConsumerError,
    ConsumerOptions, DEFAULT_ORGANISATION, Event, EventLog, IdError, NameError, NewApplication,
    OpenError, OrganisationId,
};
use tokio::sync::watch;

/// What closures and deliveries under way get to finish when everything is closed; senders of
/// webhooks wait 15 s, and what is cut off happens again.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// An open log with its closures and, if started, its dispatcher. Clones share it.
///
/// Dropping the last clone without [`close`](Self::close) loses nothing that was acknowledged, but
/// what was under way happens again.
#[derive(Clone, Debug)]
pub struct Hooklog {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) log: EventLog,
    /// Tells all closures to stop.
    pub(crate) stop: watch::Sender<bool>,
    /// How many closures' workers there are.
    pub(crate) workers: watch::Sender<usize>,
    #[cfg(feature = "dispatcher")]
    pub(crate) dispatcher: tokio::sync::Mutex<Option<hooklog_dispatcher::Dispatcher>>,
}

/// Why there is no application of that name.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// The uid is not a name.
    #[error("the application's uid {0}")]
    Uid(#[from] NameError),
    /// The id of the organisation is not one.
    #[error(transparent)]
    Organisation(#[from] IdError),
    /// It could not be created.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// What went wrong while closing. Everything was closed nevertheless, as far as it could be.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// A closure did not return in time; its event comes again.
    #[error("{workers} closures did not return within {} s", limit.as_secs())]
    Late {
        /// How many.
        workers: usize,
        /// The time they had.
        limit: Duration,
    },
    /// The log did not close cleanly. What was acknowledged is on disk all the same.
    #[error("the log did not close cleanly")]
    Log(#[source] CommitError),
    /// There was no runtime to close it in.
    #[error("cannot start a runtime")]
    Runtime(#[source] std::io::Error),
}

impl From<EventLog> for Hooklog {
    fn from(log: EventLog) -> Self {
        let (stop, _) = watch::channel(false);
        let (workers, _) = watch::channel(0);
        let inner = Inner {
            log,
            stop,
            workers,
            #[cfg(feature = "dispatcher")]
            dispatcher: tokio::sync::Mutex::new(None),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Hooklog {
    /// Opens the log in a directory with the default settings, creating or recovering it. Blocks:
    /// recovery reads what a crash left, which takes a second or two after a heavy load.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::open_with(Config::new(directory))
    }

    /// [`open`](Self::open) with other settings.
    pub fn open_with(config: Config) -> Result<Self, OpenError> {
        EventLog::open(config).map(Self::from)
    }

    /// The log itself, for everything that is not here.
    pub fn log(&self) -> &EventLog {
        &self.inner.log
    }

    /// The application with this uid in the default organisation (the one that the server's tokens
    /// speak for unless told otherwise), created if there is none.
    pub async fn application(&self, uid: &str) -> Result<Arc<Application>, ApplicationError> {
        let new = match self.lookup(uid)? {
            Ok(found) => return Ok(found),
            Err(new) => new,
        };
        match self.inner.log.create_application(new).await {
            Ok(created) => Ok(created),
            Err(error) => self.created_meanwhile(uid, error),
        }
    }

    /// [`application`](Self::application) for callers without a runtime.
    pub fn application_blocking(&self, uid: &str) -> Result<Arc<Application>, ApplicationError> {
        let new = match self.lookup(uid)? {
            Ok(found) => return Ok(found),
            Err(new) => new,
        };
        match self.inner.log.create_application_blocking(new) {
            Ok(created) => Ok(created),
            Err(error) => self.created_meanwhile(uid, error),
        }
    }

    /// The application, or what to create.
    fn lookup(
        &self,
        uid: &str,
    ) -> Result<Result<Arc<Application>, NewApplication>, ApplicationError> {
        let organisation: OrganisationId = DEFAULT_ORGANISATION.parse()?;
        if let Some(found) = self
            .inner
            .log
            .registry()
            .find_application(organisation, uid)
        {
            return Ok(Ok(Arc::clone(found)));
        }
        Ok(Err(NewApplication {
            uid: Some(uid.parse()?),
            ..NewApplication::new(organisation, uid)
        }))
    }

    fn created_meanwhile(
        &self,
        uid: &str,
        error: ChangeError,
    ) -> Result<Arc<Application>, ApplicationError> {
        match self.lookup(uid)? {
            Ok(found) => Ok(found),
            Err(_) => Err(error.into()),
        }
    }

    /// Publishes one event; returns when it survives power loss.
    ///
    /// # Cancel safety
    /// A dropped call may or may not publish.
    pub async fn publish(&self, event: Event) -> Result<Appended, AppendError> {
        one(self.inner.log.append(vec![event]).await?)
    }

    /// [`publish`](Self::publish) for callers without a runtime.
    pub fn publish_blocking(&self, event: Event) -> Result<Appended, AppendError> {
        one(self.inner.log.append_blocking(vec![event])?)
    }

    /// Publishes events in one commit, all or none; one outcome for each.
    pub async fn publish_all(&self, events: Vec<Event>) -> Result<Vec<Appended>, AppendError> {
        self.inner.log.append(events).await
    }

    /// [`publish_all`](Self::publish_all) for callers without a runtime.
    pub fn publish_all_blocking(&self, events: Vec<Event>) -> Result<Vec<Appended>, AppendError> {
        self.inner.log.append_blocking(events)
    }

    /// Opens a consumer; see [`EventLog::consumer`].
    pub async fn consumer(
        &self,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, ConsumerError> {
        self.inner.log.consumer(name, options).await
    }

    /// [`consumer`](Self::consumer) for callers without a runtime.
    pub fn consumer_blocking(
        &self,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, ConsumerError> {
        self.inner.log.consumer_blocking(name, options)
    }

    /// Lets closures finish the events that they are at (for 10 s at most), stops the dispatcher,
    /// applies and syncs everything, and closes the log. Goes through all steps whatever happens,
    /// and returns the first problem. Consumers and streams then end.
    ///
    /// The directory can be opened again once the last clone, consumer and tail is dropped.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.inner.stop.send_replace(true);
        let mut workers = self.inner.workers.subscribe();
        let ended = tokio::time::timeout(DRAIN, workers.wait_for(|count| *count == 0)).await;
        let late = ended.is_err().then(|| CloseError::Late {
            workers: *self.inner.workers.borrow(),
            limit: DRAIN,
        });
        #[cfg(feature = "dispatcher")]
        if let Some(dispatcher) = self.inner.dispatcher.lock().await.take() {
            dispatcher.stop(DRAIN).await;
        }
        let log = self.inner.log.clone();
        let closed = match tokio::task::spawn_blocking(move || log.close()).await {
            Ok(closed) => closed,
            // The runtime is going down.
            Err(_) => Err(CommitError::Closed),
        };
        late.map_or(Ok(()), Err)?;
        closed.map_err(CloseError::Log)
    }

    /// [`close`](Self::close) for callers without a runtime; not to be called within one.
    pub fn close_blocking(&self) -> Result<(), CloseError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(CloseError::Runtime)?;
        runtime.block_on(self.close())
    }
}

/// One event gives one outcome.
fn one(appended: Vec<Appended>) -> Result<Appended, AppendError> {
    let closed = || AppendError::Commit(CommitError::Closed);
    appended.into_iter().next().ok_or_else(closed)
}

#[cfg(test)]
mod tests;
