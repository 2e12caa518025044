//! The properties of the fuzz targets on the corpus and on seeded mutations of it, so that they are
//! tested where no fuzzer is at hand; and the seeds of the corpus.
//!
//! `HOOKLOG_TEST_ROUNDS=100` mutates a hundred times as often. A failure names the input's seed and
//! holds the input in hex.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::*;
use crate::entry::StoredAttempt;
use crate::frame::Header;
use crate::journal::layout::{FrameHeader, SegmentHeader, Successor};
use crate::offset::Sequence;
use crate::testing::{golden, rounds};
use crate::time::Timestamp;

/// Mutated inputs of each file of the corpus, per round.
const MUTATIONS: u64 = 500;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../data/fuzz")
        .join(target)
}

/// The files of a corpus by name.
fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(corpus(target)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

/// What a commit with each kind of entry holds, from the golden bytes.
fn golden_commit() -> (Vec<Record>, Vec<Entry>) {
    let body = golden("commit_body.hex").into();
    let (records, entries) = entry::decode(&body, Offset::new(5), 1).unwrap();
    (records.to_vec(), entries)
}

/// A frame that ends in the middle of nothing is torn; one that ends well is followed by the next.
fn frame_of(sequence: u64, records: &[Record], entries: &[Entry], chain: u32) -> (Vec<u8>, u32) {
    let mut frame = vec![0; layout::FRAME_HEADER_BYTES];
    entry::encode(records, entries, &mut frame).unwrap();
    let header = FrameHeader {
        epoch: 3,
        salt: 0x5a17,
        sequence: Sequence::new(sequence),
        synced: sequence.checked_sub(1).map(Sequence::new),
        base: Offset::new(5),
        count: u32::try_from(records.len()).unwrap(),
        previous_crc: chain,
        body_bytes: u32::try_from(frame.len() - layout::FRAME_HEADER_BYTES).unwrap(),
    };
    let crc = layout::seal(&header, &mut frame, 0);
    let body_bytes = usize::try_from(header.body_bytes).unwrap();
    frame.truncate((layout::FRAME_HEADER_BYTES + body_bytes + 4).next_multiple_of(8));
    (frame, crc)
}

/// A folded segment of three frames, and which epoch it says was begun after it.
fn segment(next: u64) -> Vec<u8> {
    let (records, entries) = golden_commit();
    let header = SegmentHeader {
        epoch: 3,
        first: Sequence::new(7),
        segment_bytes: 4096,
        salt: 0x5a17,
    };
    let note = Successor { epoch: 3, next };
    let mut folded = [header.encode().as_slice(), &note.encode()].concat();
    let mut chain = 0;
    let frames: [(&[Record], &[Entry]); 3] =
        [(&records, &[]), (&[], &entries), (&records, &entries)];
    for (sequence, (records, entries)) in (7..).zip(frames) {
        let (frame, crc) = frame_of(sequence, records, entries, chain);
        folded.extend(frame);
        chain = crc;
    }
    folded
}

fn attempts_batch(entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    let attempts: Vec<&StoredAttempt> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Attempt(stored) => Some(stored),
            _ => None,
        })
        .collect();
    for stored in &attempts {
        let bytes = codec::encode(stored).unwrap();
        body.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        body.extend(bytes);
    }
    let header = Header {
        kind: Kind::Attempts,
        base: 7,
        count: u32::try_from(attempts.len()).unwrap(),
        first: Timestamp::from_millis(1),
        last: Timestamp::from_millis(2),
        previous_crc: 3,
    };
    frame::encode(&header, &body, Compression::Lz4).0
}

fn events_batch(records: &[Record], compression: Compression) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records.iter().cycle().take(4) {
        record::encode(record, &mut body).unwrap();
    }
    let header = Header {
        kind: Kind::Events,
        base: 5,
        count: 4,
        first: Timestamp::from_millis(1),
        last: Timestamp::from_millis(2),
        previous_crc: 0,
    };
    frame::encode(&header, &body, compression).0
}

/// The values inside an entry, each with the byte that names its kind.
fn values_of(entry: &Entry) -> Vec<Vec<u8>> {
    fn value(kind: u8, value: &impl Serialize) -> Vec<u8> {
        [&[kind], codec::encode(value).unwrap().as_slice()].concat()
    }
    let mut found = vec![value(9, entry)];
    if let Entry::Change(change) = entry {
        found.push(value(8, change));
        found.extend(match change {
            Change::PutOrganisation(put) => Some(value(3, put)),
            Change::PutApplication(put) => Some(value(4, put)),
            Change::PutEventType(put) => Some(value(5, put)),
            Change::PutSubscription(put) => Some(value(6, put)),
            _ => None,
        });
    }
    if let Entry::Attempt(stored) = entry {
        found.push(value(7, stored));
    }
    if let Entry::Cursor(_, cursor) = entry {
        found.push(value(1, cursor));
    }
    found
}

/// Rows with a run, a gap of one byte and one of two.
fn index_rows() -> impl Iterator<Item = (&'static str, String, Vec<u8>)> {
    let families = [
        (0, "plain", Family::AppLog),
        (1, "tagged", Family::AttemptByEvent),
    ];
    families.into_iter().map(|(kind, name, family)| {
        let mut index = Index::new(family);
        for (at, tag) in [
            (1000, 1),
            (1001, 1),
            (1002, 1),
            (1003, 1),
            (1009, 2),
            (1300, 1),
        ] {
            index.add([], 1000, at, tag);
        }
        let row = index.finish().find_map(|op| op.value).unwrap();
        let bytes = [&[kind][..], &1300_u64.to_be_bytes(), &row].concat();
        ("index_row", name.to_owned(), bytes)
    })
}

