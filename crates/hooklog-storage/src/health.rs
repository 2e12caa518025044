//! What the dispatcher knows about an endpoint, and what people are told of it.
//!
//! **Invariant:** a row exists only for an endpoint that is not known to be well, so healthy ones
//! cost nothing. Whatever would burn attempts if a restart forgot it is here.
//! **Next:** `attempts.rs`, which reads where subscriptions stand.

use serde::{Deserialize, Serialize};

use crate::attempt::Cursor;
use crate::entry::Entry;
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::read::ReadError;
use crate::shared::Shared;
use crate::time::Timestamp;

/// How an endpoint does; the default is: well, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Every attempt since then has failed.
    pub failing_since: Option<Timestamp>,
    /// Since then it is taken to be down: events wait, and one at a time is tried.
    pub down_since: Option<Timestamp>,
    /// When the next event is tried while it is down.
    pub probe_at: Option<Timestamp>,
    /// It asked to be left alone until then (`Retry-After`).
    pub paused_until: Option<Timestamp>,
    /// More than its rate allows has waited for it since then.
    pub throttled_since: Option<Timestamp>,
}

impl Shared {
    /// How the endpoint of a subscription does.
    pub(crate) fn health(&self, id: SubscriptionId) -> Result<Health, ReadError> {
        let last = self.last_entry(|entry| match entry {
            Entry::Health(of, health) if *of == id => Some(*health),
            _ => None,
        });
        match last {
            Some(health) => Ok(health),
            None => Ok(self
                .row(Family::Health, &keys::health(id))?
                .unwrap_or_default()),
        }
    }

    /// Where a subscription stands; `None` if it never had anything outstanding.
    pub(crate) fn cursor(&self, id: SubscriptionId) -> Result<Option<Cursor>, ReadError> {
        let last = self.last_entry(|entry| match entry {
            Entry::Cursor(of, cursor) if *of == id => Some(cursor.clone()),
            _ => None,
        });
        match last {
            Some(cursor) => Ok(Some(cursor)),
            None => self.row(Family::Cursor, &keys::cursor(id)),
        }
    }

    /// The last entry in memory that `pick` takes. What is in sled already may be in memory still,
    /// never the other way round.
    fn last_entry<T>(&self, pick: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        let hot = self.ring.all();
        let mut entries = hot
            .iter()
            .rev()
            .flat_map(|commit| commit.entries.iter().rev());
        entries.find_map(pick)
    }
}
