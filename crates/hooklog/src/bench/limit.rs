//! The limits: bare programs that do only what cannot be left out.
//!
//! **Invariant:** what a limit leaves out is named in its file; it never does less than the promise that
//! is compared (a sync before an ack, a signature on each request).
//! **Next:** `limit/http.rs`, the limit of publishing.

pub mod client;
pub mod file;
pub mod http;
