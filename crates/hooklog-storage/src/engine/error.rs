//! Why the engine failed, and how a panic of sled becomes such an error.
//!
//! **Invariant:** nothing of sled's own types leaves the engine.
//! **Next:** `read.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::directory::IoError;

/// Why the engine failed. After any of these on the write path the log is poisoned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// sled returned an error.
    #[error("the database failed to {action}: {reason}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// What sled said.
        reason: String,
    },
    /// sled panicked.
    #[error("the database panicked while trying to {action}: {reason}")]
    Panicked {
        /// What was tried.
        action: &'static str,
        /// The panic's message.
        reason: String,
    },
    /// An extent could not be read, written or synced.
    #[error("{reason}")]
    Extent {
        /// What was tried, with the path and what the system said.
        reason: String,
    },
    /// The data file could not be synced.
    #[error("cannot fdatasync {path}: {reason}")]
    Sync {
        /// sled's data file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl EngineError {
    /// Whether sled found its data file locked (the text is that of the pinned version).
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Failed { reason, .. } if reason.contains("could not acquire lock"))
    }
}

impl From<IoError> for EngineError {
    fn from(error: IoError) -> Self {
        Self::Extent {
            reason: error.to_string(),
        }
    }
}

pub(super) fn no_row() -> EngineError {
    EngineError::Failed {
        action: "read",
        reason: "a row neither holds a batch nor says where it lies".to_owned(),
    }
}

pub(super) fn no_tree() -> EngineError {
    EngineError::Failed {
        action: "find a tree",
        reason: "it was not opened".to_owned(),
    }
}

pub(super) fn failed(action: &'static str) -> impl Fn(sled::Error) -> EngineError {
    move |error| EngineError::Failed {
        action,
        reason: error.to_string(),
    }
}

/// Runs `work` so that a panic inside sled becomes an error.
pub(super) fn guarded<T>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(EngineError::Panicked {
            action,
            reason: message(panic.as_ref()).to_owned(),
        })
    })
}

pub(super) fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
