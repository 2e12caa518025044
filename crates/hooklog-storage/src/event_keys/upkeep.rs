//! The threads that keep the indexes in shape: one writes keys to runs, one merges runs, so that a
//! long merge keeps no publisher waiting for room.
//!
//! **Invariant:** only keys of events that readers see are sealed, so none that is not acked or about
//! to be, and only keys of events whose expiry is durable are forgotten. An I/O error stops the log;
//! damage stops only what asks for keys.
//! **Next:** `key_index.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::key_index::{KeyIndex, KeyIndexError, MergeStep};
use crate::offset::{Offset, Sequence};
use crate::shared::Shared;
use crate::space;

/// How often expired keys are looked for.
const TICK: Duration = Duration::from_secs(1);

/// The thread that seals.
pub(crate) struct SealLoop {
    shared: Arc<Shared>,
    /// Disconnected when the committer has ended.
    wake: Receiver<()>,
    merge: Sender<()>,
}

/// The thread that merges.
pub(crate) struct MergeLoop {
    shared: Arc<Shared>,
    /// Disconnected when the sealing thread has ended.
    wake: Receiver<()>,
    /// Keys that were dropped for the bound, as told last.
    dropped: u64,
    /// A low end that a power cut may still take back, and the commit that it waits for.
    rising: Option<(Option<Sequence>, Offset)>,
}

/// Both loops, and what wakes the first. It ends when that is dropped, and with it the second.
pub(crate) fn loops(shared: &Arc<Shared>) -> (Sender<()>, SealLoop, MergeLoop) {
    // One message says all: look.
    let (wake, woken) = crossbeam_channel::bounded(1);
    let (merge, merging) = crossbeam_channel::bounded(1);
    let seal = SealLoop {
        shared: Arc::clone(shared),
        wake: woken,
        merge,
    };
    let merge = MergeLoop {
        shared: Arc::clone(shared),
        wake: merging,
        dropped: 0,
        rising: None,
    };
    (wake, seal, merge)
}

impl SealLoop {
    /// Runs until the committer has ended, and seals what there is then.
    pub(crate) fn run(self) {
        loop {
            let closing = self.wake.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected);
            if self.shared.poison.reason().is_some() {
                return;
            }
            let when = if closing { When::Now } else { When::Due };
            if self.shared.keys.check().is_ok() {
                self.shared.settle(self.seal(when));
            }
            if closing {
                return;
            }
            // If it is full the other thread has not looked yet, and will see this as well.
            let _full = self.merge.try_send(());
        }
    }

    fn seal(&self, when: When) -> Result<(), KeyIndexError> {
        let keys = &self.shared.keys;
        let bytes = &keys.unsealed_bytes;
        let all = when == When::Now || bytes.load(Ordering::Relaxed) >= keys.seal_bytes;
        if all {
            bytes.store(0, Ordering::Relaxed);
        }
        // What readers see is durable, or as durable as an ack is; its keys were inserted before.
        let up_to = self.shared.ring.end();
        let seal = |index: &KeyIndex| {
            let due = all || index.seal_is_due();
            if due { index.seal(up_to) } else { Ok(()) }
        };
        // An index that is behind keeps the other from nothing.
        keys.both().map(seal).into_iter().collect()
    }
}

/// Whether to wait until sealing is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Due,
    Now,
}

impl MergeLoop {
    /// Runs until the sealing thread has ended.
    pub(crate) fn run(mut self) {
        while self.wake.recv().is_ok() {
            if self.shared.poison.reason().is_some() {
                return;
            }
            if self.shared.keys.check().is_ok() {
                let merged = self.merge();
                self.shared.settle(merged);
                self.tell();
            }
        }
    }

    fn merge(&mut self) -> Result<(), KeyIndexError> {
        self.forget()?;
        let keys = &self.shared.keys;
        for index in keys.both() {
            while index.merge_step(&keys.stop)? == MergeStep::Merged {}
        }
        Ok(())
    }

    /// Forgets the keys of events that have expired for good. A low end is shown before it is durable,
    /// and events that come back after a power cut come with their keys.
    pub(crate) fn forget(&mut self) -> Result<(), KeyIndexError> {
        let shared = &self.shared;
        let (until, low) = *self.rising.get_or_insert_with(|| {
            // In this order: the commit is the one that raised it, or a later one.
            let low = shared.low();
            (shared.ring.position().0, low)
        });
        if shared.durable.get() >= until {
            shared.keys.expire(low)?;
            self.rising = None;
        }
        Ok(())
    }

    /// An operator must hear that keys are forgotten early.
    fn tell(&mut self) {
        let stats = self.shared.keys.both().map(KeyIndex::stats);
        let dropped = stats.iter().map(|stats| stats.dropped).sum();
        if dropped > self.dropped {
            let keys = dropped - self.dropped;
            tracing::warn!(
                keys,
                "keys were forgotten before their time: there are too many"
            );
            self.dropped = dropped;
        }
    }
}

impl Shared {
    /// Draws the consequences of an error.
    fn settle(&self, result: Result<(), KeyIndexError>) {
        match result {
            // Merging makes room, and both are tried again.
            Ok(()) | Err(KeyIndexError::Behind { .. } | KeyIndexError::Full { .. }) => {}
            // The draft of a run is removed again, and what was to be in it stays where it is.
            Err(KeyIndexError::Io(error)) if space::is_full(&error.source) => {
                tracing::warn!(%error, "keys wait for space on the disk");
            }
            Err(error @ KeyIndexError::Damaged { .. }) => self.keys.condemn(&error.to_string()),
            Err(error @ (KeyIndexError::Io(_) | KeyIndexError::Limits { .. })) => {
                self.poison.set(&error.to_string());
                self.ring.wake();
            }
        }
    }
}
