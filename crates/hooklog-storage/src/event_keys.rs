//! The keys of events: idempotency keys and uids, each in an index on disk of its own, below `keys/`:
//!
//! ```text
//! keys/SECRET        makes hashes that nobody can choose; without it the indexes are worth nothing
//! keys/requests/     idempotency key ─► event, fingerprint of its request
//! keys/uids/         application, uid ─► event
//! ```
//! All of it is derived from the log: records carry the hash of their idempotency key and their uid.
//! It may be removed while the log is closed, and the next open reads the log from where the indexes
//! end. A backup does not hold it, a restore and a repair make it from the log that they wrote, and a
//! compaction leaves it as it is: events keep their offsets.
//!
//! **Invariant:** a key is found if and only if the log has a kept event that carries it: the committer
//! inserts in the order of the log, and what is found counts only when the log's record confirms it.
//! **Next:** `event_keys/secret.rs`, `event_keys/lookup.rs`, `event_keys/fill.rs` (at open),
//! `event_keys/upkeep.rs` (the threads), then `key_index.rs`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::Config;
use crate::directory::{IoError, io_error, sync_directory};
use crate::event::Record;
use crate::event_keys::secret::Secret;
use crate::id::ApplicationId;
use crate::idempotency::IdempotencyKey;
use crate::key_index::{
    self, Floor, Inspected, KeyEntry, KeyHash, KeyIndex, KeyIndexError, Limits,
};
use crate::name::Uid;
use crate::offset::Offset;
use crate::time::Timestamp;

mod fill;
mod lookup;
mod secret;
pub(crate) mod upkeep;

/// Ids carry their time exact to this, rounded down.
const ID_STEP: Duration = Duration::from_millis(4);

/// Both indexes of a log.
#[derive(Debug)]
pub(crate) struct EventKeys {
    directory: PathBuf,
    secret: Secret,
    requests: KeyIndex,
    uids: KeyIndex,
    /// How long idempotency keys are known.
    age: Duration,
    /// After so many committed bytes the indexes are told how far they cover the log, whether there
    /// are keys or not: what lies above is read at open after a kill, at some hundred MB/s. As many as
    /// the journal may be ahead of the database, which is read then as well.
    seal_bytes: u64,
    /// Why nothing is looked up any more until the log is opened again.
    broken: OnceLock<Arc<str>>,
    /// Ends a merge early.
    stop: AtomicBool,
    /// Bytes committed since the last seal.
    unsealed_bytes: AtomicU64,
    /// Time of the last commit: keys age by it.
    now: AtomicI64,
}

impl EventKeys {
    /// Opens or creates the indexes of a log that ends at `end`. Damaged ones begin anew.
    pub(crate) fn open(
        directory: &Path,
        limits: Limits,
        end: Offset,
        config: &Config,
    ) -> Result<Self, KeyIndexError> {
        let (requests, uids) = (directory.join("requests"), directory.join("uids"));
        let open = || -> Result<_, KeyIndexError> {
            let requests = KeyIndex::open(&requests, limits, end)?;
            Ok((requests, KeyIndex::open(&uids, limits, end)?))
        };
        let reset = || -> Result<(), IoError> {
            KeyIndex::reset(&requests)?;
            KeyIndex::reset(&uids)
        };
        let secret = if let Some(secret) = Secret::read(directory)? {
            secret
        } else {
            // Before there is a new secret: keys that were hashed with another are not found.
            reset()?;
            Secret::create(directory)?
        };
        let (requests, uids) = match open() {
            Err(error @ KeyIndexError::Damaged { .. }) => {
                tracing::warn!(%error, "the keys of all events are read from the log again");
                reset()?;
                open()?
            }
            done => done?,
        };
        Ok(Self {
            directory: directory.to_path_buf(),
            secret,
            requests,
            uids,
            age: config.idempotency_age,
            seal_bytes: config.unapplied_bytes_max as u64,
            broken: OnceLock::new(),
            stop: AtomicBool::new(false),
            unsealed_bytes: AtomicU64::new(0),
            now: AtomicI64::new(0),
        })
    }

    fn both(&self) -> [&KeyIndex; 2] {
        [&self.requests, &self.uids]
    }

    /// Whether idempotency keys have an effect.
    pub(crate) fn knows_requests(&self) -> bool {
        !self.age.is_zero()
    }

    /// Whether a key of a commit at `then` still counts at `now`.
    pub(crate) fn is_young(&self, then: Timestamp, now: Timestamp) -> bool {
        now.since(then) < self.age
    }

