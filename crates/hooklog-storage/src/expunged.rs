//! Content that its owner had taken out of events and attempts, before retention does.
//!
//! The bytes stay on disk, in batches that are never rewritten, until retention removes the batch;
//! what is read of them is [`EXPUNGED_PAYLOAD`] and [`EXPUNGED_RESPONSE`].
//!
//! **Invariant:** from the commit of an expunge on no read of the log, the tail or a consumer yields
//! the content again, over restarts. The table is bounded; retention takes out what has expired.
//! **Next:** `log.rs`, whose reads pass through here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Low};
use crate::change::{Change, ChangeError};
use crate::codec;
use crate::event::Record;
use crate::id::ApplicationId;
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
    /// The payloads of all events of this application below this offset.
    Below(ApplicationId, Offset),
}

/// One past the event that a row of the registry marks as expunged: no other event may get its place,
/// for its content would not be shown.
pub(crate) fn end_of_row(key: &[u8], value: &[u8]) -> Option<Offset> {
    if !matches!(keys::registry_kind(key), Some(keys::Kind::Expunged)) {
        return None;
    }
    match codec::decode(value) {
        Ok(Expunged::Event(offset)) => Some(offset.next()),
        Ok(Expunged::Below(_, end)) => Some(end),
        Ok(Expunged::Attempt(_)) | Err(_) => None,
    }
}

/// All that lost its content and has not expired yet.
#[derive(Debug, Default)]
pub(crate) struct Table {
    events: BTreeSet<Offset>,
    attempts: BTreeSet<AttemptSeq>,
    /// Below which offset all of an application's are; also of one that was deleted.
    applications: BTreeMap<ApplicationId, Offset>,
}

impl Table {
    pub(crate) fn add(&mut self, what: Expunged) {
        match what {
            Expunged::Event(offset) => {
                self.events.insert(offset);
            }
            Expunged::Attempt(seq) => {
                self.attempts.insert(seq);
            }
            Expunged::Below(application, end) => {
                let known = self.applications.entry(application).or_default();
                *known = end.max(*known);
            }
        }
    }

    /// Takes a mark away, unless it is another one by now.
    pub(crate) fn forget(&mut self, what: Expunged) {
        match what {
            Expunged::Event(offset) => {
                self.events.remove(&offset);
            }
            Expunged::Attempt(seq) => {
                self.attempts.remove(&seq);
            }
            Expunged::Below(application, end) => {
                if self.applications.get(&application) == Some(&end) {
                    self.applications.remove(&application);
                }
            }
        }
    }

    /// What it takes to expunge all of an application below `end`: one mark, in the place of the one
    /// before.
    pub(crate) fn below(
        &self,
        application: ApplicationId,
        end: Offset,
    ) -> Result<Vec<Change>, ChangeError> {
        let mark = Expunged::Below(application, end);
        if end == Offset::ZERO || self.has(mark) {
            return Ok(Vec::new());
        }
        let mut changes = vec![Change::Expunge(mark)];
        match self.applications.get(&application) {
            Some(old) => changes.push(Change::ForgetExpunged(Expunged::Below(application, *old))),
            None if self.count() >= EXPUNGED_MAX => {
                return Err(ChangeError::Limit {
                    what: "the number of expunged contents",
                    limit: EXPUNGED_MAX,
                });
            }
            None => {}
        }
        Ok(changes)
    }

    pub(crate) fn has(&self, what: Expunged) -> bool {
        match what {
            Expunged::Event(offset) => self.events.contains(&offset),
            Expunged::Attempt(seq) => self.attempts.contains(&seq),
            Expunged::Below(application, end) => {
                let known = self.applications.get(&application);
                known.is_some_and(|known| *known >= end)
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.events.len() + self.attempts.len() + self.applications.len()
    }

    /// Whether no event lost its payload.
    fn has_no_events(&self) -> bool {
        self.events.is_empty() && self.applications.is_empty()
    }

    /// Whether the event lost its payload.
    pub(crate) fn has_event(&self, record: &Record) -> bool {
        self.events.contains(&record.offset) || self.is_below(record)
    }

    fn is_below(&self, record: &Record) -> bool {
        let end = self.applications.get(&record.event.application);
        end.is_some_and(|end| record.offset < *end)
    }

    /// Forgets what lies below the log's low end.
    pub(crate) fn expire(&mut self, low: Low) {
        self.events = self.events.split_off(&low.events);
        self.attempts = self.attempts.split_off(&low.attempts);
        self.applications.retain(|_, end| *end > low.events);
    }

    fn takes_from(&self, record: &mut Record) {
        if self.has_event(record) {
            record.event.payload = Bytes::from_static(EXPUNGED_PAYLOAD);
            "application/json".clone_into(&mut record.event.content_type);
        }
    }
}

impl Shared {
    /// Takes expunged payloads out of what was read.
    pub(crate) fn without_expunged<'a>(&self, records: impl IntoIterator<Item = &'a mut Record>) {
        let registry = self.registry.read();
        if registry.expunged.has_no_events() {
            return;
        }
        for record in records {
            registry.expunged.takes_from(record);
        }
    }

    /// The same for a commit that memory shares; copied only if something is taken out.
    pub(crate) fn shared_without_expunged(&self, records: Arc<[Record]>) -> Arc<[Record]> {
        let registry = self.registry.read();
        let (events, table) = (&registry.expunged.events, &registry.expunged);
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return records;
        };
        let is_marked = events.range(first.offset..=last.offset).next().is_some()
            || (!table.applications.is_empty() && records.iter().any(|one| table.is_below(one)));
        if !is_marked {
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
