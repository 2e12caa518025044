//! Many event types at once.
//!
//! **Invariant:** one commit takes a bounded number of bytes, so several are made of many types; each
//! type is replaced whole or not at all, and doing it again completes what a crash broke off.
//! **Next:** `../subscription.rs`.

use std::sync::Arc;

use super::{below, organisation_if_new};
use crate::change::{Change, ChangeError};
use crate::id::OrganisationId;
use crate::log::EventLog;
use crate::name::EventTypeName;
use crate::subscription::EventType;

/// Bytes of event types in one commit, about: an eighth of what the engine takes at once. One type may
/// have more than half of it.
const COMMIT_BYTES: usize = 128 << 10;

impl EventLog {
    /// Puts these event types of one organisation, each of another name, in the place of those of their names, or creates
    /// them; none is archived after that unless it says so.
    ///
    /// # Cancel safety
    /// A dropped call may leave the first of them changed and the others not.
    pub async fn put_event_types(&self, all: Vec<EventType>) -> Result<(), ChangeError> {
        let limit = self.config().event_types_max;
        let mut rest = all.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut some, mut bytes) = (Vec::new(), 0);
            while let Some(next) = rest.next_if(|_| bytes < COMMIT_BYTES) {
                bytes += weight(&next);
                some.push(next);
            }
            self.change(move |registry, turn| {
                let Some(organisation) = some.first().map(|value| value.organisation) else {
                    return Ok((Vec::new(), ()));
                };
                let mut changes = organisation_if_new(registry, organisation, turn);
                let mut count = registry.event_type_count(organisation);
                for new in some {
                    let old = registry.event_type(organisation, &new.name);
                    if old.is_none() {
                        below("the number of event types", count, limit)?;
                        count += 1;
                    }
                    changes.push(Change::PutEventType(Arc::new(EventType {
                        organisation,
                        created: old.map_or(turn.now, |old| old.created),
                        updated: turn.now,
                        ..new
                    })));
                }
                Ok((changes, ()))
            })
            .await?;
        }
        Ok(())
    }

    /// Archives event types of an organisation; those that are gone or archived already stay so.
    ///
    /// # Cancel safety
    /// As of [`put_event_types`](Self::put_event_types).
    pub async fn archive_event_types(
        &self,
        organisation: OrganisationId,
        mut names: Vec<EventTypeName>,
    ) -> Result<(), ChangeError> {
        while !names.is_empty() {
            let rest = self.change(move |registry, turn| {
                let (mut changes, mut bytes) = (Vec::new(), 0);
                while bytes < COMMIT_BYTES
                    && let Some(name) = names.pop()
                {
                    let old = registry.event_type(organisation, &name);
                    let Some(old) = old.filter(|old| !old.archived) else {
                        continue;
                    };
                    bytes += weight(old);
                    let mut value = EventType::clone(old);
                    (value.archived, value.updated) = (true, turn.now);
                    changes.push(Change::PutEventType(Arc::new(value)));
                }
                Ok((changes, names))
            });
            names = rest.await?;
        }
        Ok(())
    }
}

/// About what one takes in a commit.
fn weight(value: &EventType) -> usize {
    let texts = value.description.len() + value.schemas.as_ref().map_or(0, String::len);
    256 + texts + value.feature_flags.iter().map(String::len).sum::<usize>()
}

#[cfg(test)]
mod tests;
