//! Index rows against plain lists: whoever owns what, however it is cut into batches and rows, and
//! wherever a range begins and ends.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::engine::{Engine, Sizes};
use crate::index::lookup::Misfit;

/// Positions in batches, batches in applies: who owns each position, and its tag.
type Log = Vec<Vec<Vec<(u8, u16)>>>;

/// Runs of one owner, and owners in turn.
fn batch() -> impl Strategy<Value = Vec<(u8, u16)>> {
    let part = prop_oneof![
        (0_u8..4, 1_usize..300).prop_map(|(owner, count)| vec![(owner, 7); count]),
        prop::collection::vec((0_u8..4, 0_u16..3), 1..40),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.concat())
}

fn log() -> impl Strategy<Value = Log> {
    prop::collection::vec(prop::collection::vec(batch(), 1..5), 1..4)
}

const FAMILIES: [Family; 2] = [Family::AppLog, Family::AttemptByEvent];

fn owner_of(number: u8) -> [u8; 20] {
    [number; 20]
}

struct Written {
    _directory: TempDir,
    engine: Engine,
    /// By batch: its range.
    batches: Vec<Range<u64>>,
    /// By position from `start`: owner and tag.
    model: Vec<(u8, u16)>,
    start: u64,
}

fn write(log: &Log, start: u64) -> Written {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let engine = Engine::open(path, &path.join("db"), Sizes::STANDARD).unwrap();
    let (mut batches, mut model) = (Vec::new(), Vec::new());
    let mut position = start;
    for apply in log {
        let mut indexes = FAMILIES.map(Index::new);
        for batch in apply {
            let base = position;
            for (owner, tag) in batch {
                for index in &mut indexes {
                    index.add(owner_of(*owner), base, position, *tag);
                }
                model.push((*owner, *tag));
                position += 1;
            }
            batches.push(base..position);
        }
        let ops: Vec<Op> = indexes.into_iter().flat_map(Index::finish).collect();
        for op in &ops {
            assert!(op.value.as_ref().unwrap().len() <= 2 * ROW_BYTES + 16);
        }
        engine.commit(&ops).unwrap();
    }
    Written {
        _directory: directory,
        engine,
        batches,
        model,
        start,
    }
}

impl Written {
    /// What an index must name of an owner within a range.
    fn of(&self, family: Family, owner: u8, range: &Range<u64>) -> Vec<(u64, u16)> {
        (self.start..)
            .zip(&self.model)
            .filter(|(at, (of, _))| *of == owner && range.contains(at))
            .map(|(at, (_, tag))| match family {
                Family::AttemptByEvent => (at, *tag),
                _ => (at, 0),
            })
            .collect()
    }

    fn named(&self, family: Family, owner: u8, range: &Range<u64>) -> Vec<Named> {
        let mut named = Vec::new();
        for (at, tag) in self.of(family, owner, range) {
            Named::push(&mut named, at..at + 1, tag);
        }
        named
    }

    /// What readers find, row by row.
    fn read(&self, family: Family, owner: u8, range: &Range<u64>, order: Order) -> Vec<(u64, u16)> {
        let mut left = range.clone();
        let mut found = Vec::new();
        while let Some(row) =
            next_row(&self.engine, family, &owner_of(owner), &left, order).unwrap()
        {
            let before = left.clone();
            match order {
                Order::Ascending => left.start = row.span.end,
                Order::Descending => left.end = row.span.start,
            }
            assert!(left.start > before.start || left.end < before.end);
            let mut row: Vec<_> = row
                .named
                .iter()
                .flat_map(|named| named.positions.clone().map(|at| (at, named.tag)))
                .collect();
            if order == Order::Descending {
                row.reverse();
            }
            found.extend(row);
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn readers_find_what_an_owner_has_in_a_range_and_nothing_else(
        log in log(),
        start in prop::sample::select(vec![0, 1, 1 << 40]),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 6),
    ) {
        let written = write(&log, start);
        let end = start + written.model.len() as u64;
        let mut ranges = vec![0..u64::MAX, start..end];
        ranges.extend(cuts.iter().map(|(a, b)| {
            let at = |index: &prop::sample::Index| start + index.index(written.model.len() + 2) as u64;
            at(a)..at(b)
        }));
        for family in FAMILIES {
            for owner in 0..5 {
                for range in &ranges {
                    let mut expected = written.of(family, owner, range);
                    let found = written.read(family, owner, range, Order::Ascending);
                    prop_assert_eq!(&found, &expected, "{:?} of {} in {:?}", family, owner, range);
                    expected.reverse();
                    let found = written.read(family, owner, range, Order::Descending);
                    prop_assert_eq!(&found, &expected, "{:?} of {} in {:?}", family, owner, range);
                }
            }
        }
    }

    #[test]
    fn a_check_takes_what_was_written_and_tells_what_was_not(
        log in log(),
        from: prop::sample::Index,
        harmed: prop::sample::Index,
        skipped: prop::sample::Index,
    ) {
        let mut written = write(&log, 5);
        for family in FAMILIES {
            let skipped = skipped.index(written.batches.len());
            let from = from.index(written.batches.len());
            for batches in [&written.batches[from..], &[&written.batches[..skipped], &written.batches[skipped + 1..]].concat()] {
                let mut lookup = Lookup::new(&written.engine, family);
                for batch in batches {
                    prop_assert_eq!(check(&mut lookup, &written, family, batch), Ok(()));
                }
            }
        }
        // Another owner has the position now: both of them are wrong, or one if the other is in no batch.
        let at = harmed.index(written.model.len());
        written.model[at].0 = (written.model[at].0 + 1) % 4;
        for family in FAMILIES {
            let mut lookup = Lookup::new(&written.engine, family);
            let found: Vec<_> =
                written.batches.iter().map(|batch| check(&mut lookup, &written, family, batch)).collect();
            prop_assert!(found.iter().any(Result::is_err));
        }
    }

    #[test]
    fn any_bytes_are_a_row_or_an_error(last: u64, row: Vec<u8>, from: u64, to: u64) {
        for family in FAMILIES {
            if let Ok(found) = named(family, last, &row, &(from..to)) {
                prop_assert!(found.len() <= row.len());
                for pair in found.windows(2) {
                    prop_assert!(pair[0].positions.end <= pair[1].positions.start);
                }
                prop_assert!(found.iter().all(|n| from <= n.positions.start && n.positions.end <= to));
            }
        }
    }

    #[test]
    fn varints_are_read_back(number in prop_oneof![any::<u64>(), 0_u64..300, Just(u64::MAX)]) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number);
        prop_assert_eq!(bytes.len(), (64 - number.leading_zeros()).div_ceil(7).max(1) as usize);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(varint(&mut reader), Some(number));
        prop_assert!(reader.is_empty());
    }
}

