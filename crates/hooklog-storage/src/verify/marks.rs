//! Checking a chain of batches by their rows alone: the header and the checksum of each batch stand in
//! its row, so a log of gigabytes is walked in a moment.
//!
//! What was synced long before the last stop can only have been damaged on the medium since. A reader
//! notices that (each batch has a checksum) and so does `hooklog check`; what a crash can have torn
//! is recent, and `../verify.rs` reads that.
//!
//! **Invariant:** no row is missing, doubled or out of place, each batch follows the one before it,
//! and every extent is as long as its rows say.
//! **Next:** `../recovery.rs`.

use std::collections::VecDeque;
use std::ops::{Bound, Range};

use super::{VerifyError, what};
use crate::engine::Engine;
use crate::engine::extents::Place;
use crate::frame::{self, FrameError};
use crate::keys::{self, Family};
use crate::read::corrupt;
use crate::state::Link;

/// The last batches of at least this many bytes are read in full: twice what the applier writes
/// between two barriers, so all that a power cut can have touched.
const RECENT_BYTES: usize = 32 << 20;

/// A walk along the rows of a family.
struct Walk {
    family: Family,
    next: u64,
    crc: u32,
    /// What is missing of the batch whose first row was seen.
    missing: usize,
    /// The batch that is looked at: where it begins and ends, what comes before it, its bytes.
    base: u64,
    end: u64,
    before: u32,
    total: usize,
    recent: VecDeque<(Link<u64>, usize)>,
    recent_bytes: usize,
    place: Option<Place>,
}

/// Walks over the rows; returns the CRC of the last batch, and where the recent ones begin.
pub(super) fn walk(
    engine: &Engine,
    family: Family,
    range: Range<u64>,
    crc: u32,
) -> Result<(u32, Link<u64>), VerifyError> {
    let mut walk = Walk {
        family,
        next: range.start,
        crc,
        missing: 0,
        base: range.start,
        end: range.start,
        before: crc,
        total: 0,
        recent: VecDeque::new(),
        recent_bytes: 0,
        place: None,
    };
    let (low, high) = (keys::batch(range.start, 0), keys::batch(range.end, 0));
    let bounds = (
        Bound::Included(low.as_slice()),
        Bound::Excluded(high.as_slice()),
    );
    engine.scan_marks::<VerifyError>(family, bounds, |key, mark| {
        let base = keys::batch_base(key).unwrap_or(u64::MAX);
        if walk.missing == 0 {
            walk.begin(base, mark.head)?;
        } else if base != walk.base {
            return Err(walk.hole(base));
        }
        walk.missing = walk
            .missing
            .checked_sub(mark.bytes)
            .ok_or_else(|| walk.damaged(base, FrameError::Short))?;
        if walk.missing == 0 {
            walk.finish(u32::from_be_bytes(mark.tail));
        }
        walk.step(engine, mark.place)
    })?;
    if walk.next != range.end || walk.missing != 0 {
        return Err(walk.hole(range.end));
    }
    walk.check_extent(engine)?;
    let start = Link {
        position: range.end,
        crc: walk.crc,
    };
    let recent = walk.recent.front().map_or(start, |(link, _)| *link);
    Ok((walk.crc, recent))
}

impl Walk {
    fn begin(&mut self, base: u64, head: &[u8]) -> Result<(), VerifyError> {
        if base != self.next {
            return Err(self.hole(base));
        }
        let (header, total) = frame::header(head).map_err(|error| self.damaged(base, error))?;
        if header.base != base || header.previous_crc != self.crc {
            let what = what(self.family);
            return Err(VerifyError::Chain { what, base });
        }
        (self.base, self.end) = (base, base + u64::from(header.count));
        (self.missing, self.total, self.before) = (total, total, self.crc);
        Ok(())
    }

    fn finish(&mut self, crc: u32) {
        let begins = Link {
            position: self.base,
            crc: self.before,
        };
        self.recent.push_back((begins, self.total));
        self.recent_bytes += self.total;
        while let Some((_, bytes)) = self.recent.front()
            && self.recent_bytes - bytes >= RECENT_BYTES
        {
            self.recent_bytes -= bytes;
            self.recent.pop_front();
        }
        (self.next, self.crc) = (self.end, crc);
    }

    /// Looks at an extent when its last row was seen. Inline rows may stand between others.
    fn step(&mut self, engine: &Engine, place: Option<Place>) -> Result<(), VerifyError> {
        let Some(place) = place else { return Ok(()) };
        if self.place.is_some_and(|last| last.extent != place.extent) {
            self.check_extent(engine)?;
        }
        self.place = Some(place);
        Ok(())
    }

    fn check_extent(&self, engine: &Engine) -> Result<(), VerifyError> {
        match self.place {
            Some(last) if !engine.holds(self.family, last)? => {
                Err(self.damaged(self.base, FrameError::Short))
            }
            _ => Ok(()),
        }
    }

    fn hole(&self, to: u64) -> VerifyError {
        VerifyError::Hole {
            what: what(self.family),
            from: self.next,
            to,
        }
    }

    fn damaged(&self, base: u64, error: FrameError) -> VerifyError {
        corrupt(self.family, base)(&error).into()
    }
}
