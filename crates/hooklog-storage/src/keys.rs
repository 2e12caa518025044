//! Tree names and key bytes; no other file knows them. Integers are big endian, so that the order
//! of keys is the order of positions.
//!
//! | family | key | value | changed |
//! |---|---|---|---|
//! | `state` | `"state"` | where the applier stands (codec) | with each apply |
//! | `log` | base offset u64, chunk u16 | a record batch, in chunks, or where it lies (`engine/extents.rs`) | written once |
//! | `app_log` | application 20, last offset u64 | its offsets up to that one (`index.rs`) | written once |
//! | `registry` | kind u8, owner 20, id or name; or as of its kind | the value (codec) | replaced |
//! | `cursor` | subscription 20 | cursor (codec) | replaced |
//! | `retry` | subscription 20, offset u64 | parked delivery (codec) | put, removed |
//! | `attempt` | base number u64, chunk u16 | a batch of attempts, as `log` | written once |
//! | `attempt_by_event` | offset / 1,024 u64, last number u64 | numbers up to that one, each with offset % 1,024 | written once |
//! | `attempt_by_subscription` | subscription 20, last number u64 | its numbers up to that one | written once |
//! | `expired` | subscription 20 | what retention took from it (codec) | replaced |
//! | `health` | subscription 20 | what is known of its endpoint, unless it is well (codec) | put, removed |
//! | `consumer` | scope u8 (0 log, 1 application), application 20 (or zeros), name | cursor (codec) | replaced |
//! | `delayed` | 1 u8, due u64, offset u64 | whose event it is, and who has it already (codec) | put, replaced, removed |
//! | | 2 u8, offset u64 | when it is due (codec) | put, removed |
//! | | 3 u8, offset u64, subscription 20 | nothing: it is skipped there | put, removed |
//! | `answer` | hash of an idempotency key 16 | the answer to its request (codec) | put, removed |
//!
//! **Invariant:** names and layouts are on disk: they change only with the format version.
//! **Next:** `engine.rs`.

use crate::consumer::{ConsumerKey, ConsumerScope};
use crate::expunged::Expunged;
use crate::id::{ApplicationId, OrganisationId, SubscriptionId, TaskId};
use crate::name::EventTypeName;
use crate::offset::Offset;
use crate::revocation::RevokedToken;
use crate::sessions::SessionHash;
use crate::time::Timestamp;

/// The families of keys, one tree each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    State,
    Log,
    AppLog,
    Registry,
    Cursor,
    Retry,
    Attempt,
    AttemptByEvent,
    AttemptBySubscription,
    Expired,
    Consumer,
    Health,
    Answer,
    Delayed,
}

impl Family {
    /// Every family with the name of its tree, in the order of the trees.
    pub(crate) const ALL: [(Self, &'static str); 14] = [
        (Self::State, "state"),
        (Self::Log, "log"),
        (Self::AppLog, "app_log"),
        (Self::Registry, "registry"),
        (Self::Cursor, "cursor"),
        (Self::Retry, "retry"),
        (Self::Attempt, "attempt"),
        (Self::AttemptByEvent, "attempt_by_event"),
        (Self::AttemptBySubscription, "attempt_by_subscription"),
        (Self::Expired, "expired"),
        (Self::Consumer, "consumer"),
        (Self::Health, "health"),
        (Self::Answer, "answer"),
        (Self::Delayed, "delayed"),
    ];

    /// Families whose rows are summed up in the applier's state, because no chain of batches would
    /// tell that a row of them was lost.
    pub(crate) const SUMMED: [Self; 8] = [
        Self::Registry,
        Self::Cursor,
        Self::Retry,
        Self::Expired,
        Self::Consumer,
        Self::Health,
        Self::Answer,
        Self::Delayed,
    ];

    /// What a row of this family goes with: a copy of the log takes the rows of the batches that it
    /// takes, and every other row as it is at one moment. An index row goes with the batch of its last
    /// position: it may name lower ones that have expired.
    pub(crate) fn place(self, key: &[u8]) -> Place {
        let place = match self {
            Self::Log => batch_base(key).map(Place::Event),
            Self::AppLog => last_number(key).map(Place::Event),
            Self::Attempt => batch_base(key).map(Place::Attempt),
            Self::AttemptByEvent | Self::AttemptBySubscription => {
                last_number(key).map(Place::Attempt)
            }
            Self::State
            | Self::Registry
            | Self::Cursor
            | Self::Retry
            | Self::Expired
            | Self::Consumer
            | Self::Health
            | Self::Answer
            | Self::Delayed => None,
        };
        place.unwrap_or(Place::Alone)
    }

    /// Whether rows of this family are written with a batch, once.
    pub(crate) fn is_batched(self) -> bool {
        match self {
            Self::Log
            | Self::AppLog
            | Self::Attempt
            | Self::AttemptByEvent
            | Self::AttemptBySubscription => true,
            Self::State
            | Self::Registry
            | Self::Cursor
            | Self::Retry
            | Self::Expired
            | Self::Consumer
            | Self::Health
            | Self::Answer
            | Self::Delayed => false,
        }
    }
}

/// What a row goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The events from, or at, this offset.
    Event(u64),
    /// The attempts from this number.
    Attempt(u64),
    /// Nothing else.
    Alone,
}

