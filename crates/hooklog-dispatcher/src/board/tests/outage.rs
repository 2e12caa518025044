//! An endpoint that refused connections for a while, millisecond by millisecond: when it is back it
//! has what it missed soon, once each, in log order, and is not flooded.

use super::*;

/// An endpoint is away for `away` seconds while `events` come evenly; an attempt takes `latency`
/// milliseconds. Returns what arrived and when, and the most attempts at a time within the first
/// round after its return.
fn outage(ordering: Ordering, away: u64, events: u64, latency: i64) -> (Vec<(u64, i64)>, usize) {
    let start = 1_000_000_000;
    let mut now = Timestamp::from_millis(start);
    let mut log = Log::default();
    let mut value = subscription(1);
    value.ordering = ordering;
    log.subscriptions.insert(value.id, Arc::new(value.clone()));
    let mut board = Board::new(&Config::default(), DeliveryState::default(), now);
    board.apply(Input::Tail(TailItem::Registry(log.listing())), now);
    let back = start + i64::try_from(away).unwrap() * 1000;
    let mut under_way: VecDeque<(i64, Finished)> = VecDeque::new();
    let (mut arrived, mut first_round) = (Vec::new(), 0);
    while arrived.len() < usize::try_from(events).unwrap() {
        let passed = now.as_millis() - start;
        assert!(passed < 120_000, "{} arrived", arrived.len());
        while log.end().get() < events
            && i64::try_from(log.end().get() * away * 1000 / events).unwrap() <= passed
        {
            let record = record_of(log.end().get(), 10);
            log.records.push(record.clone());
            board.apply(Input::Tail(TailItem::Records(vec![record].into())), now);
        }
        while let Some(effect) = board.next(now) {
            match effect {
                Effect::Attempt { start, .. } => {
                    let is_back = now.as_millis() >= back;
                    let verdict = if is_back {
                        Verdict::Delivered
                    } else {
                        Verdict::Failed
                    };
                    if is_back {
                        arrived.push((start.offset.get(), now.as_millis() - back));
                    }
                    let fault = (!is_back).then_some(Fault::Unreachable);
                    let finished = Finished {
                        subscription: value.id,
                        url: Arc::clone(&value.endpoint.url),
                        offset: start.offset,
                        event: Some(event_id(start.offset.get())),
                        started: now,
                        duration: Duration::ZERO,
                        answer: Answer {
                            fault,
                            ..Answer::none(verdict, "")
                        },
                        sample: 1.0,
                    };
                    under_way.push_back((now.as_millis() + latency, finished));
                }
                Effect::Read {
                    subscription,
                    range,
                    limit,
                    ..
                } => {
                    let (from, page) = (range.start, Some(log.page(&range, limit)));
                    board.apply(
                        Input::Page {
                            subscription,
                            from,
                            page,
                        },
                        now,
                    );
                }
                Effect::Record(progress) => {
                    for progress in progress {
                        if let Progress::Attempt(attempt) = progress {
                            log.attempted(&attempt);
                        }
                    }
                    board.apply(Input::Recorded, now);
                }
                Effect::Resync => board.apply(Input::Resynced(DeliveryState::default()), now),
                Effect::Load(_) | Effect::Disable { .. } => panic!("{effect:?}"),
            }
        }
        let first = arrived.first().map_or(i64::MAX, |(_, at)| *at + back);
        if now.as_millis() < first.saturating_add(latency) && first != i64::MAX {
            first_round = first_round.max(board.in_flight());
        }
        now = now.plus(Duration::from_millis(1));
        while under_way
            .front()
            .is_some_and(|(at, _)| *at <= now.as_millis())
        {
            let (_, finished) = under_way.pop_front().unwrap();
            board.apply(Input::Finished(finished), now);
        }
    }
    assert!(
        log.retries.values().all(|retry| retry.counted <= 2),
        "nothing was burned"
    );
    (arrived, first_round)
}

#[test]
fn what_an_endpoint_missed_in_twenty_seconds_it_has_within_five() {
    for (ordering, latency) in [
        (Ordering::None, 10),
        (Ordering::FifoByKey, 10),
        (Ordering::Fifo, 1),
    ] {
        let (arrived, first_round) = outage(ordering, 20, 2_000, latency);
        let offsets: Vec<u64> = arrived.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(
            offsets,
            (0..2_000).collect::<Vec<_>>(),
            "once each, in log order"
        );
        let last = arrived.last().unwrap().1;
        assert!(
            last < 5_000,
            "{ordering:?}: the last arrived {last} ms after the return"
        );
        assert_eq!(first_round, 1, "it starts slowly");
    }
}

#[test]
fn a_long_outage_is_noticed_to_be_over_within_the_longest_wait() {
    let (arrived, _) = outage(Ordering::None, 600 / 10, 200, 10);
    assert!(arrived[0].1 <= 7_200, "a tenth of a minute and the jitter");
}
