//! The event log of Hooklog: group commit into a journal, record batches and indexes in sled.

mod apply;
mod attempt;
mod attempts;
mod bytes;
mod change;
mod codec;
mod commands;
mod commit;
mod config;
mod directory;
mod engine;
mod entry;
mod event;
mod frame;
mod id;
mod journal;
mod keys;
mod log;
mod name;
mod offset;
mod plan;
mod poison;
mod read;
mod record;
mod recovery;
mod registry;
mod state;
mod subscription;
mod tail;
mod time;
mod verify;

pub use attempt::{
    Attempt, Cursor, CursorState, DeliveryState, NewAttempt, Outcome, Progress, Retry, Trigger,
};
pub use change::{Change, ChangeError};
pub use commands::{NewApplication, NewSubscription};
pub use commit::CommitError;
pub use config::{Compression, Config};
pub use directory::{DirectoryError, IoError};
pub use engine::EngineError;
pub use event::{Event, Record};
pub use id::{ApplicationId, AttemptId, EventId, IdError, Ksuid, OrganisationId, SubscriptionId};
pub use log::{AppendError, Appended, AttemptPage, AttemptsOf, EventLog, EventPage, Limit, Order};
pub use name::{Channel, EventTypeName, NameError, Uid};
pub use offset::{AttemptSeq, Offset, OffsetRange, Sequence};
pub use read::ReadError;
pub use recovery::{OpenError, OpenErrorKind};
pub use registry::Registry;
pub use subscription::{
    Application, Endpoint, EventType, Filter, MAX_OLD_SECRETS, OldSecret, Organisation, SecretKey,
    Subscription, SubscriptionState,
};
pub use tail::{Tail, TailItem};
pub use time::Timestamp;
