//! How the committer waits for the applier.
//!
//! **Invariant:** a wait ends when patience went by without a sign of life, never because much is to be
//! done; and no wait makes the time until a sync that is due longer.
//! **Next:** `../ring.rs`, which counts the signs.

use std::time::{Duration, Instant};

use super::{Committer, stuck};
use crate::ring::Room;

/// A wait for the applier.
struct Wait {
    /// When patience ends.
    end: Instant,
    /// Signs of life that there were before.
    signs: u64,
}

impl Committer {
    /// Patience with the applier, from now on.
    fn wait(&self) -> Wait {
        Wait {
            end: Instant::now() + self.patience,
            signs: self.shared.ring.signs_of_life(),
        }
    }

    /// The next piece of a wait for the applier: until patience ends, or until a sync is due. `None` when
    /// the wait is over because there was no sign of life meanwhile.
    fn wait_piece(&mut self, wait: &mut Wait) -> Result<Option<Duration>, String> {
        self.sync_if_due()?;
        let now = Instant::now();
        if now >= wait.end {
            let seen = wait.signs;
            *wait = self.wait();
            if wait.signs == seen {
                return Ok(None);
            }
        }
        let next = self.sync_due.map_or(wait.end, |due| due.min(wait.end));
        Ok(Some(next.saturating_duration_since(now)))
    }

    /// Waits until the applier has room for another commit.
    pub(super) fn wait_room(&mut self) -> Result<(), String> {
        let mut wait = self.wait();
        while let Some(piece) = self.wait_piece(&mut wait)? {
            let stop = || self.shared.poison.reason().is_some();
            let most = self.shared.config.unapplied_bytes_max;
            if self.shared.ring.wait_room(most, piece, stop) == Room::Some {
                return Ok(());
            }
        }
        Err(stuck(self.patience))
    }
}
