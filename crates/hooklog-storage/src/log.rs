//! The log's face: open, append, read, follow, close.
//!
//! **Invariant:** it holds no logic of its own; each method names the file that does the work.
//! **Next:** `handle.rs`, then `commit.rs`, where an append goes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLockReadGuard;
use tokio::sync::oneshot;

use crate::attempt::{Low, Outcome, Progress};
use crate::change::ChangeError;
use crate::change::{Planned, Turn};
use crate::commands::{self};
use crate::commit::operational::TOLD_BYTES_MAX;
use crate::commit_error::CommitError;
use crate::config::Config;
use crate::event::Appended;
use crate::event::{Event, Record};
use crate::handle::{Handle, Refused, start};
use crate::id::{ApplicationId, EventId};
use crate::offset::{Offset, OffsetRange};
use crate::page::{EventPage, Limit, Order};
use crate::read::ReadError;
use crate::record;
use crate::recovery::{OpenError, full, recover};
use crate::registry::Registry;
use crate::request::{Finish, Request};
use crate::tail::Tail;
use crate::time::Timestamp;
use crate::transfer::{Backup, BackupError, BackupPoint};
use crate::watch::Watch;

/// What the dispatcher records goes to the committer in pieces of about this many bytes.
const RECORD_BYTES: usize = 512 << 10;

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
    /// An event is to be pushed too far ahead: longer than events are kept, or than the log allows.
    #[error(
        "deliver_at is more than {} s ahead, the limit here ({} s, or the age at which events expire)",
        limit.as_secs(),
        Event::DELIVER_AFTER_MAX.as_secs()
    )]
    DeliverAt {
        /// How far it may be ahead.
        limit: Duration,
    },
    /// Whether the log knows a key of an event cannot be told. Events without keys are taken.
    #[error("cannot look up the keys of an event: {0}")]
    Keys(ReadError),
    /// The log could not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<ReadError> for AppendError {
    fn from(error: ReadError) -> Self {
        Self::Keys(error)
    }
}

/// Why progress was not recorded, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unrecorded {
    /// Why.
    pub error: CommitError,
    /// What is certainly not recorded.
    pub rest: Vec<Progress>,
}

impl Unrecorded {
    /// Nothing is certain.
    pub(crate) fn unknown(error: CommitError) -> Self {
        let rest = Vec::new();
        Self { error, rest }
    }
}

/// An open log. Clones share it; the last one dropped closes it.
#[derive(Clone, Debug)]
pub struct EventLog {
    pub(crate) handle: Arc<Handle>,
}

impl EventLog {
    /// Opens the log in a directory, creating or recovering it. Blocks.
    pub fn open(mut config: Config) -> Result<Self, OpenError> {
        let directory = config.directory.clone();
        let opened = recover(&mut config).and_then(|recovered| start(config.clone(), recovered));
        let handle = opened.map_err(|error| full::explain(&config, error));
        let handle = Arc::new(handle.map_err(|kind| OpenError { directory, kind })?);
        Ok(Self { handle })
    }

    /// Appends events in one commit. Returns when they are on disk: an `fdatasync` returned.
    ///
    /// # Cancel safety
    /// A dropped call may or may not append.
    pub async fn append(&self, events: Vec<Event>) -> Result<Vec<Appended>, AppendError> {
        let (request, bytes, answer) = self.append_request(events)?;
        self.handle
            .submit(request, bytes)
            .map_err(CommitError::from)?;
        answer
            .await
            .unwrap_or_else(|_| Err(self.handle.gone().into()))
    }

    /// [`append`](Self::append) for callers without a runtime. If nobody else is committing, the commit is made by
    /// this thread.
    pub fn append_blocking(&self, events: Vec<Event>) -> Result<Vec<Appended>, AppendError> {
        let (request, bytes, answer) = self.append_request(events)?;
        self.handle
            .commit(request, bytes)
            .map_err(CommitError::from)?;
        answer
            .blocking_recv()
            .unwrap_or_else(|_| Err(self.handle.gone().into()))
    }

