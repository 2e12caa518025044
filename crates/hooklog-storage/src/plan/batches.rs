//! Batches of events and attempts, and the index rows of what is in them.
//!
//! **Invariant:** a batch carries the checksum of the one before it; an index has one row per owner for
//! all that is planned together.
//! **Next:** `../frame.rs`, a batch's bytes; `change.rs`.

use super::{Plan, PlanError};
use crate::codec;
use crate::engine::VALUE_BYTES_MAX;
use crate::entry::{self, StoredAttempt};
use crate::event::Record;
use crate::frame::{self, Header, Kind};
use crate::index::Index;
use crate::keys::{self, Family};
use crate::record;

/// A batch is closed when it has this many raw bytes: large enough that sled's cost per value is
/// small (393 k events/s against 124 k with a key each), small enough to read for one event.
const BATCH_BYTES: usize = 64 << 10;
/// A batch is closed at this many items, so that positions in it fit a `u16` with room to spare.
const BATCH_ITEMS: usize = 4096;

/// The rows of both indexes of attempts while they are made.
struct AttemptIndexes {
    by_event: Index<[u8; 8]>,
    by_subscription: Index<[u8; 20]>,
}

impl Plan<'_> {
    pub(super) fn events<'c>(
        &mut self,
        records: impl Iterator<Item = &'c Record>,
    ) -> Result<(), PlanError> {
        let mut body = Vec::new();
        let mut batch: Vec<&Record> = Vec::new();
        let mut index = Index::new(Family::AppLog);
        for record in records {
            if body.len() >= BATCH_BYTES || batch.len() >= BATCH_ITEMS {
                self.event_batch(&batch, &body, &mut index);
                body.clear();
                batch.clear();
            }
            record::encode(record, &mut body)?;
            batch.push(record);
        }
        self.event_batch(&batch, &body, &mut index);
        self.ops.extend(index.finish());
        Ok(())
    }

    fn event_batch(&mut self, records: &[&Record], body: &[u8], index: &mut Index<[u8; 20]>) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return;
        };
        let base = first.offset.get();
        let header = Header {
            kind: Kind::Events,
            base,
            count: u32::try_from(records.len()).unwrap_or(u32::MAX),
            first: first.timestamp,
            last: last.timestamp,
            previous_crc: self.state.events.crc,
        };
        let (crc, bytes) = self.batch(Family::Log, &header, body);
        let events = &mut self.state.events;
        events.crc = crc;
        events.bytes += bytes;
        events.end = last.offset.next();
        self.state.last_timestamp = last.timestamp;
        for record in records {
            let application = *record.event.application.as_bytes();
            index.add(application, base, record.offset.get(), 0);
        }
    }

    pub(super) fn attempts<'c>(
        &mut self,
        attempts: impl Iterator<Item = &'c StoredAttempt>,
    ) -> Result<(), PlanError> {
        let mut body = Vec::new();
        let mut batch: Vec<&StoredAttempt> = Vec::new();
        let mut indexes = AttemptIndexes {
            by_event: Index::new(Family::AttemptByEvent),
            by_subscription: Index::new(Family::AttemptBySubscription),
        };
        for attempt in attempts {
            if body.len() >= BATCH_BYTES || batch.len() >= BATCH_ITEMS {
                self.attempt_batch(&batch, &body, &mut indexes);
                body.clear();
                batch.clear();
            }
            entry::prefixed(&mut body, |body| codec::encode_into(attempt, body))?;
            batch.push(attempt);
        }
        self.attempt_batch(&batch, &body, &mut indexes);
        self.ops.extend(indexes.by_event.finish());
        self.ops.extend(indexes.by_subscription.finish());
        Ok(())
    }

    fn attempt_batch(
        &mut self,
        attempts: &[&StoredAttempt],
        body: &[u8],
        indexes: &mut AttemptIndexes,
    ) {
        let (Some(first), Some(last)) = (attempts.first(), attempts.last()) else {
            return;
        };
        let base = first.id.seq().get();
        let header = Header {
            kind: Kind::Attempts,
            base,
            count: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
            first: first.id.timestamp(),
            last: last.id.timestamp(),
            previous_crc: self.state.attempts.crc,
        };
        let (crc, bytes) = self.batch(Family::Attempt, &header, body);
        let chain = &mut self.state.attempts;
        chain.crc = crc;
        chain.bytes += bytes;
        chain.end = last.id.seq().next();
        for stored in attempts {
            let (attempt, number) = (&stored.attempt, stored.id.seq().get());
            let subscription = *attempt.subscription.as_bytes();
            indexes.by_subscription.add(subscription, base, number, 0);
            let offset = attempt.event.offset();
            let (block, tag) = (keys::block(offset), keys::in_block(offset));
            indexes.by_event.add(block, base, number, tag);
        }
    }

    /// Adds the chunks of one batch; returns its CRC and its bytes.
    fn batch(&mut self, family: Family, header: &Header, body: &[u8]) -> (u32, u64) {
        let (mut rest, crc) = frame::encode(header, body, self.compression);
        let total = rest.len() as u64;
        for chunk in 0_u16.. {
            let after = rest.split_off(rest.len().min(VALUE_BYTES_MAX));
            let value = std::mem::replace(&mut rest, after);
            self.put(family, keys::batch(header.base, chunk), value);
            if rest.is_empty() {
                break;
            }
        }
        (crc, total)
    }
}
