//! What may not be removed for a while, because a backup is reading it.
//!
//! **Invariant:** between the moment a pin is set and the moment it is dropped no batch at or above
//! it is removed. Who removes does so inside [`Pins::removing`], which a new pin waits for.
//! **Next:** `backup.rs`, which pins; the applier removes.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::attempt::Low;

impl Table {
    fn lowest(&self) -> Option<Low> {
        self.pinned
            .iter()
            .map(|(_, pinned)| *pinned)
            .reduce(Low::min)
    }
}

/// All pins of a log.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By number. As many as there are backups at once: a handful.
    pinned: Vec<(u64, Low)>,
}

impl Pins {
    /// Keeps everything that is stored from being removed.
    pub(crate) fn pin(self: &Arc<Self>) -> Pin {
        let mut table = self.0.lock();
        let number = table.next;
        table.next += 1;
        table.pinned.push((number, Low::default()));
        Pin {
            pins: Arc::clone(self),
            number,
        }
    }

    /// Runs `work`, which may remove batches that lie wholly below what it is handed (anything if
    /// that is `None`). No pin is set meanwhile, so it must be short.
    pub(crate) fn removing<T>(&self, work: impl FnOnce(Option<Low>) -> T) -> T {
        let table = self.0.lock();
        work(table.lowest())
    }

    /// The lowest positions that somebody reads.
    pub(crate) fn lowest(&self) -> Option<Low> {
        self.0.lock().lowest()
    }
}

/// A pin; gone when dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    number: u64,
}

impl Pin {
    /// Lets go of what lies below.
    pub(crate) fn raise(&self, to: Low) {
        let mut table = self.pins.0.lock();
        for (number, pinned) in &mut table.pinned {
            if *number == self.number {
                *pinned = to;
            }
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut table = self.pins.0.lock();
        table.pinned.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::{AttemptSeq, Offset};

    #[test]
    fn the_lowest_pin_holds_until_it_is_dropped() {
        let pins = Arc::new(Pins::default());
        let at = |events, attempts| Low {
            events: Offset::new(events),
            attempts: AttemptSeq::new(attempts),
        };
        assert_eq!(pins.removing(|lowest| lowest), None);
        let first = pins.pin();
        assert_eq!(pins.removing(|lowest| lowest), Some(at(0, 0)));
        first.raise(at(5, 9));
        let second = pins.pin();
        second.raise(at(7, 3));
        assert_eq!(pins.removing(|lowest| lowest), Some(at(5, 3)));
        drop(first);
        assert_eq!(pins.removing(|lowest| lowest), Some(at(7, 3)));
        drop(second);
        assert_eq!(pins.removing(|lowest| lowest), None);
    }
}
