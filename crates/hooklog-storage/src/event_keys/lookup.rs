//! Which event carries a key.
//!
//! **Invariant:** what the index names is compared with the record; if the record carries another key
//! the index is not this log's, and nothing is answered from it any more.
//! **Next:** `event_keys/fill.rs`.

use super::EventKeys;
use crate::event::Record;
use crate::id::ApplicationId;
use crate::idempotency::IdempotencyKey;
use crate::key_index::{KeyHash, KeyIndex, KeyIndexError};
use crate::name::Uid;
use crate::read::ReadError;
use crate::shared::Shared;

impl Shared {
    /// The kept event of an application that has this uid. `group` is what the committer puts
    /// together right now, and nobody else sees.
    pub(crate) fn event_by_uid(
        &self,
        application: ApplicationId,
        uid: &Uid,
        group: &[Record],
    ) -> Result<Option<Record>, ReadError> {
        let hash = self.keys.uid_hash(application, uid);
        let carries = |record: &Record| {
            record.event.application == application && record.event.uid.as_ref() == Some(uid)
        };
        self.carrier(&self.keys.uids, &hash, group, carries)
    }

    /// The kept event that carries this key, however old it is.
    pub(crate) fn event_by_request(
        &self,
        key: &IdempotencyKey,
        group: &[Record],
    ) -> Result<Option<Record>, ReadError> {
        let hash = self.keys.request_hash(key);
        let carries = |record: &Record| {
            let found = record.event.idempotency.as_ref();
            found.is_some_and(|found| found.is_same_key(key))
        };
        self.carrier(&self.keys.requests, &hash, group, carries)
    }

    fn carrier(
        &self,
        index: &KeyIndex,
        hash: &KeyHash,
        group: &[Record],
        carries: impl Fn(&Record) -> bool,
    ) -> Result<Option<Record>, ReadError> {
        self.keys.check()?;
        let found = index.get(hash).map_err(|error| self.keys.unread(&error))?;
        let Some(entry) = found else { return Ok(None) };
        let offset = entry.id.offset();
        let record = match group.first() {
            Some(first) if offset >= first.offset => {
                let place = usize::try_from(offset.since(first.offset)).ok();
                place.and_then(|place| group.get(place)).cloned()
            }
            // `None` if it has expired, or is not shown yet, or was lost and left out by a repair.
            _ => self.get_at(offset)?,
        };
        match record {
            Some(record) if record.id == entry.id && carries(&record) => Ok(Some(record)),
            None => Ok(None),
            Some(record) => {
                let (named, is) = (entry.id, record.id);
                let reason =
                    format!("the index of keys names {named} for a key that {is} does not carry");
                self.keys.condemn(&reason);
                Err(ReadError::Keys { reason })
            }
        }
    }
}

impl EventKeys {
    /// Refuses when the index is broken.
    pub(super) fn check(&self) -> Result<(), ReadError> {
        self.broken.get().map_or(Ok(()), |reason| {
            Err(ReadError::Keys {
                reason: reason.to_string(),
            })
        })
    }

    /// A lookup failed; a damaged index is not asked again.
    fn unread(&self, error: &KeyIndexError) -> ReadError {
        let reason = error.to_string();
        if let KeyIndexError::Damaged { .. } = error {
            self.condemn(&reason);
        }
        ReadError::Keys { reason }
    }
}
