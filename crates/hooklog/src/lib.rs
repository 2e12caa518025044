//! Hooklog: an event log on disk with push fan-out, as a library.
//!
//! [`Hooklog`] is the log with what a program does to it. Publishing returns when the event survives
//! power loss; a closure is called with each event at least once, and goes on after a crash with
//! what it had not settled:
//!
//! ```
//! use hooklog::storage::{ConsumerOptions, Event};
//! use hooklog::{Hooklog, Received};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! // Blocks while it recovers what a crash left; afterwards it is cheap to clone.
//! let hooklog = Hooklog::open(directory.path())?;
//! let shop = hooklog.application("shop").await?;
//!
//! # let (done, mut booked) = tokio::sync::mpsc::channel(1);
//! let worker = hooklog
//!     .subscribe("bookkeeping", ConsumerOptions::of(shop.id), move |event: Received| {
//! #       let done = done.clone();
//!         async move {
//!             let amount = String::from_utf8(event.record.event.payload.to_vec())?;
//!             // … book it; an error brings the event again, a little later each time.
//! #           done.send(amount).await.unwrap();
//!             Ok::<_, std::string::FromUtf8Error>(())
//!         }
//!     })
//!     .await?;
//!
//! hooklog.publish(Event::new(shop.id, "invoice.paid".parse()?, r#"{"amount": 700}"#)).await?;
//! # assert_eq!(booked.recv().await.as_deref(), Some(r#"{"amount": 700}"#));
//! worker.stop().await?;
//! hooklog.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What to take
//! | a program that | uses | feature |
//! |---|---|---|
//! | keeps events and reads them back | [`storage::EventLog`], or `hooklog-storage` alone | none |
//! | handles events in closures, streams or loops | [`Hooklog::subscribe`], [`storage::Consumer`] | none |
//! | has no runtime | the methods that end in `_blocking` | none |
//! | pushes signed webhooks | `Hooklog::start_dispatcher`, `Hooklog::create_endpoint` | `dispatcher` |
//! | serves the HTTP API beside | `Service` | `server` |
//! | receives webhooks | [`signature::verify`], or `hooklog-signature` alone | none |
//!
//! The default is `cli`, everything and the command; a library takes
//! `default-features = false, features = ["dispatcher"]` or less. Each line of the table is an
//! example under `crates/hooklog/examples`.
//!
//! # What is promised
//! * An event whose [`publish`](Hooklog::publish) returned is on disk: it survives kill -9 and power
//!   loss.
//! * A [`Consumer`](storage::Consumer), a stream or a closure gets each event at least once, in the order
//!   of the log. Its cursor is kept in the log under its name. After a crash the events that were
//!   not acknowledged come again; after a power cut perhaps some that were.
//! * Two readers of one name at a time are refused. Readers never hold up publishers.
//! * After an I/O error nothing is acknowledged until the log is opened again.
//!
//! # Several logs in one process
//! Each directory is a log of its own, with two threads, 64 MiB of cache and up to 32 MiB of recent
//! events in memory. They may be open at the same time; opening one directory twice is refused with
//! [`InUse`](storage::DirectoryError::InUse). The database under them, sled 0.34, has one lock for
//! the whole process, held while a transaction is applied: acks do not wait for it, since they come
//! from each log's journal, but the logs share what the database takes behind them.
//!
//! **Invariant:** this crate only puts parts together: no rule about events lives here.
//! **Next:** `hooklog.rs`; `service.rs` for everything with HTTP.

#![deny(missing_docs)]

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod bench;
mod hooklog;
#[cfg(feature = "dispatcher")]
mod push;
#[cfg(feature = "server")]
mod service;
mod worker;

#[cfg(feature = "dispatcher")]
pub use hooklog_dispatcher as dispatcher;
#[cfg(feature = "server")]
pub use hooklog_server as server;
pub use hooklog_signature as signature;
pub use hooklog_storage as storage;

pub use hooklog::{ApplicationError, CloseError, Hooklog};
#[cfg(feature = "dispatcher")]
pub use push::{DispatchError, EndpointError};
#[cfg(feature = "server")]
pub use service::{Config, FailedError, Service, StartError, StopError};
pub use worker::{Received, SubscribeError, SubscribeOptions, Worker, WorkerError};
