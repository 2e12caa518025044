use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::scan::{ScanError, scan, segment_name};
use super::*;
use crate::entry::{Committed, Entry};
use crate::event::{Event, Record};
use crate::id::{ApplicationId, EventId};
use crate::testing::assert_golden;
use crate::time::Timestamp;

const SEGMENT: u64 = 1 << 20;
const START: Start = Start {
    segment_bytes: SEGMENT,
    last_epoch: 0,
    salt: 0x5a17_5a17_5a17_5a17,
    chain: 0,
    next: Sequence::ZERO,
};

fn record(offset: u64, payload: &[u8]) -> Record {
    let timestamp = Timestamp::from_millis(1_700_000_000_000);
    Record {
        offset: Offset::new(offset),
        id: EventId::at(timestamp, Offset::new(offset), [9; 7]),
        timestamp,
        event: Event {
            application: ApplicationId::from_bytes([5; 20]),
            event_type: "invoice.paid".parse().unwrap(),
            channels: vec!["eu".parse().unwrap()],
            uid: Some("inv-1".parse().unwrap()),
            content_type: "text/xml".to_owned(),
            payload: payload.to_vec().into(),
        },
    }
}

struct Bench {
    directory: TempDir,
    journal: Journal,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let journal = Journal::open(directory.path(), START).unwrap();
        Self {
            directory,
            journal,
            next: 0,
        }
    }

    fn append(&mut self, payload: &[u8], durable: Option<u64>) -> Written {
        let records = [record(self.next, payload)];
        let entries = [Entry::Mark(Offset::new(self.next))];
        let sequence = Sequence::new(self.next);
        let base = Offset::new(self.next);
        let draft = Draft {
            sequence,
            base,
            records: &records,
            entries: &entries,
        };
        self.next += 1;
        self.journal
            .append(draft, durable.map(Sequence::new))
            .unwrap()
    }

    fn scan(&self, applied: Option<u64>) -> Result<Vec<u64>, ScanError> {
        scan_in(self.directory.path(), applied)
    }

    /// Changes a segment's bytes behind the journal's back.
    fn edit(&self, segment: usize, edit: impl FnOnce(&mut Vec<u8>)) {
        let path = self.directory.path().join(segment_name(segment));
        let mut bytes = fs::read(&path).unwrap();
        edit(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }
}

fn scan_in(directory: &Path, applied: Option<u64>) -> Result<Vec<u64>, ScanError> {
    let mut found = Vec::new();
    scan::<ScanError>(
        directory,
        applied.map(Sequence::new),
        0,
        |commit: Committed| {
            assert_eq!(commit.records[0].offset, commit.base);
            found.push(commit.sequence.get());
            Ok(())
        },
    )?;
    Ok(found)
}