/// The one key of `state`.
pub(crate) const STATE: &[u8] = b"state";

/// How many offsets share a key of `attempt_by_event`: a `u16` holds the rest, and one page of keys
/// serves a message's attempts even when they were made hours apart.
pub(crate) const ATTEMPT_BLOCK: u64 = 1024;

/// Kinds of registry rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Organisation = 1,
    Application = 2,
    EventType = 3,
    Subscription = 4,
    Task = 5,
    TokenCuts = 6,
    RevokedToken = 7,
    Expunged = 8,
    SessionCuts = 9,
}

/// Key of one chunk of a batch.
pub(crate) fn batch(base: u64, chunk: u16) -> Vec<u8> {
    join(&[&base.to_be_bytes(), &chunk.to_be_bytes()])
}

/// The base in the key of a chunk.
pub(crate) fn batch_base(key: &[u8]) -> Option<u64> {
    key.first_chunk::<8>().map(|base| u64::from_be_bytes(*base))
}

/// Key of an index row: its owner's bytes and the last position that it names.
pub(crate) fn owned(owner: &[u8], last: u64) -> Vec<u8> {
    join(&[owner, &last.to_be_bytes()])
}

/// The owner in the key of an index row.
pub(crate) fn owner_of(key: &[u8]) -> &[u8] {
    key.split_last_chunk::<8>().map_or(&[], |(owner, _)| owner)
}

/// The number in the last eight bytes of a key.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>()
        .map(|number| u64::from_be_bytes(*number))
}

/// The block of an offset: the owner in `attempt_by_event`.
pub(crate) fn block(offset: Offset) -> [u8; 8] {
    (offset.get() / ATTEMPT_BLOCK).to_be_bytes()
}

/// The place of an offset in its block: the tag in `attempt_by_event`.
pub(crate) fn in_block(offset: Offset) -> u16 {
    u16::try_from(offset.get() % ATTEMPT_BLOCK).unwrap_or(u16::MAX)
}

pub(crate) fn organisation(id: OrganisationId) -> Vec<u8> {
    join(&[&[Kind::Organisation as u8], id.as_bytes()])
}

/// Application ids are unique over organisations; the owner is in the value.
pub(crate) fn application(id: ApplicationId) -> Vec<u8> {
    join(&[&[Kind::Application as u8], id.as_bytes()])
}

pub(crate) fn event_type(owner: OrganisationId, name: &EventTypeName) -> Vec<u8> {
    join(&[
        &[Kind::EventType as u8],
        owner.as_bytes(),
        name.as_str().as_bytes(),
    ])
}

pub(crate) fn subscription(id: SubscriptionId) -> Vec<u8> {
    join(&[&[Kind::Subscription as u8], id.as_bytes()])
}

pub(crate) fn token_cuts(id: ApplicationId) -> Vec<u8> {
    join(&[&[Kind::TokenCuts as u8], id.as_bytes()])
}

pub(crate) fn revoked_token(token: &RevokedToken) -> Vec<u8> {
    let owner = token.organisation.as_bytes();
    join(&[&[Kind::RevokedToken as u8], owner, &token.hash])
}

/// Events sort before attempts, and these before applications, each by position.
pub(crate) fn expunged(what: Expunged) -> Vec<u8> {
    let (tag, position, owner) = match &what {
        Expunged::Event(offset) => (1, offset.get(), [].as_slice()),
        Expunged::Attempt(seq) => (2, seq.get(), [].as_slice()),
        Expunged::Below(application, end) => (3, end.get(), application.as_bytes().as_slice()),
    };
    let head = [Kind::Expunged as u8, tag];
    join(&[&head, &position.to_be_bytes(), owner])
}

pub(crate) fn session_cuts(owner: ApplicationId, session: &SessionHash) -> Vec<u8> {
    join(&[&[Kind::SessionCuts as u8], owner.as_bytes(), session])
}

