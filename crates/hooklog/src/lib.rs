//! Hooklog: an event log on disk with push fan-out, as a library.
//!
//! The binary `hooklog` is this library with a command line. A program that embeds it has two ways:
//! [`Service`] runs everything, HTTP included; or it takes the parts it needs, as here, where events
//! are published and read without any HTTP:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use hooklog::signature::Secret;
//! use hooklog::storage::{
//!     Appended, Config, Endpoint, Event, EventLog, Filter, Limit, NewApplication, NewSubscription,
//!     Offset, SecretKey, SubscriptionState,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! // Blocks while it recovers what a crash left; afterwards it is cheap to clone.
//! let log = EventLog::open(Config::new(directory.path()))?;
//!
//! let application = log
//!     .create_application(NewApplication {
//!         organisation: hooklog::server::DEFAULT_ORGANISATION.parse()?,
//!         uid: Some("demo".parse()?),
//!         name: "Demo".to_owned(),
//!         metadata: BTreeMap::new(),
//!     })
//!     .await?;
//!
//! // A filter, a cursor, and the URL that a running dispatcher pushes to.
//! let secret = Secret::generate()?;
//! log.create_subscription(NewSubscription {
//!     application: application.id,
//!     uid: None,
//!     description: "invoices only".to_owned(),
//!     endpoint: Endpoint {
//!         url: "https://example.com/hook".into(),
//!         secret: SecretKey::new(secret.as_bytes().to_vec()),
//!         old_secrets: Vec::new(),
//!     },
//!     filter: Filter { event_types: Some(vec!["invoice.paid".parse()?]), channels: None },
//!     state: SubscriptionState::Enabled,
//!     metadata: BTreeMap::new(),
//! })
//! .await?;
//!
//! // Returns when the event is on disk.
//! let appended = log
//!     .append(vec![Event {
//!         application: application.id,
//!         event_type: "invoice.paid".parse()?,
//!         channels: Vec::new(),
//!         uid: None,
//!         content_type: "application/json".to_owned(),
//!         payload: r#"{"amount": 700}"#.into(),
//!     }])
//!     .await?;
//! assert!(matches!(appended[..], [Appended::Committed { .. }]));
//!
//! let records = log.read(Offset::ZERO, Limit { items: 10, bytes: 1 << 20 })?;
//! assert_eq!(records.len(), 1);
//! assert_eq!(records[0].event.payload, r#"{"amount": 700}"#);
//!
//! log.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** this crate only puts parts together: no rule about events lives here.
//! **Next:** `service.rs`.

mod service;

pub use hooklog_dispatcher as dispatcher;
pub use hooklog_server as server;
pub use hooklog_signature as signature;
pub use hooklog_storage as storage;
pub use service::{Config, FailedError, Service, StartError, StopError};