#[test]
fn the_bytes_of_a_segment_are_golden() {
    let mut bench = Bench::new();
    bench.append(b"<paid/>", None);
    bench.journal.sync().unwrap();
    bench.append(b"<paid again=\"1\"/>", None);
    let bytes = fs::read(bench.directory.path().join(segment_name(0))).unwrap();
    assert_golden("journal_segment_header.hex", &bytes[..64]);
    assert_golden("journal_frames.hex", &bytes[4096..4096 + 656]);
    assert!(bytes[4096 + 656..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_torn_tail_is_dropped_and_damage_is_told() {
    let mut bench = Bench::new();
    let mut starts = Vec::new();
    for _ in 0..4 {
        starts.push(usize::try_from(bench.journal.position).unwrap());
        bench.append(&[b'x'; 100], None);
        bench.journal.sync().unwrap();
    }
    assert_eq!(bench.scan(None).unwrap(), [0, 1, 2, 3]);
    assert_eq!(bench.scan(Some(1)).unwrap(), [2, 3]);
    // The last frame has no proof that it was durable: it reads as torn.
    bench.edit(0, |bytes| bytes[starts[3] + 70] ^= 1);
    assert_eq!(bench.scan(None).unwrap(), [0, 1, 2]);
    // The one before has: the last frame's header says so.
    bench.edit(0, |bytes| bytes[starts[2] + 70] ^= 1);
    let error = bench.scan(None).unwrap_err();
    assert!(
        error.to_string().contains("frame 2 is damaged at byte"),
        "{error}"
    );
    // Once sled has it, its damage does not matter.
    assert_eq!(bench.scan(Some(2)).unwrap(), [] as [u64; 0]);
}

#[test]
fn a_lost_segment_or_an_old_database_is_told() {
    let mut bench = Bench::new();
    for _ in 0..25 {
        bench.append(&vec![b'x'; 100_000], None);
        bench.journal.sync().unwrap();
    }
    assert_eq!(bench.scan(None).unwrap().len(), 25);
    let middle = bench.directory.path().join(segment_name(1));
    let kept = fs::read(&middle).unwrap();
    fs::remove_file(&middle).unwrap();
    let error = bench.scan(None).unwrap_err().to_string();
    assert!(
        error.contains("missing") || error.contains("proves"),
        "{error}"
    );
    fs::write(&middle, &kept).unwrap();
    // The last one: only the note in the segment before it can tell.
    let last = bench.directory.path().join(segment_name(2));
    let kept = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    let error = bench.scan(None).unwrap_err().to_string();
    assert!(error.contains("epoch 3 is missing"), "{error}");
    fs::write(&last, &kept[..kept.len() / 2]).unwrap();
    let error = bench.scan(None).unwrap_err().to_string();
    assert!(error.contains("has 524288 bytes"), "{error}");
    fs::write(&last, &kept).unwrap();
    // A header that does not hold, with frames behind it.
    bench.edit(2, |bytes| bytes[9] ^= 1);
    let error = bench.scan(None).unwrap_err().to_string();
    assert!(error.contains("header is broken"), "{error}");
}

#[test]
fn segments_are_recycled_only_below_what_is_durable_in_sled() {
    let mut bench = Bench::new();
    let mut segments = BTreeMap::new();
    for index in 0..60_u64 {
        // Everything but the last 15 frames is durable in sled.
        bench.append(&vec![b'x'; 100_000], index.checked_sub(15));
        bench.journal.sync().unwrap();
        segments.insert(index, bench.journal.segments.len());
        let applied = index.checked_sub(15);
        let expected: Vec<u64> = (applied.map_or(0, |applied| applied + 1)..=index).collect();
        assert_eq!(bench.scan(applied).unwrap(), expected);
    }
    assert!(segments[&59] <= 5, "{segments:?}");
    assert!(matches!(bench.scan(None), Err(ScanError::Missing { .. })));
}

#[test]
fn a_segment_that_was_not_filled_to_its_end_is_filled_on_open() {
    let bench = Bench::new();
    let directory = bench.directory;
    drop(bench.journal);
    // As if the process had died while it made the second segment.
    let second = directory.path().join(segment_name(1));
    File::options()
        .write(true)
        .open(&second)
        .unwrap()
        .set_len(12_345)
        .unwrap();
    let journal = Journal::open(
        directory.path(),
        Start {
            last_epoch: 1,
            ..START
        },
    )
    .unwrap();
    let mut bench = Bench {
        directory,
        journal,
        next: 0,
    };
    for _ in 0..15 {
        bench.append(&vec![b'x'; 100_000], None);
        bench.journal.sync().unwrap();
    }
    assert_eq!(fs::metadata(&second).unwrap().len(), SEGMENT);
    assert_eq!(bench.scan(None).unwrap().len(), 15);
}

#[test]
fn a_payload_cannot_pass_for_a_frame() {
    // What a publisher who knows the layout could send: headers that call everything durable, for
    // all epochs to come, at every alignment.
    let mut forged = Vec::new();
    for epoch in 0..20 {
        let mut frame = vec![0; layout::FRAME_HEADER_BYTES];
        let header = FrameHeader {
            epoch,
            salt: 0,
            sequence: Sequence::new(7),
            synced: Some(Sequence::new(1 << 40)),
            base: Offset::ZERO,
            count: 0,
            previous_crc: 0,
            body_bytes: 0,
        };
        layout::seal(&header, &mut frame);
        for shift in 0..8 {
            forged.resize(forged.len() + shift, 0);
            forged.extend_from_slice(&frame);
        }
    }
    let mut bench = Bench::new();
    bench.append(b"{}", None);
    bench.append(&forged, None);
    bench.journal.sync().unwrap();
    assert_eq!(bench.scan(None).unwrap(), [0, 1]);
    // A restart writes over the front of the segment and leaves the payload behind it.
    let journal = Journal::open(
        bench.directory.path(),
        Start {
            last_epoch: 1,
            ..START
        },
    )
    .unwrap();
    let mut bench = Bench {
        journal,
        next: 0,
        ..bench
    };
    bench.append(b"{}", None);
    bench.journal.sync().unwrap();
    assert_eq!(bench.scan(None).unwrap(), [0]);
    // Torn in the middle of the payload, too.
    let mut bench = Bench::new();
    bench.append(&forged, None);
    bench.edit(0, |bytes| bytes[4096 + 70] ^= 1);
    assert_eq!(bench.scan(None).unwrap(), [] as [u64; 0]);
}

#[test]
fn a_new_segment_never_takes_the_name_of_a_live_one() {
    let mut bench = Bench::new();
    for _ in 0..25 {
        bench.append(&vec![b'x'; 100_000], None);
        bench.journal.sync().unwrap();
    }
    fs::remove_file(bench.directory.path().join(segment_name(1))).unwrap();
    let start = Start {
        last_epoch: 3,
        next: Sequence::new(25),
        ..START
    };
    let journal = Journal::open(bench.directory.path(), start).unwrap();
    let mut bench = Bench { journal, ..bench };
    for _ in 0..35 {
        bench.append(&vec![b'x'; 100_000], None);
        bench.journal.sync().unwrap();
        assert_eq!(
            bench.scan(Some(24)).unwrap().last(),
            Some(&(bench.next - 1))
        );
    }
}

#[test]
fn an_oversized_commit_is_refused() {
    let mut bench = Bench::new();
    let records = [record(0, &vec![0; 2 << 20])];
    let (sequence, base) = (Sequence::ZERO, Offset::ZERO);
    let draft = Draft {
        sequence,
        base,
        records: &records,
        entries: &[],
    };
    assert!(matches!(
        bench.journal.append(draft, None),
        Err(JournalError::TooLarge { .. })
    ));
    bench.append(b"{}", None);
    assert_eq!(bench.scan(None).unwrap(), [0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// A power cut keeps what was synced and any subset of the 512-byte sectors written since. No
    /// synced frame may be lost, and the log must open.
    #[test]
    fn a_power_cut_loses_nothing_that_was_synced(
        frames in prop::collection::vec((1_usize..9_000, prop::bool::weighted(0.6)), 1..60),
        seed: u64,
    ) {
        let mut bench = Bench::new();
        let snapshot = |bench: &Bench| -> Vec<Vec<u8>> {
            (0..bench.journal.segments.len())
                .map(|i| fs::read(bench.directory.path().join(segment_name(i))).unwrap())
                .collect()
        };
        // What each file held when it was last synced, and the last synced frame.
        let mut durable = snapshot(&bench);
        let mut synced = None;
        for (index, (bytes, sync)) in (0_u64..).zip(frames) {
            let before = bench.journal.epoch();
            bench.append(&vec![b'x'; bytes], None);
            if sync {
                bench.journal.sync().unwrap();
                synced = Some(index);
            } else if bench.journal.epoch() != before {
                // The rotation synced everything before this frame.
                synced = index.checked_sub(1);
            } else {
                continue;
            }
            durable = snapshot(&bench);
            if !sync {
                // The frame itself is volatile: it may be kept or not, sector by sector.
                let start = usize::try_from(FRAMES_START).unwrap();
                durable[bench.journal.active][start..].fill(0);
            }
        }
        let written = snapshot(&bench);
        let mut rng = fastrand::Rng::with_seed(seed);
        let after = TempDir::new().unwrap();
        for (segment, bytes) in written.iter().enumerate() {
            let empty = vec![0; bytes.len()];
            let base = durable.get(segment).unwrap_or(&empty);
            let mut cut = base.clone();
            for (sector, chunk) in bytes.chunks(512).enumerate() {
                if rng.bool() {
                    cut[sector * 512..][..chunk.len()].copy_from_slice(chunk);
                }
            }
            fs::write(after.path().join(segment_name(segment)), cut).unwrap();
        }
        let found = scan_in(after.path(), None).unwrap();
        prop_assert!(found.last().copied() >= synced, "{found:?} after {synced:?}");
        prop_assert!(found.iter().copied().eq(0..found.len() as u64));
    }
}
