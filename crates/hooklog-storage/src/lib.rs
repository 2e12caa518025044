//! The event log of Hooklog, on local disk: group commit into a journal; behind it record batches in
//! files of their own, and sled, which says where they lie. It knows no HTTP and needs no runtime.
//!
//! ```
//! use hooklog_storage::{Appended, ApplicationId, Config, Event, EventLog, Limit, Offset};
//!
//! let directory = tempfile::tempdir()?;
//! let log = EventLog::open(Config::new(directory.path()))?;
//! let application = ApplicationId::from_bytes([1; 20]);
//! let event = Event::new(application, "user.created".parse()?, r#"{"name":"Ada"}"#);
//! // Returns once the event survives power loss.
//! let appended = log.append_blocking(vec![event])?;
//! assert!(matches!(appended[0], Appended::Committed { .. }));
//!
//! let records = log.read(Offset::ZERO, Limit { items: 10, bytes: 1 << 20 })?;
//! assert_eq!(records[0].event.payload, r#"{"name":"Ada"}"#);
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Durability
//! [`EventLog::append`] and every change of the registry return after an `fdatasync` of the journal
//! returned: they survive kill -9 and power loss. What the dispatcher records
//! ([`EventLog::record`]) survives kill -9 at once and power loss from the next sync on; losing it
//! repeats deliveries and loses none. That is [`Durability::PowerSafe`]; the other modes ack before the
//! sync, and power loss then takes the end of the log, with whatever was acked in it. After an I/O error nothing is acked until the log is reopened.
//!
//! # Repeated appends
//! An event may carry a uid, which no other kept event of its application has, and an
//! [`IdempotencyKey`]: the same key with the same request answers for the event that is there
//! already, for [`Config::idempotency_age`] or as long as that event is kept, whichever is shorter.
//! Both are as durable as the event, and both are looked up in an index on disk (`keys/`) that takes
//! no memory for them and is made anew from the log whenever it is lost. An index that holds
//! 50 million keys drops the oldest ones before they expire.
//!
//! Answers to other requests are kept by [`EventLog::keep_answer`], at most 65,536 of them and 32 MiB, those
//! that expire first making room for new ones.
//!
//! # Consumers
//! [`EventLog::consumer`] opens a named reader whose cursor the log keeps: it yields each event at
//! least once, in the order of the log, to one reader at a time. An ack or a commit survives kill -9
//! and rides on the next event's sync; after a power cut the last of them may be forgotten, so that
//! events come again. [`Tail`] follows without a cursor.
//!
//! # Without a runtime
//! The futures of this crate are completed by the log's own threads and may be awaited in any
//! runtime. Each method that is `async` has a twin that ends in `_blocking` and parks the thread.
//!
//! # What open guarantees
//! [`EventLog::open`] returns a log with everything that was ever acked, or an error that names what
//! is damaged. It can tell a torn write that was never acked from damage to an acked one by what
//! later frames say of earlier ones; the exception is damage to the very last frame before a power
//! cut, which looks the same as a torn write. Of the batches it reads those that a crash can have
//! touched; what the medium damaged long ago is told by whoever reads it, and by [`check`].
//!
//! # Time
//! What expires by age does so by the wall clock, unless that jumped: up to an hour ahead of what the
//! monotonic clock says since the open, and of the newest event then, it is believed at once, further
//! ahead only after an hour. So a right clock can be doubted for an hour, after a long pause or a sleep
//! of the machine. What is not guarded: a process that is started again while the clock is wrong, after
//! events were committed by it, believes it. Limits of bytes and numbers need no clock.
//!
//! # A full disk
//! Events are refused as [busy](CommitError::Busy) while the disk has less left than what was acked may
//! still take, a segment of the journal if none is free, and 16 MiB; the dispatcher's progress at half
//! of the 16. Everything else goes on, so retention can give space back, and appends go on with it.
//! Where others fill the disk to its last byte the log stops as after any I/O error, and an open is
//! refused with [`OpenErrorKind::NoSpace`], which says how many bytes it needs.
//!
//! # Copies
//! [`compact`] makes a closed log small again, [`EventLog::backup`] streams an open one while
//! publishing goes on, [`restore`] makes a log of backups, [`check`] looks at a closed one without
//! writing to it, and [`repair`] saves what can be read of a damaged one into a new directory.
//! All of them write files of the size that the retention of their [`Config`] asks for.
//! `keys/` is in no backup: [`restore`] and [`repair`] make it from the log that they wrote, keeping
//! idempotency keys for [`Config::idempotency_age`]. [`compact`] leaves it as it is, and [`check`]
//! reads all of it.
//!
//! # What is not here
//! Replication. A directory is opened once at a time, by whichever
//! process ([`DirectoryError::InUse`]). Each log of a process has its own database, but sled takes one
//! lock for all of them while it commits: the appliers of several logs take turns, readers of the
//! disk wait for them, and acks do not, which come from each log's own journal.
//!
//! **Invariant:** readers see what is acked at once, whether sled has it or not.
//! **Next:** `event.rs` for the vocabulary, `log.rs` for the way in, `keys.rs` for the rows on disk,
//! `journal/layout.rs`, `frame.rs`, `engine/extents.rs` and `index.rs` for the bytes.