    /// What asks for an append, its bytes and where the answer comes.
    fn append_request(
        &self,
        events: Vec<Event>,
    ) -> Result<(Request, usize, AppendAnswer), AppendError> {
        let limit = self.handle.shared.config.payload_bytes_max;
        if let Some(event) = events.iter().find(|event| event.payload.len() > limit) {
            return Err(AppendError::PayloadTooLarge {
                found: event.payload.len(),
                limit,
            });
        }
        let bytes = events.iter().map(record::estimate).sum();
        let limit = self.handle.shared.config.append_bytes_max();
        if bytes > limit {
            return Err(AppendError::AppendTooLarge {
                found: bytes,
                limit,
            });
        }
        let (ack, answer) = oneshot::channel();
        Ok((Request::Append { events, ack }, bytes, answer))
    }

    /// Records what the dispatcher did. Returns when it survives the death of the process; it rides
    /// on the next event's `fdatasync`, so a power cut may repeat a delivery but never lose one.
    ///
    /// It goes to the committer in pieces, in order. When the log is busy the error holds what was
    /// not recorded, to be recorded a little later.
    pub async fn record(&self, progress: Vec<Progress>) -> Result<(), Unrecorded> {
        let mut rest = progress.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut piece, mut bytes) = (Vec::new(), 0);
            while let Some(next) = rest.next_if(|_| bytes < RECORD_BYTES) {
                bytes += weight(&next);
                piece.push(next);
            }
            let (ack, answer) = oneshot::channel();
            let request = Request::Record {
                progress: piece,
                ack,
            };
            if let Err(Refused { error, request }) = self.handle.submit(request, bytes) {
                let mut left = match request {
                    Request::Record { progress, .. } => progress,
                    Request::Append { .. }
                    | Request::Change { .. }
                    | Request::Expire(_)
                    | Request::Look
                    | Request::Answer { .. }
                    | Request::Consumer { .. } => Vec::new(),
                };
                left.extend(rest);
                return Err(Unrecorded { error, rest: left });
            }
            let gone = |_| Err(Unrecorded::unknown(self.handle.gone()));
            if let Err(mut refused) = answer.await.unwrap_or_else(gone) {
                refused.rest.extend(rest);
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Plans and commits a change of the registry; returns when it is on disk.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&Registry, &Turn) -> Planned<T> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let (ack, answer) = oneshot::channel();
        let plan = Box::new(move |registry: &Registry, turn: &Turn| {
            match plan(registry, turn).and_then(commands::within_limits) {
                Ok((changes, value)) => {
                    let finish = move |result: Result<(), CommitError>| {
                        drop(ack.send(result.map(|()| value).map_err(ChangeError::from)));
                    };
                    Some((changes, Box::new(finish) as Finish))
                }
                Err(error) => {
                    drop(ack.send(Err(error)));
                    None
                }
            }
        });
        let request = Request::Change { plan };
        self.handle
            .submit(request, CHANGE_BYTES)
            .map_err(CommitError::from)?;
        answer
            .await
            .unwrap_or_else(|_| Err(self.handle.gone().into()))
    }

    /// The settings that it was opened with.
    pub fn config(&self) -> &Config {
        &self.handle.shared.config
    }

    /// The registry, locked for reading: do not hold it across an await or a write.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.handle.shared.registry.read()
    }

    /// One past the last committed offset.
    pub fn end(&self) -> Offset {
        self.handle.shared.ring.end()
    }

    /// Where the log begins: what lies below has expired.
    pub fn low(&self) -> Low {
        self.handle.shared.ring.low()
    }

    /// The event with this id, if its id matches in all bytes. May read the disk.
    pub fn get(&self, id: EventId) -> Result<Option<Record>, ReadError> {
        let record = self.get_at(id.offset())?;
        Ok(record.filter(|record| record.id == id))
    }

    /// The event at this offset. May read the disk.
    pub fn get_at(&self, offset: Offset) -> Result<Option<Record>, ReadError> {
        let mut record = self.handle.shared.get_at(offset)?;
        self.handle.shared.without_expunged(&mut record);
        Ok(record)
    }

    /// The event of an application by its id or uid. May read the disk.
    pub fn find_event(
        &self,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Result<Option<Record>, ReadError> {
        let shared = &self.handle.shared;
        let mut record = shared.find_event(application, id_or_uid)?;
        shared.without_expunged(&mut record);
        Ok(record)
    }

    /// Events from an offset on, whatever the application. May read the disk.
    pub fn read(&self, from: Offset, limit: Limit) -> Result<Vec<Record>, ReadError> {
        let mut records = self.handle.shared.read(from, limit)?;
        self.handle.shared.without_expunged(&mut records);
        Ok(records)
    }

    /// Events of one application within `range`. May read the disk.
    pub fn read_application(
        &self,
        application: ApplicationId,
        range: OffsetRange,
        order: Order,
        limit: Limit,
    ) -> Result<EventPage, ReadError> {
        let shared = &self.handle.shared;
        let mut page = shared.read_application(application, range, order, limit)?;
        shared.without_expunged(&mut page.records);
        Ok(page)
    }

    /// As [`read_application`](Self::read_application) with the oldest first, from memory alone;
    /// `None` if memory does not hold all of `range` any more.
    pub fn read_application_in_memory(
        &self,
        application: ApplicationId,
        range: OffsetRange,
        limit: Limit,
    ) -> Option<EventPage> {
        let shared = &self.handle.shared;
        shared.application_in_memory(application, range, limit)
    }

    /// The first offset whose event is not older than `time` (the end if all are).
    pub fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        self.handle.shared.offset_at(time)
    }

    /// Follows the log from `from` on.
    pub fn tail(&self, from: Offset) -> Tail {
        Tail::new(Arc::clone(&self.handle.shared), from)
    }

    /// Tells of events as they are committed from now on, from memory alone.
    pub fn watch(&self) -> Watch {
        Watch::new(Arc::clone(&self.handle.shared))
    }

    /// Starts a backup of the log as it is now, or of what came after an older one; publishing goes
    /// on meanwhile. Blocks until everything acked is applied; so may each step of the iterator.
    pub fn backup(&self, since: Option<BackupPoint>) -> Result<Backup, BackupError> {
        Backup::start(&self.handle.shared, since)
    }

    /// Why the log is stopped, if it is.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.handle.shared.poison.reason()
    }

    /// Stops taking writes, applies and syncs everything, and closes. Other clones then get
    /// [`CommitError::Closed`], and reads go on from memory and sled; the directory can be opened
    /// again once all clones and tails are dropped. Blocks.
    pub fn close(&self) -> Result<(), CommitError> {
        self.handle.close()
    }
}

type AppendAnswer = oneshot::Receiver<Result<Vec<Appended>, AppendError>>;

/// What a change counts for in the queue; its values are bounded by `commands::within_limits`.
const CHANGE_BYTES: usize = 4 << 10;

fn weight(progress: &Progress) -> usize {
    match progress {
        Progress::Attempt(attempt) => {
            // Only the usual attempt is certainly told to nobody.
            let is_usual = attempt.outcome == Outcome::Delivered && attempt.number == 0;
            let told = if is_usual { 0 } else { TOLD_BYTES_MAX };
            256 + attempt.response.len() + attempt.url.len() + told
        }
        Progress::Cursor(_, cursor) => 48 + cursor.settled.len() * 8,
        Progress::Mark(_) => 16,
        Progress::Expired(..) | Progress::Health(..) => 48,
        Progress::Skipped(..) => 32,
    }
}

mod deliveries;

#[cfg(test)]
mod blocking_tests;
#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod operational_tests;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod space_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod trap_tests;
