//! Content that its owner had taken out of events and attempts, before retention does.
//!
//! The bytes stay on disk, in batches that are never rewritten, until retention removes the batch;
//! what is read of them is [`EXPUNGED_PAYLOAD`] and [`EXPUNGED_RESPONSE`].
//!
//! **Invariant:** from the commit of an expunge on no read of the log, the tail or a consumer yields
//! the content again, over restarts. The table is bounded; retention takes out what has expired.
//! **Next:** `log.rs`, whose reads pass through here.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Low};
use crate::codec;
use crate::event::Record;
use crate::keys;
use crate::offset::{AttemptSeq, Offset};
use crate::shared::Shared;

/// Most expunged events and attempts together: about 32 MB of memory.
pub const EXPUNGED_MAX: usize = 1_000_000;
/// What the payload of an expunged event reads as, in JSON (as clients of the API family know it).
pub const EXPUNGED_PAYLOAD: &[u8] = br#"{"expired":true}"#;
/// What the response of an expunged attempt reads as.
pub const EXPUNGED_RESPONSE: &str = "EXPUNGED";

/// What lost its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Expunged {
    /// The payload of the event at this offset.
    Event(Offset),
    /// The response of this attempt.
    Attempt(AttemptSeq),
}

/// One past the event that a row of the registry marks as expunged: no other event may get its place,
/// for its content would not be shown.
pub(crate) fn end_of_row(key: &[u8], value: &[u8]) -> Option<Offset> {
    if !matches!(keys::registry_kind(key), Some(keys::Kind::Expunged)) {
        return None;
    }
    match codec::decode(value) {
        Ok(Expunged::Event(offset)) => Some(offset.next()),
        Ok(Expunged::Attempt(_)) | Err(_) => None,
    }
}

/// All that lost its content and has not expired yet.
#[derive(Debug, Default)]
pub(crate) struct Table {
    events: BTreeSet<Offset>,
    attempts: BTreeSet<AttemptSeq>,
}

impl Table {
    pub(crate) fn add(&mut self, what: Expunged) {
        match what {
            Expunged::Event(offset) => self.events.insert(offset),
            Expunged::Attempt(seq) => self.attempts.insert(seq),
        };
    }

    pub(crate) fn has(&self, what: Expunged) -> bool {
        match what {
            Expunged::Event(offset) => self.events.contains(&offset),
            Expunged::Attempt(seq) => self.attempts.contains(&seq),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.events.len() + self.attempts.len()
    }

    /// Forgets what lies below the log's low end.
    pub(crate) fn expire(&mut self, low: Low) {
        self.events = self.events.split_off(&low.events);
        self.attempts = self.attempts.split_off(&low.attempts);
    }

    fn takes_from(&self, record: &mut Record) {
        if self.events.contains(&record.offset) {
            record.event.payload = Bytes::from_static(EXPUNGED_PAYLOAD);
            "application/json".clone_into(&mut record.event.content_type);
        }
    }
}

impl Shared {
    /// Takes expunged payloads out of what was read.
    pub(crate) fn without_expunged<'a>(&self, records: impl IntoIterator<Item = &'a mut Record>) {
        let registry = self.registry.read();
        if registry.expunged.events.is_empty() {
            return;
        }
        for record in records {
            registry.expunged.takes_from(record);
        }
    }

    /// The same for a commit that memory shares; copied only if something is taken out.
    pub(crate) fn shared_without_expunged(&self, records: Arc<[Record]>) -> Arc<[Record]> {
        let registry = self.registry.read();
        let events = &registry.expunged.events;
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return records;
        };
        if events.range(first.offset..=last.offset).next().is_none() {
            return records;
        }
        let mut records = records.to_vec();
        for record in &mut records {
            registry.expunged.takes_from(record);
        }
        records.into()
    }

    /// Takes expunged responses out of what was read.
    pub(crate) fn without_responses<'a>(
        &self,
        attempts: impl IntoIterator<Item = &'a mut Attempt>,
    ) {
        let registry = self.registry.read();
        let expunged = &registry.expunged.attempts;
        if expunged.is_empty() {
            return;
        }
        for attempt in attempts {
            if expunged.contains(&attempt.id.seq()) {
                EXPUNGED_RESPONSE.clone_into(&mut attempt.attempt.response);
            }
        }
    }
}
