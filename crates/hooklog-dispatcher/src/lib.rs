//! Pushes the events of a log to the endpoints of its subscriptions, each at least once.
//!
//! One task follows the log's tail and routes each record through an index to the lanes of the
//! subscriptions that want it. A lane makes signed attempts within its bounds, parks what failed
//! until the schedule says so, and moves its cursor over what is settled. It keeps the order that its
//! subscription asks for and the pace that its endpoint bears; while the endpoint is down it tries one
//! event at a time and burns none. What happened is recorded in the log itself, so a dispatcher that
//! was killed goes on where it was.
//!
//! ```text
//! log.tail ─► reader ─► driver ─► board: route ─► lane ─► driver ─► deliver ─► endpoint
//!                         ▲         │                       │
//!                         └─────────┴── log.record ◄── flush ◄── ack ◄── outcome
//! ```
//!
//! ```
//! use hooklog_dispatcher::{Config, Dispatcher};
//! use hooklog_storage::EventLog;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let log = EventLog::open(hooklog_storage::Config::new(directory.path()))?;
//! // Only public networks are sent to unless others are named here.
//! let config = Config { allow_networks: vec!["127.0.0.0/8".parse()?], ..Config::default() };
//! let dispatcher = Dispatcher::start(log.clone(), config).await?;
//! // … publish; each event goes to the endpoints of the subscriptions that want it.
//! dispatcher.stop(std::time::Duration::from_secs(10)).await;
//! tokio::task::spawn_blocking(move || log.close()).await??;
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** an event that was committed and matches is attempted until it is delivered or
//! its schedule is exhausted; a crash repeats at most one window per subscription.
//! **Next:** `dispatcher.rs`, the handle; then `reader.rs` and on along the path.

#![deny(missing_docs)]

mod ack;
mod backoff;
mod board;
mod breaker;
mod carriers;
mod client;
mod cloud_event;
mod config;
mod connect;
#[doc(hidden)]
pub mod counting;
mod deliver;
mod dispatcher;
mod driver;
mod errand;
mod exchange;
mod http1;
mod lane;
mod pace;
mod pool;
mod reader;
mod releases;
mod request;
mod resolve;
mod retries;
mod retry_after;
mod route;
mod rules;
mod ssrf;
mod target;
mod tasks;
#[cfg(test)]
mod testing;
mod throttle;

pub use backoff::{ATTEMPTS_LIMIT, DELAY_LIMIT, Schedule, ScheduleError};
pub use config::{Config, ConfigError};
pub use dispatcher::{Dispatcher, StartError};
pub use ssrf::{Blocked, Guard};
