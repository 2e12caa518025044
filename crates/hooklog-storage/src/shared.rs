//! What the façade, the committer, the applier and tails of one log share.
//!
//! **Invariant:** the directory's lock outlives the database.
//! **Next:** `commit.rs`, `read.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::answers::Answers;
use crate::apply::Durable;
use crate::commit::{APPLIER_PATIENCE, stuck};
use crate::config::Config;
use crate::consumer::Consumers;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::event_keys::EventKeys;
use crate::offset::Offset;
use crate::poison::Poison;
use crate::registry::Registry;
use crate::ring::{Ring, Room};
use crate::transfer::pins::Pins;

/// What the façade, the committer, the applier and tails share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) engine: Arc<Engine>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) registry: RwLock<Registry>,
    /// Cursors of consumers, and which of them are open.
    pub(crate) consumers: Mutex<Consumers>,
    /// Answers to requests, by their idempotency keys.
    pub(crate) answers: Mutex<Answers>,
    /// Nothing is committed any more.
    pub(crate) closed: AtomicBool,
    /// Idempotency keys and uids of events.
    pub(crate) keys: EventKeys,
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

    /// Waits until the database holds all that was committed before; a database that takes nothing
    /// for too long stops the log.
    pub(crate) fn all_applied(&self) {
        let poisoned = || self.poison.reason().is_some();
        if self.ring.wait_applied(APPLIER_PATIENCE, poisoned) == Room::None {
            self.poison.set(&stuck(APPLIER_PATIENCE));
        }
    }

    /// The lowest offset that is kept.
    pub(crate) fn low(&self) -> Offset {
        self.ring.low().events
    }
}
