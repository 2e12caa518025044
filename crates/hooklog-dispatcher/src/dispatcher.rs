//! The handle of a running dispatcher.
//!
//! **Invariant:** all tasks of a dispatcher end with it: by `stop` in good order, by a drop at
//! once, as in a crash (nothing is lost, some deliveries may be repeated).
//! **Next:** `driver.rs`, the task behind it.

use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{EventLog, ReadError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError};
use crate::deliver::Deliver;
use crate::driver::{self, Driver};
use crate::resolve::Resolver;
use crate::resolve::system::NameServers;

/// A running dispatcher: it pushes the events of a log to the endpoints of its subscriptions.
#[derive(Debug)]
pub struct Dispatcher {
    stop: oneshot::Sender<Duration>,
    tasks: JoinSet<()>,
}

/// Why a dispatcher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log does not say where the deliveries stand.
    #[error("cannot read where the deliveries stand")]
    Read(#[from] ReadError),
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    Runtime,
}

impl Dispatcher {
    /// Starts to push the events of a log, going on where the last dispatcher stopped or died.
    ///
    /// There must be one dispatcher per log. Runs inside a tokio runtime.
    pub async fn start(log: EventLog, config: Config) -> Result<Self, StartError> {
        config.check()?;
        let read_at = driver::clock();
        let reading = log.clone();
        let state = tokio::task::spawn_blocking(move || reading.dispatch_state())
            .await
            .map_err(|_| StartError::Runtime)??;
        let name_servers = NameServers::new(&config.name_servers);
        let deliver = Deliver::new(&config, Arc::new(Resolver::new(name_servers)));
        let from = state.mark;
        let driver = Driver::new(log, deliver, &config, state, read_at);
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run(from, stopped));
        Ok(Self { stop, tasks })
    }

    /// Resolves when the dispatcher ended by itself: the log takes nothing more, or a task of it
    /// panicked. It has logged why.
    ///
    /// # Cancel safety
    /// It may be dropped and called again.
    pub async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Stops: starts no attempt any more, waits at most `drain` for those in flight, and records
    /// all outcomes and cursors.
    pub async fn stop(mut self, drain: Duration) {
        // An error means that the driver has stopped before, and has said why.
        let _ = self.stop.send(drain);
        while self.tasks.join_next().await.is_some() {}
    }
}