fn check(
    lookup: &mut Lookup<'_>,
    written: &Written,
    family: Family,
    batch: &Range<u64>,
) -> Result<(), Misfit> {
    lookup.turn(batch.clone());
    let at = |position: u64| usize::try_from(position - written.start).unwrap();
    let owners: BTreeSet<u8> = written.model[at(batch.start)..at(batch.end)]
        .iter()
        .map(|(owner, _)| *owner)
        .collect();
    for owner in owners {
        let expected = written.named(family, owner, batch);
        lookup.check(&owner_of(owner), &expected).unwrap()?;
    }
    Ok(())
}

#[test]
fn rows_are_bounded_and_no_batch_is_in_two() {
    // Every second position of full batches, far more than a row takes.
    let batch = |_| (0..4096_u16).map(|at| (u8::from(at % 2 == 1), 0)).collect();
    let log: Log = vec![(0..20).map(batch).collect()];
    let written = write(&log, 0);
    let end = written.model.len() as u64;
    for family in FAMILIES {
        let (mut range, mut rows) = (0..end, 0);
        while let Some(row) = next_row(
            &written.engine,
            family,
            &owner_of(1),
            &range,
            Order::Ascending,
        )
        .unwrap()
        {
            let begins = |batch: &Range<u64>| row.span.start == batch.start + 1;
            assert!(written.batches.iter().any(begins), "{:?}", row.span);
            range.start = row.span.end;
            rows += 1;
        }
        assert!(rows > 1, "{family:?}: {rows}");
        let mut lookup = Lookup::new(&written.engine, family);
        for batch in &written.batches {
            assert_eq!(check(&mut lookup, &written, family, batch), Ok(()));
        }
    }
}

#[test]
fn the_bytes_of_rows_are_golden() {
    let mut bytes = Vec::new();
    for family in FAMILIES {
        let mut index = Index::new(family);
        for (position, tag) in [
            (1000, 3),
            (1001, 3),
            (1002, 4),
            (1003, 3),
            (1300, 9),
            (1301, 1),
        ] {
            index.add([7; 8], 1000, position, tag);
        }
        for op in index.finish() {
            for part in [op.key, op.value.unwrap()] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(16) + 16, 0xee);
            }
        }
    }
    crate::testing::assert_golden("index_rows.hex", &bytes);
}

#[test]
fn strange_rows_are_refused() {
    let within = 0..u64::MAX;
    for (last, row) in [
        // Without anything, cut, longer than its last position, shorter.
        (5, &[][..]),
        (5, &[0x80]),
        (5, &[1, 2]),
        (5, &[3, 1]),
        // A span below zero; a run of nothing; a run without an end; the end of all numbers.
        (5, &[6, 6]),
        (5, &[0, 0, 0]),
        (5, &[4, 0, 0xff]),
        (u64::MAX, &[0]),
        // A varint of more than 64 bits.
        (
            5,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
    ] {
        assert!(
            named(Family::AppLog, last, row, &within).is_err(),
            "{row:?}"
        );
    }
    // Runs are of rows without tags alone, and a tag has two bytes.
    for row in [&[0][..], &[0, 1], &[2, 0, 0, 0, 2]] {
        assert!(named(Family::AttemptByEvent, 5, row, &within).is_err());
    }
    assert!(named(Family::AttemptByEvent, 5, &[0, 1, 2], &within).is_ok());
}
