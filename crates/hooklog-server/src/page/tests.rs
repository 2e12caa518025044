//! Paging maths against a list in memory.
//!
//! **Invariant:** walking forward or back shows every item once and ends.
//! **Next:** `message.rs`.

use std::convert::Infallible;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Number(u32);

impl Item for Number {
    type Key = u32;

    fn key(&self) -> u32 {
        self.0
    }

    fn bytes(&self) -> usize {
        1
    }
}

fn request(text: &str, order: Order) -> PageRequest<u32> {
    PageRequest::parse_ordered(&Query::parse(text).expect("parses"), order).expect("is a page")
}

/// One page of `0..count`, of which those divisible by `divisor` match.
fn page(request: &PageRequest<u32>, count: u32, divisor: u32) -> List<u32> {
    short_page(request, count, divisor, u32::MAX)
}

/// The same for a request that looks at `looks` items and then has done enough.
fn short_page(request: &PageRequest<u32>, count: u32, divisor: u32, mut looks: u32) -> List<u32> {
    let mut range = 0..count;
    match request.range() {
        (Bound::Excluded(id), _) => range.start = id + 1,
        (_, Bound::Excluded(id)) => range.end = id,
        _ => {}
    }
    let order = request.order();
    let wanted = if divisor == 1 {
        Wanted::All
    } else {
        Wanted::Some
    };
    let read = |range: Range<u32>, items: usize| {
        let mut items = u32::try_from(items).expect("small");
        items = items.min(range.end - range.start);
        Ok::<_, Infallible>(match order {
            Order::Ascending => {
                let middle = range.start + items;
                (
                    (range.start..middle).map(Number).collect(),
                    middle..range.end,
                )
            }
            Order::Descending => {
                let middle = range.end - items;
                (
                    (middle..range.end).rev().map(Number).collect(),
                    range.start..middle,
                )
            }
        })
    };
    let Ok(scan) = scan(request.limit, wanted, range, read, |number| {
        let Some(left) = looks.checked_sub(1) else {
            return Ok(Verdict::Stop);
        };
        looks = left;
        Ok((number.0 % divisor == 0).into())
    });
    request
        .list(scan, |number| number.0.to_string())
        .map(|number| number.0)
}

#[test]
fn every_item_once_forward_and_back() {
    for order in [Order::Ascending, Order::Descending] {
        for (count, limit, divisor, looks) in [
            (0, 3, 1, u32::MAX),
            (1, 3, 1, u32::MAX),
            (6, 3, 1, u32::MAX),
            (7, 3, 1, u32::MAX),
            (7, 3, 1, 1),
            (7, 3, 1, 4),
            (100, 7, 9, u32::MAX),
            (100, 7, 9, 1),
            (100, 7, 9, 10),
            (30_000, 10, 7_000, u32::MAX),
        ] {
            let mut expected: Vec<u32> = (0..count).filter(|n| n % divisor == 0).collect();
            if order == Order::Descending {
                expected.reverse();
            }
            let (mut seen, mut query) = (Vec::new(), format!("limit={limit}"));
            let mut pages = 0;
            let mut end = None;
            loop {
                let list = short_page(&request(&query, order), count, divisor, looks);
                assert!(list.data.len() <= limit);
                seen.extend(list.data);
                end = list.iterator.clone().or(end);
                pages += 1;
                assert!(pages < 1_000, "does not end");
                if list.done {
                    break;
                }
                let iterator = list
                    .iterator
                    .expect("a page that is not the last has an iterator");
                query = format!("limit={limit}&iterator={iterator}");
            }
            assert_eq!(seen, expected, "{count} by {limit}");
            // And back, from the end.
            let Some(end) = end else { continue };
            let mut back = Vec::new();
            let mut query = format!("limit={limit}&iterator=-{end}");
            loop {
                let list = short_page(&request(&query, order), count, divisor, looks);
                back.splice(0..0, list.data);
                if list.done {
                    break;
                }
                let iterator = list.prev_iterator.expect("more means a way on");
                query = format!("limit={limit}&iterator={iterator}");
            }
            let before: Vec<u32> = expected
                .iter()
                .copied()
                .take_while(|n| n.to_string() != end)
                .collect();
            assert_eq!(back, before, "back from {end} of {count} by {limit}");
        }
    }
}

