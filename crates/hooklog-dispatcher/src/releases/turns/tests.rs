//! Steps of a round over a model of the rows, which sees what was released a few steps late.

use std::collections::VecDeque;
use std::convert::Infallible;

use super::*;
use crate::testing::application;

/// Events by their times; each application's number of them, one behind the other.
fn rows(counts: &[(u8, u64)]) -> Vec<Delayed> {
    let of = counts
        .iter()
        .flat_map(|(of, count)| (0..*count).map(|_| *of));
    let row = |(at, of): (u64, u8)| Delayed {
        due: Timestamp::from_millis(1_000 + i64::try_from(at / 7).unwrap()),
        offset: Offset::new(at),
        application: application(of),
        after: None,
    };
    (0..).zip(of).map(row).collect()
}

/// Runs a round; returns the step in which each event was picked, and the most rows that one step read.
fn run(mut rows: Vec<Delayed>, lag: usize) -> (BTreeMap<Offset, usize>, usize) {
    let (mut turns, mut steps) = (Turns::default(), BTreeMap::new());
    let (mut unapplied, mut most) = (VecDeque::new(), 0);
    for step in 0.. {
        let mut count = 0;
        let picked = turns.pick(|behind, most| {
            let from = behind.map_or(0, |behind| {
                rows.partition_point(|row| key(row) <= key(behind))
            });
            let due: Vec<_> = rows[from..].iter().take(most).cloned().collect();
            count += due.len();
            Ok::<_, Infallible>(DelayedPage { due, next: None })
        });
        let picked = picked.unwrap();
        most = most.max(count);
        assert!(picked.events.len() <= EVENTS_MAX);
        let mut keys = BTreeSet::new();
        for event in picked.events {
            assert_eq!(steps.insert(event.offset, step), None, "it is picked twice");
            keys.insert(key(&event));
        }
        unapplied.push_back(keys);
        if unapplied.len() > lag {
            let done = unapplied.pop_front().unwrap();
            rows.retain(|row| !done.contains(&key(row)));
        }
        if picked.is_all {
            break;
        }
    }
    (steps, most)
}

#[test]
fn each_is_picked_once_whatever_is_applied_meanwhile() {
    let cases: [&[(u8, u64)]; 6] = [
        &[],
        &[(1, 63)],
        &[(1, 64)],
        &[(1, 500), (2, 1), (3, 40)],
        &[(1, 3_000), (2, 3_000), (3, 9)],
        &[(1, 1_000), (2, 30), (1, 1_000), (3, 30), (2, 2_000), (4, 1)],
    ];
    for counts in cases {
        for lag in [0, 1, 3] {
            let all = rows(counts);
            let (steps, most) = run(all.clone(), lag);
            assert_eq!(steps.len(), all.len(), "{counts:?}");
            assert!(most <= EVENTS_MAX + LOOK_AHEAD, "{most} rows");
        }
    }
}

/// One event of B behind 10,000 of A: it is found as fast as rows are read, not as they are released.
#[test]
fn who_has_one_event_behind_very_many_of_another_does_not_wait_for_all_of_them() {
    let all = rows(&[(1, 10_000), (2, 1)]);
    let last = all.last().unwrap().offset;
    let (steps, _) = run(all, 1);
    let end = steps.values().max().copied().unwrap();
    assert!(end >= 10_000 / EVENTS_MAX, "{end} steps");
    assert!(steps[&last] <= 10_000 / LOOK_AHEAD + 1, "{}", steps[&last]);
}
