//! stub façade: signatures are final, bodies come with the storage implementation.
use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLockReadGuard;

use crate::attempt::{Attempt, DeliveryState, Progress};
use crate::change::{Change, ChangeError};
use crate::commands::{Planned, Turn};
use crate::commit::CommitError;
use crate::config::Config;
use crate::event::{Event, Record};
use crate::id::{ApplicationId, AttemptId, EventId, SubscriptionId};
use crate::offset::{AttemptSeq, Offset, OffsetRange};
use crate::registry::Registry;
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// An open log. Clones share it; the last one dropped closes it.
#[derive(Clone, Debug)]
pub struct EventLog {}

/// What became of one event of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk and survives power loss.
    Committed {
        /// Its id (carries the offset).
        id: EventId,
        /// Its time.
        timestamp: Timestamp,
    },
    /// Its uid belongs to an earlier event of the application; nothing was written for it.
    UidTaken {
        /// The earlier event.
        existing: EventId,
    },
}

/// Why an append failed as a whole. Nothing of it is acked.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A payload is over the configured limit.
    #[error("payload has {found} bytes, more than the limit of {limit}")]
    PayloadTooLarge {
        /// Bytes found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The append is over what one commit may hold.
    #[error("the append has {found} bytes, more than the limit of {limit} for one commit")]
    AppendTooLarge {
        /// Bytes found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The log could not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct OpenError;

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What is stored is damaged.
    #[error("stored data is damaged at offset {offset}: {reason}")]
    Corrupt {
        /// The first offset that cannot be read.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The engine failed.
    #[error("the storage engine failed: {reason}")]
    Engine {
        /// What it said.
        reason: String,
    },
}

/// How a list runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// How much one read returns at most; at least one item is returned if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Items.
    pub items: usize,
    /// Payload bytes.
    pub bytes: usize,
}

/// A page of events of one application.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// In the order asked for.
    pub records: Vec<Record>,
    /// What is left of the range that was asked for; empty when all was read.
    pub rest: OffsetRange,
}

/// A page of attempts.
#[derive(Clone, Debug)]
pub struct AttemptPage {
    /// In the order asked for.
    pub attempts: Vec<Attempt>,
    /// What is left of the range that was asked for; empty when all was read.
    pub rest: Range<AttemptSeq>,
}

/// Whose attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptsOf {
    /// Of one event, to all subscriptions.
    Event(Offset),
    /// Of one subscription, for all events.
    Subscription(SubscriptionId),
}

/// What a tail yields, in the order of the journal.
#[derive(Clone, Debug)]
pub enum TailItem {
    /// Every subscription as of now. Comes first, and again if the reader fell so far behind that
    /// changes were missed. Records that follow may be older than this state.
    Registry(Vec<Arc<Subscription>>),
    /// Committed events, contiguous from where the tail stands.
    Records(Arc<[Record]>),
    /// A change of the registry.
    Change(Change),
}

/// Follows the log from an offset.
#[derive(Debug)]
pub struct Tail {}

impl Tail {
    /// The next item; waits for it. Cancel safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Result<TailItem, ReadError> {
        todo!()
    }

    /// The offset of the next record that it will yield.
    pub fn position(&self) -> Offset {
        todo!()
    }
}

impl EventLog {
    /// Opens the log in a directory, creating or recovering it. Blocks.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let _ = config;
        todo!()
    }

    /// Appends events in one commit. Returns when they are on disk: an `fdatasync` returned.
    ///
    /// # Cancel safety
    /// A dropped call may or may not append.
    pub async fn append(&self, events: Vec<Event>) -> Result<Vec<Appended>, AppendError> {
        let _ = events;
        todo!()
    }

    /// [`append`](Self::append) for callers without a runtime.
    pub fn append_blocking(&self, events: Vec<Event>) -> Result<Vec<Appended>, AppendError> {
        let _ = events;
        todo!()
    }

    /// Records what the dispatcher did. Returns when it survives the death of the process; it rides
    /// on the next event's `fdatasync`, so a power cut may repeat a delivery but never lose one.
    pub async fn record(&self, progress: Vec<Progress>) -> Result<(), CommitError> {
        let _ = progress;
        todo!()
    }

    /// Plans and commits a change of the registry; returns when it is on disk.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&Registry, &Turn) -> Planned<T> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let _ = plan;
        todo!()
    }

    /// The registry, locked for reading: do not hold it across an await or a write.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        todo!()
    }

    /// One past the last committed offset.
    pub fn end(&self) -> Offset {
        todo!()
    }

    /// The event with this id, if its id matches in all bytes. May read the disk.
    pub fn get(&self, id: EventId) -> Result<Option<Record>, ReadError> {
        let _ = id;
        todo!()
    }

    /// The event at this offset. May read the disk.
    pub fn get_at(&self, offset: Offset) -> Result<Option<Record>, ReadError> {
        let _ = offset;
        todo!()
    }

    /// The event of an application by its id or uid. May read the disk.
    pub fn find_event(
        &self,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Result<Option<Record>, ReadError> {
        let _ = (application, id_or_uid);
        todo!()
    }

    /// Events from an offset on, whatever the application. May read the disk.
    pub fn read(&self, from: Offset, limit: Limit) -> Result<Vec<Record>, ReadError> {
        let _ = (from, limit);
        todo!()
    }

    /// Events of one application within `range`. May read the disk.
    pub fn read_application(
        &self,
        application: ApplicationId,
        range: OffsetRange,
        order: Order,
        limit: Limit,
    ) -> Result<EventPage, ReadError> {
        let _ = (application, range, order, limit);
        todo!()
    }

    /// The first offset whose event is not older than `time` (the end if all are).
    pub fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let _ = time;
        todo!()
    }

    /// The attempt with this id. May read the disk.
    pub fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, ReadError> {
        let _ = id;
        todo!()
    }

    /// Attempts of an event or a subscription within `range` of attempt numbers. May read the disk.
    pub fn attempts(
        &self,
        of: AttemptsOf,
        range: Range<AttemptSeq>,
        order: Order,
        limit: Limit,
    ) -> Result<AttemptPage, ReadError> {
        let _ = (of, range, order, limit);
        todo!()
    }

    /// Follows the log from `from` on.
    pub fn tail(&self, from: Offset) -> Tail {
        let _ = from;
        todo!()
    }

    /// Where every subscription stands, with all that was recorded so far. Blocks until it is
    /// applied; meant for the dispatcher's start.
    pub fn delivery_state(&self) -> Result<DeliveryState, ReadError> {
        todo!()
    }

    /// Where one subscription stands and what it has parked; as `delivery_state`, for one.
    pub fn delivery_state_of(&self, subscription: SubscriptionId) -> Result<DeliveryState, ReadError> {
        let _ = subscription;
        todo!()
    }

    /// Why the log is stopped, if it is.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        todo!()
    }

    /// Stops taking writes, applies and syncs everything, and closes. Other clones then get
    /// [`CommitError::Closed`]. Blocks.
    pub fn close(&self) -> Result<(), CommitError> {
        todo!()
    }
}