#[test]
fn a_full_last_page_is_done() {
    let list = page(&request("limit=3", Order::Descending), 3, 1);
    assert_eq!((list.data, list.done), (vec![2, 1, 0], true));
    assert_eq!(list.iterator.as_deref(), Some("0"));
    assert_eq!(list.prev_iterator.as_deref(), Some("-2"));
}

#[test]
fn a_rare_match_ends_the_request_but_not_the_list() {
    let list = page(&request("limit=3", Order::Ascending), 100_000, 90_000);
    assert_eq!((list.data, list.done), (vec![0], false));
    let reached: usize = list.iterator.expect("goes on").parse().expect("a number");
    assert!(
        (SCAN_ITEMS_MAX - 1..SCAN_ITEMS_MAX + 4).contains(&reached),
        "{reached}"
    );
}

#[test]
fn limits_are_checked() {
    for text in [
        "limit=0",
        "limit=251",
        "limit=-1",
        "order=up",
        "iterator=x",
        "limit=70000",
    ] {
        let query = Query::parse(text).expect("parses");
        let parsed = PageRequest::<u32>::parse_ordered(&query, Order::Ascending);
        assert!(matches!(parsed, Err(ApiError::Invalid(_))), "{text}");
    }
    assert_eq!(request("limit=250", Order::Ascending).limit, 250);
    assert_eq!(request("", Order::Ascending).limit, 50);
}

#[test]
fn a_rare_match_is_looked_for_in_large_rounds() {
    let (mut rounds, mut read_items) = (0, 0);
    let read = |range: Range<u32>, items: usize| {
        rounds += 1;
        let end = range
            .end
            .min(range.start + u32::try_from(items).expect("small"));
        read_items += end - range.start;
        let found: Vec<_> = (range.start..end).map(Number).collect();
        Ok::<_, Infallible>((found, end..range.end))
    };
    let Ok(scan) = scan(1, Wanted::Some, 0..1_000_000, read, |number| {
        Ok(number.0 == 4_000)
    });
    assert_eq!(scan.found, [Number(4_000)]);
    assert_eq!(usize::try_from(read_items), Ok(SCAN_ITEMS_MAX));
    assert_eq!(rounds, SCAN_ITEMS_MAX.div_ceil(ROUND_ITEMS));
    assert_eq!(scan.reached, Some(4_999));
}

#[derive(Debug, PartialEq, Eq)]
struct Heavy(u32);

impl Item for Heavy {
    type Key = u32;

    fn key(&self) -> u32 {
        self.0
    }

    fn bytes(&self) -> usize {
        PAGE_BYTES_MAX / 2 - 1
    }
}

#[test]
fn a_page_ends_before_it_is_too_large() {
    let read = |range: Range<u32>, _: usize| {
        let found: Vec<_> = range.clone().map(Heavy).collect();
        Ok::<_, Infallible>((found, range.end..range.end))
    };
    let Ok(scan) = scan(50, Wanted::All, 0..9, read, |_| Ok(true));
    assert_eq!(scan.found, [Heavy(0), Heavy(1)]);
    assert_eq!((scan.reached, scan.more), (Some(1), true));
    let all = request("", Order::Ascending);
    let scan = all.take(0..9, |_| PAGE_BYTES_MAX / 3);
    assert_eq!((scan.found, scan.more), (vec![0, 1, 2], true));
    let scan = all.take(0..2, |_| PAGE_BYTES_MAX + 1);
    assert_eq!((scan.found, scan.more), (vec![0], true));
}