/// What the corpus begins with, by target and name: real encodings.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let (records, entries) = golden_commit();
    let body = golden("commit_body.hex");
    let folded = segment(0);
    let empty = Header {
        kind: Kind::Events,
        base: 0,
        count: 0,
        first: Timestamp::from_millis(0),
        last: Timestamp::from_millis(0),
        previous_crc: 0,
    };
    let mut seeds = vec![
        ("record_batch", "plain", golden("record_batch_plain.hex")),
        ("record_batch", "lz4", golden("record_batch_lz4.hex")),
        (
            "record_batch",
            "events",
            events_batch(&records, Compression::None),
        ),
        (
            "record_batch",
            "events-lz4",
            events_batch(&records, Compression::Lz4),
        ),
        ("record_batch", "attempts", attempts_batch(&entries)),
        (
            "record_batch",
            "empty",
            frame::encode(&empty, &[], Compression::None).0,
        ),
        (
            "journal_segment",
            "torn",
            folded[..folded.len() - 100].to_vec(),
        ),
        ("journal_segment", "followed", segment(4)),
        ("journal_segment", "header", folded[..64].to_vec()),
        ("journal_segment", "whole", folded),
        (
            "commit_body",
            "all",
            [[0, 0, 0, 1].as_slice(), &[0; 8], &body].concat(),
        ),
        ("commit_body", "empty", vec![0; 16]),
    ]
    .into_iter()
    .map(|(target, name, bytes)| (target, name.to_owned(), bytes))
    .collect::<Vec<_>>();
    let others = [
        [&[0], codec::encode(&State::default()).unwrap().as_slice()].concat(),
        [2; 1 + 2 + 8 + 4].to_vec(),
    ];
    let values = entries.iter().flat_map(values_of).chain(others);
    for (index, bytes) in values.enumerate() {
        seeds.push(("values", format!("{index:02}"), bytes));
    }
    seeds.extend(index_rows());
    seeds
}

#[test]
fn the_corpus_holds_a_seed_of_every_kind() {
    for (target, name, bytes) in seeds() {
        let path = corpus(target).join(&name);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::create_dir_all(corpus(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(
            path.is_file(),
            "{} is missing; UPDATE_EXPECT=1 writes it",
            path.display()
        );
    }
    // The seeds get past the decoders, so that a fuzzer starts behind them.
    for (_, name, bytes) in seeds().into_iter().filter(|seed| seed.0 == "record_batch") {
        assert!(frame::decode(&bytes.into()).is_ok(), "{name}");
    }
    let scanned = |next| {
        let mut image = layout::reseal::unfold(&segment(next));
        layout::reseal::reseal(&mut image);
        scan_image(image.into()).map(|frames| frames.len())
    };
    assert_eq!(scanned(0).unwrap(), 3);
    let error = scanned(4).unwrap_err().to_string();
    assert!(error.contains("epoch 4 is missing"), "{error}");
}

#[test]
fn resealing_leaves_what_is_whole_as_it_is() {
    for (_, name, bytes) in seeds().into_iter().filter(|seed| seed.0 == "record_batch") {
        // The stored part would take the old checksum in: it is cut off first.
        let again = frame::reseal::reseal(&bytes[..bytes.len() - 4]);
        assert!(again == bytes, "{name}");
    }
    let mut image = layout::reseal::unfold(&segment(4));
    let bytes = u64::try_from(image.len()).unwrap();
    image[24..32].copy_from_slice(&bytes.to_be_bytes());
    let crc = crc32c::crc32c(&image[..60]);
    image[60..64].copy_from_slice(&crc.to_be_bytes());
    let mut again = image.clone();
    layout::reseal::reseal(&mut again);
    assert!(again == image);
}

/// Changes bytes as a fuzzer would: flips, numbers at their limits, cuts, repeats, splices.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut fastrand::Rng) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=bytes.len());
        let rest = bytes.len() - at;
        match rng.u8(..7) {
            0 | 1 if rest > 0 => bytes[at] ^= 1 << rng.u8(..8),
            2 if rest > 0 => bytes[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap(),
            3 if rest >= 4 => {
                let number = rng
                    .choice([0, 1, 8, 0x1000, 0x7fff_ffff, u32::MAX])
                    .unwrap();
                bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
            }
            4 => bytes.truncate(at),
            5 => {
                let repeat = bytes[at..at + rng.usize(..=rest.min(64))].to_vec();
                bytes.splice(at..at, repeat);
            }
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[rng.usize(..=other.len())..]);
            }
        }
    }
}

/// Runs a property; a panic is told with what it takes to see it again.
fn hold(property: fn(&[u8]), bytes: &[u8], what: &str) {
    let held = catch_unwind(AssertUnwindSafe(|| property(bytes))).is_ok();
    assert!(held, "the property fails on {what}: {bytes:02x?}");
}

#[test]
fn what_decodes_encodes_to_the_same_and_nothing_panics() {
    for (target, property) in TARGETS {
        let files = files(target);
        assert!(!files.is_empty(), "{target} has no corpus");
        let others: Vec<&Vec<u8>> = files.values().collect();
        for (name, original) in &files {
            hold(property, original, &format!("{target}/{name}"));
            for seed in 0..MUTATIONS * rounds() {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut bytes = original.clone();
                let other = others[rng.usize(..others.len())];
                mutate(&mut bytes, other, &mut rng);
                hold(property, &bytes, &format!("{target}/{name}, seed {seed}"));
            }
        }
    }
}
