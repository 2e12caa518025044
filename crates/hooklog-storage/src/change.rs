//! Changes of the registry: what its change feed carries and what the journal stores.
//!
//! **Invariant:** a change holds the whole new value, so applying it twice is applying it once.
//! **Next:** `registry.rs`, which applies them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::commit_error::CommitError;
use crate::delayed::Release;
use crate::expunged::Expunged;
use crate::id::{ApplicationId, OrganisationId, SubscriptionId, TaskId};
use crate::name::EventTypeName;
use crate::offset::Offset;
use crate::revocation::{RevokedToken, TokenCuts};
use crate::sessions::{SessionCuts, SessionHash};
use crate::subscription::{Application, EventType, Organisation, Subscription};
use crate::task::Task;
use crate::time::Timestamp;

/// One change of the registry, or a command that travels the same road.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Created or changed.
    PutOrganisation(Arc<Organisation>),
    /// Created or changed.
    PutApplication(Arc<Application>),
    /// Deleted with all its subscriptions.
    DeleteApplication(ApplicationId),
    /// Created or changed.
    PutEventType(Arc<EventType>),
    /// Removed.
    DeleteEventType(OrganisationId, EventTypeName),
    /// Created or changed.
    PutSubscription(Arc<Subscription>),
    /// Deleted.
    DeleteSubscription(SubscriptionId),
    /// Created or changed.
    PutTask(Arc<Task>),
    /// Forgotten.
    DeleteTask(TaskId),
    /// Deliver this event to this subscription again, now.
    Redeliver {
        /// To whom.
        subscription: SubscriptionId,
        /// Which event.
        offset: Offset,
        /// When it was asked for.
        asked: Timestamp,
    },
    /// Settle this delivery without another attempt, so that what is ordered behind it goes on.
    Skip {
        /// Whose delivery.
        subscription: SubscriptionId,
        /// Of which event.
        offset: Offset,
        /// When it was asked for.
        asked: Timestamp,
    },
    /// Make the next attempt of this parked delivery now, whatever it waits for.
    RetryNow {
        /// Whose delivery.
        subscription: SubscriptionId,
        /// Of which event.
        offset: Offset,
        /// When it was asked for.
        asked: Timestamp,
    },
    /// Which tokens of an application are refused.
    PutTokenCuts(Arc<TokenCuts>),
    /// One token is refused.
    RevokeToken(RevokedToken),
    /// It has expired and need not be refused any more.
    ForgetToken(RevokedToken),
    /// The content of an event or an attempt is not shown any more.
    Expunge(Expunged),
    /// The time of an event has come: some of its deliveries are parked, due at once.
    Release(Arc<Release>),
    /// A mark of expunged content says nothing that another one does not say.
    ForgetExpunged(Expunged),
    /// Which tokens of a session are refused.
    PutSessionCuts(Arc<SessionCuts>),
    /// All tokens that its cuts mean have expired.
    ForgetSession {
        /// The organisation.
        organisation: OrganisationId,
        /// The application whose tokens they were.
        owner: ApplicationId,
        /// Which session.
        session: SessionHash,
    },
}

/// Why a change was not made. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The uid or name is taken.
    #[error("{what} {key:?} exists already")]
    Conflict {
        /// Kind of the thing, as `application uid`.
        what: &'static str,
        /// The key that is taken.
        key: String,
    },
    /// The thing to change does not exist (any more).
    #[error("{what} not found")]
    NotFound {
        /// Kind of the thing.
        what: &'static str,
    },
    /// Nothing is sent to this endpoint, so nothing can be sent again.
    #[error("endpoint {subscription} is disabled: enable it, then start this again")]
    Disabled {
        /// Whose endpoint it is.
        subscription: SubscriptionId,
    },
    /// A bound of the registry is reached.
    #[error("{what} is limited to {limit}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The log could not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What a plan may look at besides the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// The time of the commit; never earlier than that of the commit before.
    pub now: Timestamp,
    /// The wall clock, which may have been set back: what others compare with theirs.
    pub wall: Timestamp,
    /// The log's end at the commit.
    pub end: Offset,
    /// The payload of one id: the commit's sequence, so that ids sort in order, and random bytes.
    pub entropy: [u8; 15],
}

/// What a plan returns: the changes, and the value for the caller once they are durable.
pub(crate) type Planned<T> = Result<(Vec<Change>, T), ChangeError>;