    pub(crate) fn request_hash(&self, key: &IdempotencyKey) -> KeyHash {
        self.secret.hash(&[b"request", key.hash()])
    }

    pub(crate) fn uid_hash(&self, application: ApplicationId, uid: &Uid) -> KeyHash {
        let (application, uid) = (application.as_bytes(), uid.as_str().as_bytes());
        self.secret.hash(&[b"uid", application, uid])
    }

    /// Whether so many idempotency keys and uids fit into memory now. Only inserting takes room, so
    /// the one thread that inserts can rely on the answer.
    pub(crate) fn has_room(&self, requests: usize, uids: usize) -> bool {
        (requests == 0 || self.requests.room() >= requests)
            && (uids == 0 || self.uids.room() >= uids)
    }

    /// Inserts the keys of an event, in the order of the log; nothing into a broken index.
    pub(crate) fn insert(&self, record: &Record) -> Result<(), KeyIndexError> {
        self.insert_above(record, Offset::ZERO, Offset::ZERO)
    }

    /// As `insert`, but nothing below where an index is filled already.
    fn insert_above(
        &self,
        record: &Record,
        requests: Offset,
        uids: Offset,
    ) -> Result<(), KeyIndexError> {
        if self.broken.get().is_some() {
            return Ok(());
        }
        let event = &record.event;
        if let Some(key) = &event.idempotency
            && self.knows_requests()
            && record.offset >= requests
        {
            self.requests.insert(&KeyEntry {
                hash: self.request_hash(key),
                id: record.id,
                fingerprint: key.fingerprint(),
            })?;
        }
        if let Some(uid) = &event.uid
            && record.offset >= uids
        {
            self.uids.insert(&KeyEntry {
                hash: self.uid_hash(event.application, uid),
                id: record.id,
                fingerprint: 0,
            })?;
        }
        Ok(())
    }

    /// Takes note of a commit; says whether it is time to seal.
    pub(crate) fn committed(&self, bytes: usize, now: Timestamp) -> bool {
        self.now.store(now.as_millis(), Ordering::Relaxed);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.unsealed_bytes.fetch_add(bytes, Ordering::Relaxed);
        before + bytes >= self.seal_bytes || self.is_filling()
    }

    /// Whether enough keys wait in memory for a run.
    fn is_filling(&self) -> bool {
        self.both().into_iter().any(KeyIndex::seal_is_due)
    }

    /// Forgets what is too old, and what belongs to events that have expired.
    fn expire(&self, low: Offset) -> Result<(), KeyIndexError> {
        let now = Timestamp::from_millis(self.now.load(Ordering::Relaxed));
        let age = i64::try_from((self.age + ID_STEP).as_millis()).unwrap_or(i64::MAX);
        let time = Timestamp::from_millis(now.as_millis().saturating_sub(age));
        self.requests.expire(Floor { time, offset: low })?;
        self.uids.expire(Floor {
            time: Timestamp::default(),
            offset: low,
        })
    }

    /// Nothing is looked up from here on: what the index says may be wrong. The next open finds no
    /// secret and reads the log again.
    fn condemn(&self, reason: &str) {
        if self.broken.set(reason.into()).is_err() {
            return;
        }
        let message = "events with keys are refused until the log is opened again";
        tracing::error!(reason, "{message}");
        let path = Secret::path(&self.directory);
        let removed = std::fs::remove_file(&path).map_err(io_error("remove", &path));
        if let Err(error) = removed.and_then(|()| sync_directory(&self.directory)) {
            tracing::error!(%error, "the indexes of keys may be used again");
        }
    }

    /// Looks through the files of both indexes, and writes nothing. None are there before the first
    /// seal, and after damage was found out: then they are made from the log.
    pub(crate) fn inspect(directory: &Path, told: &mut dyn FnMut(KeyIndexError)) -> Inspected {
        if let Err(error) = Secret::inspect(directory) {
            told(error);
        }
        let [requests, uids] =
            ["requests", "uids"].map(|name| key_index::inspect(&directory.join(name), told));
        Inspected {
            runs: requests.runs + uids.runs,
            keys: requests.keys + uids.keys,
        }
    }

    /// Ends merges, as soon as they look.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl EventKeys {
    /// Writes the keys of events below `end` to runs.
    pub(crate) fn seal_all(&self, end: Offset) {
        for index in self.both() {
            index.seal(end).unwrap();
        }
    }

    /// How many runs there are of idempotency keys and of uids.
    pub(crate) fn runs(&self) -> [usize; 2] {
        self.both().map(|index| index.stats().runs)
    }
}

#[cfg(test)]
mod tests;
