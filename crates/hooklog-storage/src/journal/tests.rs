use std::collections::BTreeMap;
use std::fs::{self, File};

use proptest::prelude::*;
use tempfile::TempDir;

use super::scan::{ScanError, scan, segment_name};
use super::*;
use crate::entry::{Committed, Entry};
use crate::event::{Event, Record};
use crate::id::{ApplicationId, EventId};
use crate::idempotency::IdempotencyKey;
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
            idempotency: Some(IdempotencyKey::new(&[b"scope"], "key", b"{}")),
            content_type: "text/xml".to_owned(),
            payload: payload.to_vec().into(),
            tags: Vec::new(),
            ordering_key: None,
            headers: Vec::new(),
            only: None,
            deliver_at: None,
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
            // Both ways into the file, in turns.
            sync: if self.next.is_multiple_of(3) {
                Sync::Later
            } else {
                Sync::Now
            },
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
    let first = bench.append(b"<paid/>", None);
    bench.journal.sync().unwrap();
    let second = bench.append(b"<paid again=\"1\"/>", None);
    let bytes = fs::read(bench.directory.path().join(segment_name(0))).unwrap();
    assert_golden("journal_segment_header.hex", &bytes[..64]);
    let mut frames = Vec::new();
    for (written, block) in [first, second].iter().zip(bytes[4096..].chunks(4096)) {
        let (frame, padding) = block.split_at(64 + written.body_bytes + 4);
        frames.extend_from_slice(frame);
        assert!(padding.iter().all(|byte| *byte == 0));
    }
    assert_golden("journal_frames.hex", &frames);
    assert!(bytes[3 * 4096..].iter().all(|byte| *byte == 0));
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

/// Where the payload of a first frame lies.
fn place_of_payload() -> usize {
    let mut bench = Bench::new();
    let marker = b"where is it";
    bench.append(marker, None);
    bench.journal.sync().unwrap();
    let bytes = fs::read(bench.directory.path().join(segment_name(0))).unwrap();
    let mut windows = bytes.windows(marker.len());
    windows.position(|window| window == marker).unwrap()
}

#[test]
fn a_payload_cannot_pass_for_a_frame() {
    // What a publisher who knows the layout could send: headers that call everything durable, for
    // all epochs to come, where frames start.
    let mut forged = vec![b' '; place_of_payload().wrapping_neg() % layout::ALIGNMENT];
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
        layout::seal(&header, &mut frame, 0);
        forged.extend_from_slice(&frame);
    }
    let mut bench = Bench::new();
    bench.append(b"{}", None);
    bench.append(&forged, None);
    bench.journal.sync().unwrap();
    assert_eq!(bench.scan(None).unwrap(), [0, 1]);
    let bytes = fs::read(bench.directory.path().join(segment_name(0))).unwrap();
    let headers = bytes
        .chunks(layout::ALIGNMENT)
        .filter(|block| FrameHeader::decode(block).is_some());
    assert_eq!(headers.count(), 2 + 20, "they stand where frames start");
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
        sync: Sync::Now,
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

/// Where a frame lies, and what it says of those before it.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: usize,
    start: usize,
    /// One past its checksum.
    end: usize,
    synced: Option<u64>,
}

/// A journal of frames of these sizes, each synced or not, and where they lie.
fn written(frames: &[(usize, bool)]) -> (Bench, Vec<Place>) {
    let mut bench = Bench::new();
    let mut places = Vec::new();
    for (payload, sync) in frames {
        let before = bench.journal.epoch();
        let written = bench.append(&vec![b'x'; *payload], None);
        // A rotation syncs what was before, and the frame says so.
        let rotated = bench.journal.epoch() != before;
        let last: Option<&Place> = places.last();
        let at = places.len() as u64;
        let synced = match last {
            None => None,
            Some(_) if rotated || frames[places.len() - 1].1 => at.checked_sub(1),
            Some(last) => last.synced,
        };
        let bytes = layout::FRAME_HEADER_BYTES + written.body_bytes + 4;
        let next = usize::try_from(bench.journal.position).unwrap();
        let start = next - bytes.next_multiple_of(layout::ALIGNMENT);
        let segment = bench.journal.active;
        places.push(Place {
            segment,
            start,
            end: start + bytes,
            synced,
        });
        if *sync {
            bench.journal.sync().unwrap();
        }
    }
    (bench, places)
}

