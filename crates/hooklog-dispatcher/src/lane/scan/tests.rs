//! Looks at parked deliveries against a model that sees all of them at once.

use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

type Rows = BTreeMap<Offset, Retry>;

/// Rows of every kind: due or not, tried or asked for, waited for or not.
fn rows(rng: &mut fastrand::Rng, count: u64) -> Rows {
    let row = |_| {
        let millis = rng.u64(0..4_000);
        let due = Timestamp::from_millis(998_000).plus(Duration::from_millis(millis));
        let retry = Retry {
            is_awaited: rng.bool(),
            ..Retry::failed(rng.u16(0..2), due)
        };
        (Offset::new(rng.u64(0..3 * count.max(1))), retry)
    };
    (0..count).map(row).collect()
}

/// Runs a look to its end; returns what it found and how many pages it asked for.
fn run(rows: &Rows, mut scan: Scan, page_rows: usize) -> (Found, usize) {
    let mut pages = 0;
    while let Some(from) = scan.next() {
        let page = rows.range(from..).take(page_rows);
        let page: Vec<_> = page.map(|(offset, retry)| (*offset, *retry)).collect();
        scan.take(&page, page_rows);
        pages += 1;
    }
    (scan.found(), pages)
}

fn due(retry: &Retry) -> Timestamp {
    if retry.number == 0 {
        retry.due.min(NOW)
    } else {
        retry.due
    }
}

#[test]
fn where_order_counts_the_lowest_that_others_wait_for_are_found() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.u64(0..60);
        let rows = rows(&mut rng, count);
        let (most, page_rows) = (rng.usize(1..20), rng.usize(1..9));
        let start = Offset::new(rng.u64(0..100));
        let ordering = [Ordering::Fifo, Ordering::FifoByKey][rng.usize(0..2)];
        let (found, _) = run(&rows, Scan::new(ordering, NOW, most, start), page_rows);
        let mut wanted: Vec<_> = rows.iter().map(|(at, retry)| (*at, *retry)).collect();
        wanted.sort_by_key(|(at, retry)| {
            let due = Some(retry.due).filter(|_| !retry.is_awaited);
            (!retry.is_awaited, due, *at)
        });
        wanted.truncate(most);
        assert_eq!(found.rows, wanted, "seed {seed}");
        assert!(
            found.is_more || found.rows.len() == rows.len(),
            "seed {seed}"
        );
    }
}

#[test]
fn otherwise_those_that_are_due_are_found_or_the_first_that_will_be() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.u64(0..60);
        let mut rows = rows(&mut rng, count);
        let (most, page_rows) = (rng.usize(1..20), rng.usize(1..9));
        let (mut resume, mut looks) = (Offset::ZERO, 0);
        // Whatever was found is delivered; until nothing is left each has its turn.
        while !rows.is_empty() {
            let (found, _) = run(
                &rows,
                Scan::new(Ordering::None, NOW, most, resume),
                page_rows,
            );
            assert_eq!(found.rows.len(), most.min(rows.len()), "seed {seed}");
            assert!(
                found.is_more || found.rows.len() == rows.len(),
                "seed {seed}"
            );
            let is_due = |(_, retry): &(Offset, Retry)| due(retry) <= NOW;
            if !found.rows.iter().all(is_due) {
                let mut wanted: Vec<_> = rows.iter().map(|(at, retry)| (*at, *retry)).collect();
                wanted.sort_by_key(|(at, retry)| (due(retry), *at));
                wanted.truncate(most);
                assert_eq!(found.rows, wanted, "seed {seed}: the first that will be");
            }
            for (offset, _) in found.rows {
                rows.remove(&offset);
            }
            (resume, looks) = (found.resume, looks + 1);
            assert!(looks <= 60, "seed {seed}: it comes to an end");
        }
    }
}

/// A look for half a thousand of 100,000 that are due costs a page, wherever it begins.
#[test]
fn a_look_among_many_that_are_due_costs_a_page() {
    let row = |at| (Offset::new(at), Retry::released(NOW, None));
    let rows: Rows = (0..100_000).map(row).collect();
    for ordering in [Ordering::None, Ordering::Fifo, Ordering::FifoByKey] {
        let mut start = Offset::ZERO;
        for _ in 0..3 {
            let (found, pages) = run(&rows, Scan::new(ordering, NOW, 512, start), 1024);
            assert_eq!((found.rows.len(), pages, found.is_more), (512, 1, true));
            start = found.resume;
        }
        let end = Offset::new(99_900);
        let (found, pages) = run(&rows, Scan::new(ordering, NOW, 512, end), 1024);
        assert_eq!(found.rows.len(), 512);
        assert!(pages <= 2, "it goes on from the start");
    }
}

#[test]
fn who_is_behind_many_that_fail_again_and_again_has_its_turn_in_two_rounds() {
    let row = |at| (Offset::new(at), Retry::failed(1, NOW));
    let mut rows: Rows = (0..1_001).map(row).collect();
    let (mut resume, mut now) = (Offset::ZERO, NOW);
    for looks in 1.. {
        now = now.plus(Duration::from_millis(1));
        let (found, _) = run(&rows, Scan::new(Ordering::None, now, 10, resume), 10);
        resume = found.resume;
        if found.rows.iter().any(|(offset, _)| offset.get() == 1_000) {
            break;
        }
        // They are due again before the next look.
        for (offset, _) in found.rows {
            rows.insert(offset, Retry::failed(1, now));
        }
        assert!(looks <= 202, "it had no turn in two rounds");
    }
}
