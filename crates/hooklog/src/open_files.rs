//! The limit of open files: connections, deliveries and the log need more than a shell's default.
//!
//! **Invariant:** the limit is only ever raised, up to what the administrator allows (the hard limit).
//! **Next:** `serve.rs`, which calls it first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the defaults can use at once: 4,096 connections to the API, 1,024 attempts, as many pooled
/// connections, and the files of the log; rounded up.
const WANTED: u64 = 8192;

/// Raises the soft limit towards what is wanted. When that fails the default may still do, so it is
/// logged and nothing more.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let target = limit.maximum.unwrap_or(u64::MAX).min(WANTED);
    if current >= target {
        return;
    }
    let raised = Rlimit {
        current: Some(target),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current, target, "cannot raise the limit of open files");
    }
}
