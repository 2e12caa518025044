//! The bytes of a record batch, made again and again: for `hooklog bench`, which counts the instructions.
//!
//! **Invariant:** what it does with a batch is what the applier does: every event as a record, then the
//! frame around them.
//! **Next:** `record.rs` and `frame.rs`, which are counted.

use crate::config::Compression;
use crate::event::{Event, Record};
use crate::frame::{self, Header, Kind};
use crate::id::EventId;
use crate::offset::Offset;
use crate::record;
use crate::time::Timestamp;

/// Events of the batch: of 512 B they fill about the half of one.
pub const BATCH_EVENTS: u32 = 64;

/// A batch that is encoded.
#[derive(Debug)]
pub struct Encoder {
    records: Vec<Record>,
}

impl Encoder {
    /// A batch of this event, again and again.
    pub fn new(event: &Event) -> Self {
        let time = Timestamp::from_millis(1_700_000_000_000);
        let record = |offset| Record {
            offset: Offset::new(offset),
            id: EventId::at(time, Offset::new(offset), [7; 7]),
            timestamp: time,
            event: event.clone(),
        };
        Self {
            records: (0..u64::from(BATCH_EVENTS)).map(record).collect(),
        }
    }

    /// Encodes it; says how many bytes it has, 0 if it cannot be encoded.
    pub fn encode(&self) -> usize {
        let mut body = Vec::new();
        for record in &self.records {
            if record::encode(record, &mut body).is_err() {
                return 0;
            }
        }
        let time = self.records.first().map(|record| record.timestamp);
        let header = Header {
            kind: Kind::Events,
            base: 0,
            count: BATCH_EVENTS,
            first: time.unwrap_or_default(),
            last: time.unwrap_or_default(),
            previous_crc: 0,
        };
        frame::encode(&header, &body, Compression::Lz4).0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ApplicationId;

    #[test]
    fn the_batch_holds_all_payloads() {
        let mut rng = fastrand::Rng::with_seed(1);
        let payload: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(512).collect();
        let application = ApplicationId::from_bytes([1; 20]);
        let event = Event::new(application, "a.b".parse().unwrap(), payload);
        let bytes = Encoder::new(&event).encode();
        // The same payload compresses, but no further than to one and a reference for each other.
        assert!((512..64 * 600).contains(&bytes), "{bytes}");
    }
}