#![deny(missing_docs)]

// The vocabulary.
mod answers;
mod attempt;
mod change;
mod consumer;
mod delayed;
mod delivery;
mod event;
mod expunged;
mod filter;
mod header;
mod health;
mod id;
mod idempotency;
mod name;
mod offset;
mod rare;
mod revocation;
mod sessions;
mod standing;
mod subscription;
mod task;
mod time;

// The way of a write.
mod blocking;
mod blocks;
mod commands;
mod commit;
mod commit_error;
mod config;
mod handle;
mod journal;
mod log;
mod poison;
mod request;
mod shared;
mod space;
mod wait;

// Behind the acks.
mod apply;
mod engine;
mod event_keys;
mod plan;
mod retention;
mod state;

// Reading and following.
mod attempts;
mod page;
mod parked;
mod read;
mod read_application;
mod registry;
mod ring;
mod tail;
mod watch;

// Opening.
mod directory;
mod recovery;
mod verify;

// Copying a whole log.
mod transfer;

// Bytes on disk.
mod bytes;
mod codec;
mod entry;
mod frame;
mod index;
mod key_index;
mod keys;
mod record;

#[doc(hidden)]
pub mod counting;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod testing;

pub use answers::{AnswerSync, Answered, KeptAnswer};
pub use attempt::{
    Attempt, Cause, Cursor, CursorState, DeliveryState, Expired, Low, NewAttempt, Outcome,
    Progress, Retry, Trigger,
};
pub use change::{Change, ChangeError};
pub use commands::{CountStep, NewApplication, NewSubscription, TaskStep};
pub use commit::operational::OPERATIONAL_EVENT_TYPES;
pub use commit_error::CommitError;
pub use config::{Compression, Config, Durability, Keep, Retention};
pub use consumer::{
    Acker, ConsumeError, Consumer, ConsumerError, ConsumerInfo, ConsumerKey, ConsumerOptions,
    ConsumerScope, ConsumerStream, Delivery, Start,
};
pub use delayed::{Delayed, DelayedPage, Release, ReleaseStep};
pub use delivery::{Format, Ordering, Policy, STATUSES_MAX};
pub use directory::{DirectoryError, IoError};
pub use engine::EngineError;
pub use event::{Appended, Event, Record};
pub use expunged::{EXPUNGED_MAX, EXPUNGED_PAYLOAD, EXPUNGED_RESPONSE, Expunged};
pub use filter::{Filter, Parsed, Refusal, explain_condition};
pub use header::{Header, HeaderError};
pub use health::Health;
pub use hooklog_filter::{Condition, ParseError as ConditionError};
pub use id::{
    ApplicationId, AttemptId, DEFAULT_ORGANISATION, EventId, IdError, Ksuid, OrganisationId,
    SubscriptionId, TaskId,
};
pub use idempotency::IdempotencyKey;
pub use log::{AppendError, EventLog, Unrecorded};
pub use name::{Channel, ConsumerName, EventTypeName, NameError, OrderingKey, Tag, Uid};
pub use offset::{AttemptSeq, Offset, OffsetRange, Sequence};
pub use page::{AttemptPage, AttemptsOf, EventPage, Limit, Order};
pub use parked::DispatchState;
pub use rare::{Empty, Rare};
pub use read::ReadError;
pub use recovery::{OpenError, OpenErrorKind};
pub use registry::Registry;
pub use revocation::{
    REVOKED_TOKENS_MAX, REVOKED_TOKENS_OF_APPLICATION_MAX, RevokedToken, TOKEN_CUTS_MAX, TokenCut,
    TokenCuts, TokenHash,
};
pub use sessions::{CUT_SESSIONS_MAX, SESSION_AGE_MAX, SessionCuts, SessionHash};
pub use standing::{Delivered, Deliveries, DeliveryStatus, Standing};
pub use subscription::{
    Application, ApplicationKind, DisableReason, Endpoint, EventType, MAX_OLD_SECRETS, OldSecret,
    Organisation, SecretKey, Subscription, SubscriptionState,
};
pub use tail::{Listing, Tail, TailItem};
pub use task::{
    COUNTED_MAX, COUNTS_KEPT_MAX, Counted, Counting, Replay, ReplayFilter, Replaying,
    TASKS_KEPT_MAX, TASKS_RUNNING_ALL_MAX, TASKS_RUNNING_MAX, Task, TaskState, Work,
};
pub use time::Timestamp;
pub use transfer::{
    Backup, BackupError, BackupFileError, BackupPoint, BackupPointError, BackupSummary,
    ChainReport, CheckError, CheckReport, CompactError, Compacted, Problem, Repaired, RestoreError,
    Restored, Stage, Transferred, backup_end, check, compact, inspect_backup, repair, restore,
};
pub use watch::{Watch, Watched};