/// The bounds (both included) of the cut sessions of an application.
pub(crate) fn session_cuts_of(owner: ApplicationId) -> (Vec<u8>, Vec<u8>) {
    let end = |byte| session_cuts(owner, &[byte; 32]);
    (end(0), end(0xff))
}

pub(crate) fn task(id: TaskId) -> Vec<u8> {
    join(&[&[Kind::Task as u8], id.as_bytes()])
}

/// The kind of a registry key.
pub(crate) fn registry_kind(key: &[u8]) -> Option<Kind> {
    Some(match key.first()? {
        1 => Kind::Organisation,
        2 => Kind::Application,
        3 => Kind::EventType,
        4 => Kind::Subscription,
        5 => Kind::Task,
        6 => Kind::TokenCuts,
        7 => Kind::RevokedToken,
        8 => Kind::Expunged,
        9 => Kind::SessionCuts,
        _ => return None,
    })
}

pub(crate) fn cursor(id: SubscriptionId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub(crate) fn retry(id: SubscriptionId, offset: Offset) -> Vec<u8> {
    join(&[id.as_bytes(), &offset.get().to_be_bytes()])
}

pub(crate) fn expired(id: SubscriptionId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub(crate) fn health(id: SubscriptionId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// An event that waits for its time, in the order of these times.
pub(crate) fn delayed(due: Timestamp, offset: Offset) -> Vec<u8> {
    // It lies behind the time of a commit, which is never before 1970.
    let due = u64::try_from(due.as_millis()).unwrap_or(0);
    join(&[&[1], &due.to_be_bytes(), &offset.get().to_be_bytes()])
}

/// The time and the offset in such a key.
pub(crate) fn delayed_parts(key: &[u8]) -> Option<(Timestamp, Offset)> {
    let (tag, rest) = key.split_first()?;
    let (due, rest) = rest.split_first_chunk::<8>()?;
    let offset = u64::from_be_bytes(rest.try_into().ok()?);
    let due = i64::try_from(u64::from_be_bytes(*due)).ok()?;
    (*tag == 1).then_some((Timestamp::from_millis(due), Offset::new(offset)))
}

/// The same event, by its offset.
pub(crate) fn delayed_at(offset: Offset) -> Vec<u8> {
    join(&[&[2], &offset.get().to_be_bytes()])
}

/// A subscription that is not to get it.
pub(crate) fn delayed_skip(offset: Offset, id: SubscriptionId) -> Vec<u8> {
    join(&[&[3], &offset.get().to_be_bytes(), id.as_bytes()])
}

/// The offset in a key of `delayed`.
pub(crate) fn delayed_offset(key: &[u8]) -> Option<Offset> {
    let (tag, rest) = key.split_first()?;
    match tag {
        1 => delayed_parts(key).map(|(_, offset)| offset),
        _ => rest
            .first_chunk()
            .map(|at| Offset::new(u64::from_be_bytes(*at))),
    }
}

/// The subscription in a key of `cursor`, `retry` or `health`.
pub(crate) fn subscription_of(key: &[u8]) -> Option<SubscriptionId> {
    key.first_chunk::<20>()
        .map(|id| SubscriptionId::from_bytes(*id))
}

/// Key of a consumer's row.
pub(crate) fn consumer(key: &ConsumerKey) -> Vec<u8> {
    let (tag, owner) = match &key.scope {
        ConsumerScope::Log => (0, [0; 20]),
        ConsumerScope::Application(id) => (1, *id.as_bytes()),
    };
    join(&[&[tag], &owner, key.name.as_str().as_bytes()])
}

/// The bounds (both excluded) of the consumers of an application.
pub(crate) fn consumers_of(application: ApplicationId) -> (Vec<u8>, Vec<u8>) {
    let owner = application.as_bytes();
    // Names are ASCII.
    (join(&[&[1], owner]), join(&[&[1], owner, &[0x80]]))
}

/// The consumer that a key names.
pub(crate) fn consumer_key(key: &[u8]) -> Option<ConsumerKey> {
    let (tag, rest) = key.split_first()?;
    let (owner, name) = rest.split_first_chunk::<20>()?;
    let scope = match tag {
        0 if *owner == [0; 20] => ConsumerScope::Log,
        1 => ConsumerScope::Application(ApplicationId::from_bytes(*owner)),
        _ => return None,
    };
    let name = std::str::from_utf8(name).ok()?.parse().ok()?;
    Some(ConsumerKey { scope, name })
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[cfg(test)]
mod tests;
