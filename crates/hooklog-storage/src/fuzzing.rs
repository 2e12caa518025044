//! What must hold of any bytes that are read back from disk: the bodies of the fuzz targets of
//! `tests/fuzz`, and of a seeded loop that always runs.
//!
//! Checksums keep a fuzzer out, so each target also decodes its input with the checksums put right:
//! that is what a writer with a bug, or an intruder with a hex editor, would hand to the decoders.
//!
//! **Invariant:** a property takes any bytes, never panics in the decoders, and asserts that what
//! decodes encodes to something that decodes to the same.
//! **Next:** `fuzzing/tests.rs`, the seeded loop; `tests/fuzz`, the fuzzer.

use std::fmt::Debug;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attempt::{Cursor, Retry};
use crate::bytes::Reader;
use crate::change::Change;
use crate::codec;
use crate::config::Compression;
use crate::entry::{self, Entry, StoredAttempt};
use crate::event::Record;
use crate::frame::{self, Batch, Kind};
use crate::index::{Index, named};
use crate::journal::layout;
use crate::journal::scan::scan_image;
use crate::keys::{self, Family};
use crate::offset::Offset;
use crate::record;
use crate::state::State;
use crate::subscription::{Application, EventType, Organisation, Subscription};

/// A target: its name, which is also the folder of its corpus, and its property.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("record_batch", record_batch),
    ("journal_segment", journal_segment),
    ("commit_body", commit_body),
    ("values", values),
    ("index_row", index_row),
];

/// Record batches as sled holds them: `frame.rs`, then `record.rs` or the codec.
pub fn record_batch(data: &[u8]) {
    check_batch(&Bytes::copy_from_slice(data));
    check_batch(&frame::reseal::reseal(data).into());
}

fn check_batch(bytes: &Bytes) {
    let Ok(batch) = frame::decode(bytes) else {
        return;
    };
    let total = frame::total_bytes(bytes).ok();
    assert_eq!(total, Some(bytes.len()), "a batch is as long as it says");
    for compression in [Compression::None, Compression::Lz4] {
        let (again, crc) = frame::encode(&batch.header, &batch.body, compression);
        let again = frame::decode(&again.into()).map(|again| {
            assert_eq!(again.crc, crc);
            (again.header, again.body)
        });
        assert_eq!(again, Ok((batch.header, batch.body.clone())));
    }
    match batch.header.kind {
        Kind::Events => check_events(&batch),
        Kind::Attempts => check_attempts(&batch),
        // It holds nothing but its place.
        Kind::Lost => {}
    }
}

fn check_events(batch: &Batch) {
    let count = usize::try_from(batch.header.count).unwrap_or(usize::MAX);
    let Some((spans, end)) = record::spans(&batch.body, count) else {
        return;
    };
    assert!(spans.len() == count && end <= batch.body.len());
    let base = Offset::new(batch.header.base);
    for (index, span) in (0..).zip(&spans) {
        if let Ok(found) = record::decode(&batch.body, span, base.plus(index)) {
            check_record(&found);
        }
    }
}

fn check_record(found: &Record) {
    let mut bytes = Vec::new();
    if record::encode(found, &mut bytes).is_err() {
        return;
    }
    let bytes = Bytes::from(bytes);
    let again = record::spans(&bytes, 1).and_then(|(spans, end)| {
        assert_eq!(end, bytes.len());
        record::decode(&bytes, spans.first()?, found.offset).ok()
    });
    assert_eq!(again.as_ref(), Some(found));
}

fn check_attempts(batch: &Batch) {
    let mut reader = Reader::new(&batch.body);
    while let Some(bytes) = reader.length().and_then(|length| reader.take(length)) {
        check_value::<StoredAttempt>(bytes);
    }
}

/// Journal segments: `layout.rs`, `scan.rs`, `entry.rs`. The input is folded: header, note of the
/// successor and frames without the gaps between them.
pub fn journal_segment(data: &[u8]) {
    let mut image = layout::reseal::unfold(data);
    check_image(Bytes::copy_from_slice(&image));
    layout::reseal::reseal(&mut image);
    check_image(image.into());
}

fn check_image(image: Bytes) {
    match scan_image(image) {
        Ok(frames) => {
            let sequences = || frames.iter().map(|frame| frame.sequence);
            let following = sequences().skip(1);
            assert!(
                sequences().zip(following).all(|(a, b)| b == a.next()),
                "frames are dense"
            );
            for frame in &frames {
                check_commit(&frame.records, &frame.entries);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Bodies of journal frames: `entry.rs`, `record.rs`. The input is the number of records (u32), the
/// base offset (u64) and the body.
pub fn commit_body(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (Some(count), Some(base)) = (reader.u32(), reader.u64()) else {
        return;
    };
    let body = Bytes::copy_from_slice(reader.take(reader.remaining()).unwrap_or_default());
    if let Ok((records, entries)) = entry::decode(&body, Offset::new(base), count) {
        assert_eq!(u32::try_from(records.len()), Ok(count));
        check_commit(&records, &entries);
    }
}

/// A commit that was decoded survives being written and read once more.
fn check_commit(records: &[Record], entries: &[Entry]) {
    let mut body = Vec::new();
    if entry::encode(records, entries, &mut body).is_err() {
        return;
    }
    let base = records.first().map_or(Offset::ZERO, |record| record.offset);
    let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
    let again = entry::decode(&body.into(), base, count).ok();
    let again = again
        .as_ref()
        .map(|(records, entries)| (&**records, entries.as_slice()));
    assert_eq!(again, Some((records, entries)));
}

/// Values of rows and entries, by `codec.rs`. The first byte of the input says which.
pub fn values(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let checks: [fn(&[u8]); VALUES] = [
        check_value::<State>,
        check_value::<Cursor>,
        check_value::<Retry>,
        check_value::<Organisation>,
        check_value::<Application>,
        check_value::<EventType>,
        check_value::<Subscription>,
        check_value::<StoredAttempt>,
        check_value::<Change>,
        check_value::<Entry>,
    ];
    if let Some(check) = checks.get(usize::from(*kind) % VALUES) {
        check(bytes);
    }
}

/// How many kinds of values there are.
const VALUES: usize = 10;

/// Rows of the indexes: `index.rs`. The input is a family (even without tags, odd with), the last
/// position (u64) and the row.
pub fn index_row(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (Some(family), Some(last)) = (reader.u8(), reader.u64()) else {
        return;
    };
    let family = match family % 2 {
        0 => Family::AppLog,
        _ => Family::AttemptByEvent,
    };
    let row = reader.take(reader.remaining()).unwrap_or_default();
    let whole = 0..u64::MAX;
    let Ok(found) = named(family, last, row, &whole) else {
        return;
    };
    let positions = found.iter().map(|named| &named.positions);
    let count = positions.fold(0_u64, |count, p| count.saturating_add(p.end - p.start));
    // A few bytes may name very many.
    if count > 100_000 {
        return;
    }
    let mut index = Index::new(family);
    for named in &found {
        for at in named.positions.clone() {
            index.add([], 0, at, named.tag);
        }
    }
    for op in index.finish() {
        assert_eq!(keys::last_number(&op.key), Some(last));
        let again = named(family, last, &op.value.unwrap_or_default(), &whole);
        assert_eq!(again.ok().as_ref(), Some(&found));
    }
}

fn check_value<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else {
        return;
    };
    let Ok(again) = codec::encode(&value) else {
        return;
    };
    assert_eq!(codec::decode::<T>(&again).ok(), Some(value));
}

#[cfg(test)]
mod tests;
