//! Removal step by step, against the batches and rows that were written.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::Compression;
use crate::event::{Event, Record};
use crate::frame::Header;
use crate::id::{ApplicationId, EventId};
use crate::index::Index;
use crate::time::Timestamp;
use crate::verify::{Depth, verify};

const TIME: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn record(offset: u64, application: u8) -> Record {
    Record {
        offset: Offset::new(offset),
        id: EventId::at(TIME, Offset::new(offset), [9; 7]),
        timestamp: TIME,
        event: Event::new(
            ApplicationId::from_bytes([application; 20]),
            "invoice.paid".parse().unwrap(),
            "{}",
        ),
    }
}

/// A batch of these applications' events; lost if it is `None`.
type Events = Option<Vec<u8>>;

fn put(family: Family, key: Vec<u8>, value: Vec<u8>) -> Op {
    let value = Some(value);
    Op { family, key, value }
}

/// Batches, applied in groups, and where each of them ends.
fn write(engine: &Engine, groups: &[Vec<Events>]) -> (State, Vec<u64>) {
    let mut state = State::default();
    let mut ends = Vec::new();
    for group in groups {
        let mut index = Index::new(Family::AppLog);
        let mut ops = Vec::new();
        for events in group {
            let base = state.events.end.get();
            let mut body = Vec::new();
            for (offset, application) in (base..).zip(events.iter().flatten()) {
                record::encode(&record(offset, *application), &mut body).unwrap();
                index.add([*application; 20], base, offset, 0);
            }
            let count = events.as_ref().map_or(10, Vec::len);
            let header = Header {
                kind: events.as_ref().map_or(Kind::Lost, |_| Kind::Events),
                base,
                count: u32::try_from(count).unwrap(),
                first: TIME,
                last: TIME,
                previous_crc: state.events.crc,
            };
            let (bytes, crc) = frame::encode(&header, &body, Compression::Lz4);
            state.events.bytes += bytes.len() as u64;
            state.events.crc = crc;
            state.events.end = state.events.end.plus(count as u64);
            ends.push(state.events.end.get());
            ops.push(put(Family::Log, keys::batch(base, 0), bytes));
        }
        engine.commit(&ops).unwrap();
        engine.commit(&index.finish().collect::<Vec<_>>()).unwrap();
    }
    (state, ends)
}

fn lasts(engine: &Engine, family: Family) -> Vec<u64> {
    let mut found = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    engine
        .scan::<EngineError>(family, all, |key, _| {
            found.extend(match family {
                Family::Log => keys::batch_base(key),
                _ => keys::last_number(key),
            });
            Ok(())
        })
        .unwrap();
    found.sort_unstable();
    found
}

fn groups() -> impl Strategy<Value = Vec<Vec<Events>>> {
    let events = prop_oneof![
        9 => prop::collection::vec(0_u8..5, 1..12).prop_map(Some),
        1 => Just(None),
    ];
    prop::collection::vec(prop::collection::vec(events, 1..6), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_ends_below_the_low_end_goes_and_the_rest_verifies(
        groups in groups(),
        lows in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        bytes_max in prop::sample::select(vec![1, 500, usize::MAX]),
    ) {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let engine = Engine::open(path, &path.join("db"), Sizes::STANDARD).unwrap();
        let (mut state, ends) = write(&engine, &groups);
        let (batches, rows) = (lasts(&engine, Family::Log), lasts(&engine, Family::AppLog));
        let end = state.events.end.get();
        let at = |low: &prop::sample::Index| low.index(usize::try_from(end).unwrap() + 1) as u64;
        let mut lows: Vec<u64> = lows.iter().map(at).collect();
        lows.sort_unstable();
        for low in lows {
            let below = Low { events: Offset::new(low), attempts: AttemptSeq::ZERO };
            for step in 0.. {
                let removal = Removal::plan(&engine, &state, below, bytes_max).unwrap();
                if removal.ops.is_empty() {
                    break;
                }
                prop_assert!(step < ends.len(), "each step removes a batch");
                engine.commit(&removal.ops).unwrap();
                state = removal.state;
                let first = state.events.first.position.get();
                prop_assert!(first <= low);
                let kept = |positions: &[u64]| -> Vec<u64> {
                    positions.iter().copied().filter(|at| *at >= first).collect()
                };
                prop_assert_eq!(lasts(&engine, Family::Log), kept(&batches));
                prop_assert_eq!(lasts(&engine, Family::AppLog), kept(&rows));
                // What is left begins in the middle of rows, perhaps.
                verify(&engine, &state, Depth::Whole).unwrap();
            }
            let first = state.events.first.position.get();
            let lowest = ends.iter().copied().filter(|end| *end <= low).max().unwrap_or(0);
            prop_assert_eq!(first, lowest, "whole batches up to {}", low);
        }
    }
}

#[test]
fn what_is_damaged_stays_and_what_is_below_it_goes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let engine = Engine::open(path, &path.join("db"), Sizes::STANDARD).unwrap();
    let groups = vec![vec![
        Some(vec![1, 2]),
        Some(vec![2]),
        Some(vec![1]),
        Some(vec![1]),
    ]];
    let (state, ends) = write(&engine, &groups);
    engine
        .commit(&[put(Family::Log, keys::batch(ends[1], 0), vec![0; 80])])
        .unwrap();
    let low = Low {
        events: state.events.end,
        attempts: AttemptSeq::ZERO,
    };
    let removal = Removal::plan(&engine, &state, low, usize::MAX).unwrap();
    assert_eq!(removal.state.events.first.position.get(), ends[1]);
    engine.commit(&removal.ops).unwrap();
    // The row of application 2 ended below the damage, that of 1 behind it.
    assert_eq!(lasts(&engine, Family::AppLog), [ends[3] - 1]);
    assert!(Removal::plan(&engine, &removal.state, low, usize::MAX).is_err());
}
