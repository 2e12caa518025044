//! The event log of Hooklog: group commit into a journal, record batches and indexes in sled.

mod attempt;
mod change;
mod commands;
mod commit;
mod config;
mod event;
mod id;
mod log;
mod name;
mod offset;
mod registry;
mod subscription;
mod time;

pub use attempt::{
    Attempt, Cursor, CursorState, DeliveryState, NewAttempt, Outcome, Progress, Retry, Trigger,
};
pub use change::{Change, ChangeError};
pub use commands::{NewApplication, NewSubscription};
pub use commit::CommitError;
pub use config::{Compression, Config};
pub use event::{Event, Record};
pub use id::{
    ApplicationId, AttemptId, EventId, IdError, Ksuid, OrganisationId, SubscriptionId,
};
pub use log::{
    AppendError, Appended, AttemptPage, AttemptsOf, EventLog, EventPage, Limit, OpenError, Order,
    ReadError, Tail, TailItem,
};
pub use name::{Channel, EventTypeName, NameError, Uid};
pub use offset::{AttemptSeq, Offset, OffsetRange, Sequence};
pub use registry::Registry;
pub use subscription::{
    Application, Endpoint, EventType, Filter, MAX_OLD_SECRETS, OldSecret, Organisation, SecretKey,
    Subscription, SubscriptionState,
};
pub use time::Timestamp;
