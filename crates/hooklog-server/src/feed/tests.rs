use std::convert::Infallible;

use hooklog_storage::{EventId, Timestamp};

use super::*;

/// A log of which every event is of the application; `a` and `b` are types, `.` is another's event.
fn page(log: &str, low: u64, range: OffsetRange, limit: Limit) -> EventPage {
    let start = range.start.max(Offset::new(low)).min(range.end);
    let (mut records, mut rest, mut bytes) = (Vec::new(), start..range.end, 0);
    for (offset, kind) in log.chars().enumerate() {
        let offset = Offset::new(offset as u64);
        if !rest.contains(&offset) || kind == '.' {
            continue;
        }
        if !records.is_empty() && (records.len() == limit.items || bytes + 10 > limit.bytes) {
            return EventPage {
                records,
                rest,
                expired: range.start..start,
            };
        }
        let application = ApplicationId::from_bytes([1; 20]);
        let event_type = kind.to_string().parse().expect("a name");
        let time = Timestamp::from_millis(1_800_000_000_000);
        bytes += 10;
        rest.start = offset.next();
        records.push(Record {
            offset,
            id: EventId::at(time, offset, [0; 7]),
            timestamp: time,
            event: Event::new(application, event_type, "0123456789"),
        });
    }
    rest.start = rest.end;
    EventPage {
        records,
        rest,
        expired: range.start..start,
    }
}

fn wanted(types: &str) -> Wanted {
    let names = types
        .chars()
        .map(|c| c.to_string().parse().expect("a name"));
    let names: Vec<_> = names.collect();
    Wanted {
        sink: Filter::default(),
        asked: Filter {
            event_types: Some(names).filter(|names| !names.is_empty()),
            channels: None,
            condition: None,
        },
    }
}

/// Offsets found, where to go on, whether there is more.
fn look(
    log: &str,
    types: &str,
    range: std::ops::Range<u64>,
    limit: Limit,
) -> (Vec<u64>, u64, bool) {
    let range = Offset::new(range.start)..Offset::new(range.end);
    let read = |range, limit| Ok::<_, Infallible>(page(log, 0, range, limit));
    let Ok(found) = scan(range, limit, &wanted(types), read);
    let offsets = found.records.iter().map(|record| record.offset.get());
    (
        offsets.collect(),
        found.place.expect("a place").get(),
        found.more,
    )
}

#[test]
fn a_look_finds_what_is_wanted_and_says_where_it_stands() {
    let of = |items, bytes| Limit { items, bytes };
    let many = of(10, 1_000);
    for (log, types, range, limit, expected) in [
        ("aa.ba", "", 0..5, many, (vec![0, 1, 3, 4], 5, false)),
        ("aa.ba", "", 0..5, of(2, 1_000), (vec![0, 1], 2, true)),
        // The last one that fits is the last there is.
        ("aa...", "", 0..5, of(2, 1_000), (vec![0, 1], 5, false)),
        ("aa.ba", "b", 0..5, many, (vec![3], 5, false)),
        ("aabab", "b", 0..5, of(1, 1_000), (vec![2], 4, true)),
        ("aa.ba", "c", 1..5, many, (vec![], 5, false)),
        ("aa.ba", "", 5..5, many, (vec![], 5, false)),
        // One always fits, however large.
        ("aaa", "", 0..3, of(10, 5), (vec![0], 1, true)),
        ("aaa", "", 0..3, of(10, 20), (vec![0, 1], 2, true)),
    ] {
        let found = look(log, types, range.clone(), limit);
        assert_eq!(found, expected, "{log} {types} {range:?} {limit:?}");
    }
}

#[test]
fn a_look_is_bounded_and_the_next_goes_on() {
    let log = format!("{}b", "a".repeat(SCAN_EVENTS_MAX + 1_000));
    let end = log.len() as u64;
    let limit = Limit {
        items: 10,
        bytes: 1_000_000,
    };
    let (found, place, more) = look(&log, "b", 0..end, limit);
    assert!(found.is_empty() && more && place < end, "{place}");
    assert_eq!(
        look(&log, "b", place..end, limit),
        (vec![end - 1], end, false)
    );
}

#[test]
fn what_expired_is_told() {
    let read = |range, limit| Ok::<_, Infallible>(page("aaaa", 2, range, limit));
    let limit = Limit {
        items: 10,
        bytes: 1_000,
    };
    let Ok(found) = scan(Offset::ZERO..Offset::new(4), limit, &wanted(""), read);
    assert_eq!((found.expired.start.get(), found.expired.end.get()), (0, 2));
    assert_eq!(found.records.len(), 2);
    // All of it: the place is behind it nevertheless.
    let Ok(found) = scan(Offset::ZERO..Offset::new(2), limit, &wanted(""), read);
    assert!(found.is_something() && found.records.is_empty());
    assert_eq!(found.place, Some(Offset::new(2)));
}
