//! Consumers: named readers inside the process whose cursors the log keeps.
//!
//! **Invariant:** a cursor is the next offset to settle. It passes an event only after the event was
//! acknowledged or the filter left it out, and goes back only by a seek; one reader at a time moves it.
//! **Next:** `consumer/table.rs` (cursors in memory), `consumer/open.rs` (the way in),
//! `consumer/reader.rs` (what a program holds), `consumer/cell.rs` and `consumer/acks.rs` (its acks),
//! `consumer/remote.rs` (readers elsewhere).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::change::ChangeError;
use crate::commit_error::CommitError;
use crate::filter::Filter;
use crate::id::ApplicationId;
use crate::name::{ConsumerName, NameError};
use crate::offset::{Offset, OffsetRange};
use crate::read::ReadError;
use crate::time::Timestamp;

mod acks;
mod cell;
mod open;
mod reader;
mod remote;
mod stream;
mod table;

pub use cell::{Acker, Delivery};
pub use reader::Consumer;
pub use stream::ConsumerStream;
pub(crate) use table::Consumers;

/// Whose events a consumer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConsumerScope {
    /// Those of all applications.
    Log,
    /// Those of one application; its consumers are deleted with it.
    Application(ApplicationId),
}

/// What identifies a consumer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConsumerKey {
    /// Whose events it reads.
    pub scope: ConsumerScope,
    /// Its name, unique within the scope.
    pub name: ConsumerName,
}

impl fmt::Display for ConsumerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            ConsumerScope::Log => write!(f, "{}", self.name),
            ConsumerScope::Application(id) => write!(f, "{id}/{}", self.name),
        }
    }
}

/// A consumer's row. The order of fields is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsumerCursor {
    /// The next offset to settle.
    pub(crate) cursor: Offset,
    /// When it was created.
    pub(crate) created: Timestamp,
}

/// Where a consumer begins when its name is used for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that is kept.
    #[default]
    Beginning,
    /// With the first event after now.
    End,
    /// With the event at this offset; what is past the end counts as the end.
    At(Offset),
    /// With the first event that is not older than this.
    Since(Timestamp),
}

/// How a consumer reads.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Whose events.
    pub scope: ConsumerScope,
    /// Which of them. It is not stored: a consumer that is opened with another filter goes on from
    /// its cursor with that.
    pub filter: Filter,
    /// Where it begins if its name is new; else its cursor counts.
    pub start: Start,
    /// Most events that may be yielded from the cursor on, settled or not, 1 to 1,000,000: what may
    /// come again after a crash. At it reading on is an error until the first of them is settled.
    pub unacked_max: usize,
}

impl Default for ConsumerOptions {
    /// Every event of the log, from the beginning.
    fn default() -> Self {
        Self {
            scope: ConsumerScope::Log,
            filter: Filter::default(),
            start: Start::Beginning,
            // Room for batches; small enough that a forgotten ack shows soon.
            unacked_max: 4096,
        }
    }
}

impl ConsumerOptions {
    /// Every event of one application, from the beginning.
    pub fn of(application: ApplicationId) -> Self {
        Self {
            scope: ConsumerScope::Application(application),
            ..Self::default()
        }
    }
}

/// A consumer as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// What identifies it.
    pub key: ConsumerKey,
    /// The next offset to settle, as committed.
    pub cursor: Offset,
    /// How many offsets lie between the cursor and the log's end, matching or not.
    pub lag: u64,
    /// When it was created.
    pub created: Timestamp,
}

/// Why a consumer was not opened, or not deleted.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The name is not one.
    #[error("the consumer's name {0}")]
    Name(#[from] NameError),
    /// Another reader of this process has it open: two readers would skip each other's events.
    #[error("consumer {key} is open already")]
    InUse {
        /// Which.
        key: ConsumerKey,
    },
    /// The consumer to delete, or the application to read, does not exist.
    #[error("{what} not found")]
    NotFound {
        /// Kind of the thing.
        what: &'static str,
    },
    /// There are as many consumers as there may be.
    #[error("{what} is limited to {limit}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// `unacked_max` is out of its range.
    #[error("unacked_max is {found}, but must be 1 to {limit}")]
    Unacked {
        /// Its value.
        found: usize,
        /// The most it may be.
        limit: usize,
    },
    /// Where it is to begin could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log could not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<ChangeError> for ConsumerError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound { what } | ChangeError::Conflict { what, .. } => {
                Self::NotFound { what }
            }
            // Consumers are no endpoints.
            ChangeError::Disabled { .. } => Self::NotFound { what: "consumer" },
            ChangeError::Limit { what, limit } => Self::Limit { what, limit },
            ChangeError::Commit(error) => Self::Commit(error),
        }
    }
}

/// Why a consumer yielded no event, or did not move its cursor.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Retention took these before they were read. Said once; the consumer goes on behind them, and
    /// so it does after a restart.
    #[error("the events from {} to below {} expired before they were read", range.start, range.end)]
    Expired {
        /// What is gone.
        range: OffsetRange,
    },
    /// So many events were yielded from the first on that is not acknowledged. Settle it, then read
    /// on.
    #[error(
        "{limit} events were read since the first that is not acknowledged, which is the limit"
    )]
    Unacked {
        /// The limit of this consumer.
        limit: usize,
    },
    /// The consumer was deleted with its application.
    #[error("consumer {key} was deleted with its application")]
    Deleted {
        /// Which.
        key: ConsumerKey,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log is closed or stopped, or (for a commit) busy.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl ConsumeError {
    /// Whether it says no more than that the log was closed: the end of a program, not its failure.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Commit(CommitError::Closed))
    }
}

#[cfg(test)]
mod tests;
