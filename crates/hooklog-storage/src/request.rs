//! What waits for the committer, and who hears how it went.
//!
//! **Invariant:** every request is answered once, or its answer's channel is dropped.
//! **Next:** `commit.rs`.

use tokio::sync::oneshot;

use crate::answers::NewAnswer;
use crate::attempt::{Low, Progress};
use crate::change::Turn;
use crate::change::{Change, ChangeError};
use crate::commit_error::CommitError;
use crate::consumer::{ConsumerCursor, ConsumerKey};
use crate::event::Appended;
use crate::event::Event;
use crate::log::{AppendError, Unrecorded};
use crate::offset::Offset;
use crate::registry::Registry;

/// Tells the caller how its change went.
pub(crate) type Finish = Box<dyn FnOnce(Result<(), CommitError>) + Send>;
/// Plans a change, or refuses it (and has told the caller so).
pub(crate) type PlanFn = Box<dyn FnOnce(&Registry, &Turn) -> Option<(Vec<Change>, Finish)> + Send>;

/// What waits for the committer.
pub(crate) enum Request {
    Append {
        events: Vec<Event>,
        ack: oneshot::Sender<Result<Vec<Appended>, AppendError>>,
    },
    Record {
        progress: Vec<Progress>,
        /// What is refused is given back: nobody else has it.
        ack: oneshot::Sender<Result<(), Unrecorded>>,
    },
    Change {
        plan: PlanFn,
    },
    /// What lies below expires. Nobody waits for it.
    Expire(Low),
    /// Keep the answer to a request.
    Answer {
        new: NewAnswer,
        ack: oneshot::Sender<Result<(), ChangeError>>,
    },
    /// A caller has committed: look at what is due. Nobody waits for it.
    Look,
    Consumer {
        write: ConsumerWrite,
        ack: oneshot::Sender<Result<(), ChangeError>>,
    },
}

/// What to do to a consumer's row.
pub(crate) enum ConsumerWrite {
    /// Nothing: the answer comes when everything asked for before is committed.
    Nothing,
    Put(ConsumerKey, ConsumerCursor, Sync),
    /// Makes the row, unless there is one.
    Create(ConsumerKey, ConsumerCursor),
    /// Moves the cursor of a row forward to this, but for one that is further already.
    Advance(ConsumerKey, Offset),
    Delete(ConsumerKey),
}

/// Whether a commit must be on disk before it is acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// It rides on the next sync.
    Later,
    Now,
}

/// A request with the bytes it holds in the queue.
pub(crate) struct Queued {
    pub(crate) request: Request,
    pub(crate) bytes: usize,
}

/// Who hears about a commit.
pub(crate) enum Waiter {
    Append(
        oneshot::Sender<Result<Vec<Appended>, AppendError>>,
        Vec<Appended>,
    ),
    Record(oneshot::Sender<Result<(), Unrecorded>>),
    Change(Finish),
}

impl Waiter {
    /// The caller may be gone; then nobody needs to hear it.
    pub(crate) fn tell(self, result: Result<(), CommitError>) {
        match self {
            Self::Append(ack, appended) => {
                drop(ack.send(result.map(|()| appended).map_err(AppendError::from)));
            }
            // Whether it is on disk is not known, so there is nothing that certainly is not.
            Self::Record(ack) => drop(ack.send(result.map_err(Unrecorded::unknown))),
            Self::Change(finish) => finish(result),
        }
    }
}
