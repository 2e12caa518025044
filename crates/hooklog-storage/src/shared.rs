//! What the façade, the committer, the applier and tails of one log share.
//!
//! **Invariant:** the directory's lock outlives the database.
//! **Next:** `commit.rs`, `read.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::apply::Durable;
use crate::config::Config;
use crate::consumer::Consumers;
use crate::directory::Directory;
use crate::engine::{Engine, EngineError};
use crate::entry::Committed;
use crate::id::{ApplicationId, EventId};
use crate::keys::{self, Family};
use crate::name::Uid;
use crate::offset::Offset;
use crate::poison::Poison;
use crate::registry::Registry;
use crate::ring::Ring;
use crate::transfer::pins::Pins;

/// Uids of events that sled does not show yet.
pub(crate) type HotUids = HashMap<(ApplicationId, Uid), EventId>;

/// What the façade, the committer, the applier and tails share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) engine: Arc<Engine>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) registry: RwLock<Registry>,
    /// Cursors of consumers, and which of them are open.
    pub(crate) consumers: Mutex<Consumers>,
    /// Nothing is committed any more.
    pub(crate) closed: AtomicBool,
    /// Uids of events that sled does not show yet.
    pub(crate) uids: Mutex<HotUids>,
    pub(crate) durable: Arc<Durable>,
    pub(crate) poison: Poison,
    /// What a backup reads and may not be removed.
    pub(crate) pins: Arc<Pins>,
    /// Bytes of the requests that wait for the committer.
    pub(crate) queued_bytes: AtomicUsize,
    /// Unlocked when the last reader lets go of the database, which is dropped before it.
    pub(crate) _directory: Directory,
}

impl Shared {
    /// Gives back room in the queue.
    pub(crate) fn release(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The lowest offset that is kept.
    pub(crate) fn low(&self) -> Offset {
        self.ring.low().events
    }

    /// The event of an application that has this uid.
    pub(crate) fn event_by_uid(
        &self,
        application: ApplicationId,
        uid: &Uid,
    ) -> Result<Option<EventId>, EngineError> {
        // Memory first: what it gives up in between is in sled by then.
        if let Some(id) = self.uids.lock().get(&(application, uid.clone())) {
            return Ok(Some(*id));
        }
        let row = self
            .engine
            .get(Family::EventUid, &keys::event_uid(application, uid))?;
        let id = row.and_then(|row| row.first_chunk().map(|id| EventId::from_bytes(*id)));
        // An expired event gives its uid free.
        Ok(id.filter(|id| id.offset() >= self.ring.low().events))
    }

    /// Forgets uids that sled shows from now on.
    pub(crate) fn forget_uids(&self, commits: &[Arc<Committed>]) {
        let records = commits.iter().flat_map(|commit| commit.records.iter());
        let with_uid =
            records.filter_map(|record| Some((&record.event, record.event.uid.as_ref()?)));
        let mut uids = self.uids.lock();
        for (event, uid) in with_uid {
            uids.remove(&(event.application, uid.clone()));
        }
    }
}