/// What a scan from `applied` on must find when the frame `broken` cannot be read: frames, or the
/// damaged one. Found by looking at all frames.
fn model(places: &[Place], applied: Option<u64>, broken: u64) -> Result<Vec<u64>, u64> {
    let low = applied.map_or(0, |applied| applied + 1);
    let all = places.len() as u64;
    let segment_of = |frame: u64| places[usize::try_from(frame).unwrap()].segment;
    // A segment below `low` is not looked at, and its damage is not seen.
    let last_of_segment = (broken..all)
        .take_while(|f| segment_of(*f) == segment_of(broken))
        .last();
    if last_of_segment.is_some_and(|last| last < low && last + 1 < all) {
        return Ok((low..all).collect());
    }
    let found: Vec<u64> = (low..broken).collect();
    let next = low.max(broken);
    let another_segment_follows = (next..all).any(|later| segment_of(later) != segment_of(broken));
    let same_segment = (broken + 1..all).filter(|later| segment_of(*later) == segment_of(broken));
    let proof = same_segment
        .filter_map(|later| places[usize::try_from(later).unwrap()].synced)
        .any(|synced| synced >= next);
    if proof || another_segment_follows {
        Err(broken)
    } else {
        Ok(found)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// One changed bit in one frame: what was durable is told, what may be torn is dropped.
    #[test]
    fn a_broken_frame_is_told_or_dropped_as_a_naive_model_says(
        frames in prop::collection::vec((1_usize..60_000, prop::bool::weighted(0.4)), 1..40),
        broken: prop::sample::Index,
        at: prop::sample::Index,
        bit in 0..8_u32,
        applied in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (bench, places) = written(&frames);
        let all: Vec<u64> = (0..places.len() as u64).collect();
        prop_assert_eq!(&bench.scan(None).unwrap(), &all);
        let applied = applied.map(|applied| applied.index(places.len()) as u64);
        let low = applied.map_or(0, |applied| applied + 1);
        prop_assert_eq!(&bench.scan(applied).unwrap(), &all[usize::try_from(low).unwrap()..]);
        let broken = broken.index(places.len());
        let place = places[broken];
        bench.edit(place.segment, |bytes| {
            bytes[place.start + at.index(place.end - place.start)] ^= 1 << bit;
        });
        let expected = model(&places, applied, broken as u64);
        let found = match bench.scan(applied) {
            Ok(found) => Ok(found),
            Err(ScanError::Damaged { sequence, position, .. }) => {
                prop_assert_eq!(position, place.start as u64);
                Err(sequence.get())
            }
            Err(error) => panic!("{error}"),
        };
        prop_assert_eq!(found, expected);
    }

    /// The end of the journal is cut off, as by a crash in the middle of a write: what lies whole
    /// before the cut is found.
    #[test]
    fn a_torn_tail_is_dropped_wherever_it_is_torn(
        frames in prop::collection::vec((1_usize..60_000, any::<bool>()), 1..30),
        cut: prop::sample::Index,
        zeros: bool,
    ) {
        let (bench, places) = written(&frames);
        let last = places.last().unwrap();
        let start = usize::try_from(FRAMES_START).unwrap();
        let cut = start + cut.index(last.end - start);
        let mut rng = fastrand::Rng::with_seed(cut as u64);
        bench.edit(last.segment, |bytes| {
            // What the disk held before: nothing, or anything.
            bytes[cut..].fill_with(|| if zeros { 0 } else { rng.u8(..) });
        });
        let whole = |place: &&Place| place.segment != last.segment || place.end <= cut;
        let expected: Vec<u64> = (0..).take(places.iter().filter(whole).count()).collect();
        prop_assert_eq!(bench.scan(None).unwrap(), expected);
    }

    /// Headers and notes read back as they were written, and no changed bit goes unnoticed.
    #[test]
    fn headers_round_trip_and_check_themselves(
        numbers: [u64; 6],
        small: [u32; 3],
        byte: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let [epoch, first, segment_bytes, salt, synced, base] = numbers;
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = byte.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes
        };
        let header = SegmentHeader { epoch, first: Sequence::new(first), segment_bytes, salt };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Some(header));
        prop_assert_eq!(SegmentHeader::decode(&flip(&header.encode())), None);
        let note = Successor { epoch, next: first };
        prop_assert_eq!(Successor::decode(&note.encode()), Some(note));
        prop_assert_eq!(Successor::decode(&flip(&note.encode())), None);
        let frame = FrameHeader {
            epoch,
            salt,
            sequence: Sequence::new(first),
            // One is added on disk; there is no frame after the last number.
            synced: synced.checked_sub(1).map(Sequence::new),
            base: Offset::new(base),
            count: small[0],
            previous_crc: small[1],
            body_bytes: small[2],
        };
        let mut bytes = vec![0; layout::FRAME_HEADER_BYTES];
        layout::seal(&frame, &mut bytes, 0);
        prop_assert_eq!(FrameHeader::decode(&bytes), Some(frame));
        let bytes = &bytes[..layout::FRAME_HEADER_BYTES];
        prop_assert_eq!(FrameHeader::decode(&flip(bytes)), None);
    }
}

#[test]
fn stale_frames_are_there_and_are_not_read() {
    let mut bench = Bench::new();
    // Through all segments and into the first one again.
    let first = bench.journal.active;
    let mut left = false;
    while !left || bench.journal.active != first {
        let durable = bench.next.checked_sub(1);
        bench.append(&vec![b'x'; 100_000], durable);
        bench.journal.sync().unwrap();
        left |= bench.journal.active != first;
        assert!(bench.next < 100, "the first segment is not used again");
    }
    let path = bench.directory.path().join(segment_name(first));
    let bytes = fs::read(path).unwrap();
    let position = usize::try_from(bench.journal.position).unwrap();
    // Right behind the live frame stands a whole frame of the last use, with good checksums: who
    // looks at those alone takes it for the next one.
    let stale = FrameHeader::decode(&bytes[position..]).unwrap();
    assert!(stale.body(&bytes[position..]).is_some());
    assert!(stale.epoch < bench.journal.epoch());
    let last = bench.next - 1;
    assert_eq!(bench.scan(last.checked_sub(1)).unwrap(), [last]);
    // Torn in the live one, the stale ones prove nothing either.
    let torn = position - layout::ALIGNMENT;
    bench.edit(first, |bytes| bytes[torn - 8..torn].fill(0xff));
    assert_eq!(bench.scan(last.checked_sub(1)).unwrap(), [] as [u64; 0]);
}
