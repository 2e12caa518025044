//! The HTTP API of Hooklog: Svix-compatible v1 routes on hyper, thin over the event log.
//!
//! It is not: a place for rules about events (those are storage's), a sender of webhooks (the
//! dispatcher's).
//!
//! **Invariant:** a publisher gets its 202 only after `EventLog::append` returned, that is after
//! the event is on disk. Every error answer is JSON. Everything a client can make grow has a bound.
//! **Next:** `config.rs`, then along a request: `server.rs`, `connection.rs`, `dispatch.rs`,
//! `publish.rs`.
//!
//! # Cancel safety
//! Requests that write run in tasks of their own: a client that goes away between sending a request
//! and reading the answer does not stop the write. **A dropped publish may still commit**; so may
//! one whose answer was lost. Publishers that retry send an `Idempotency-Key`, which makes the second
//! try the same answer, or an `eventId`, which makes it a 409, instead of a second event.
//!
//! # What is accepted and what is refused
//! A field or filter of the API family that this server knows but does not act upon is refused by
//! name (422 for body fields, 501 for query parameters and routes), unless it has its null or
//! default value. Unknown fields are ignored, as the API family does.
//!
//! How long events are kept is a setting of the log, not of an event: `payloadRetentionPeriod` takes
//! only its default of 90, which is what `hooklog serve` keeps unless told otherwise.

#![deny(missing_docs)]

mod accept;
mod answers;
mod application;
mod asked;
mod attempt;
mod batch;
mod body;
mod brief;
mod config;
mod connection;
mod consumers;
mod describe;
mod dispatch;
mod drive;
mod endpoint;
mod error;
mod etag;
mod event_in;
mod event_type;
mod example;
mod explain;
mod expunge;
mod feed;
mod filter;
mod head_timer;
mod headers;
mod health;
mod idempotency;
mod import;
mod listen;
mod message;
mod operational;
mod operator;
mod page;
mod place;
mod poll;
mod portal;
mod precheck;
mod problem;
mod publish;
mod query;
mod rate;
mod repeat;
mod reply;
mod request;
mod request_id;
mod revocation;
mod routes;
mod secret;
mod server;
mod socket;
mod sse;
mod standing;
mod state;
mod stats;
mod stream;
mod streamed;
mod task;
mod tls;
pub mod token;
mod trace_context;
mod transport;
mod usage;
mod verified;
mod visit;
mod waiters;
mod wire;
mod xml;

pub use config::{Config, Limits, UrlPolicy};
pub use listen::{Address, AddressError};
pub use rate::{RateLimit, RateLimitError, RateLimits};
pub use server::{BindError, Server};
pub use tls::{TlsError, TlsFiles};
pub use token::{DEFAULT_ORGANISATION, TokenAlgorithm, TokenKey, TokenKeys};
pub use visit::{ACCESS_LOG_TARGET, AccessLog};
