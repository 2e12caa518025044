//! An endpoint that refused connections for a while, millisecond by millisecond: when it is back it
//! has what it missed soon, once each, in log order, and is not flooded.

use super::*;

const START: i64 = 1_000_000_000;

/// A board, a log that answers at once, and an endpoint that is away until a time.
struct World {
    now: Timestamp,
    back: Timestamp,
    latency: i64,
    log: Log,
    board: Board,
    value: Subscription,
    under_way: VecDeque<(i64, Finished)>,
    /// What arrived, and how many milliseconds after the return.
    arrived: Vec<(u64, u128)>,
    /// Most attempts at a time within the first round after the return.
    first_round: usize,
}

impl World {
    fn new(ordering: Ordering, away: Duration, latency: i64) -> Self {
        let now = Timestamp::from_millis(START);
        let mut log = Log::default();
        let mut value = subscription(1);
        value.ordering = ordering;
        log.subscriptions.insert(value.id, Arc::new(value.clone()));
        let mut board = Board::new(&Config::default(), DispatchState::default(), now);
        board.apply(Input::Tail(TailItem::Registry(log.listing())), now);
        Self {
            now,
            back: now.plus(away),
            latency,
            log,
            board,
            value,
            under_way: VecDeque::new(),
            arrived: Vec::new(),
            first_round: 0,
        }
    }

    fn attempt(&mut self, offset: Offset) {
        let is_back = self.now >= self.back;
        let mut verdict = Verdict::Failed;
        if is_back {
            verdict = Verdict::Delivered;
            let late = self.now.since(self.back).as_millis();
            self.arrived.push((offset.get(), late));
        }
        let finished = Finished {
            subscription: self.value.id,
            url: Arc::clone(&self.value.endpoint.url),
            offset,
            event: Some(event_id(offset.get())),
            started: self.now,
            duration: Duration::ZERO,
            answer: Answer {
                fault: (!is_back).then_some(Fault::Unreachable),
                ..Answer::none(verdict, "")
            },
            sample: 1.0,
        };
        let ends = self.now.as_millis() + self.latency;
        self.under_way.push_back((ends, finished));
    }

    fn perform(&mut self, effect: Effect) {
        let input = match effect {
            Effect::Attempt { start, .. } => return self.attempt(start.offset),
            Effect::Read {
                subscription,
                reading,
                range,
                limit,
            } => Input::Page {
                subscription: subscription.id,
                reading,
                from: range.start,
                page: Some(self.log.page(&subscription, &range, limit)),
            },
            Effect::Record(progress) => {
                for progress in progress {
                    if let Progress::Attempt(attempt) = progress {
                        self.log.attempted(&attempt);
                    }
                }
                Input::Recorded
            }
            Effect::Resync(_) => Input::Resynced {
                ids: Vec::new(),
                next: None,
            },
            Effect::Load(_) | Effect::Scan(_) | Effect::Disable { .. } => panic!("{effect:?}"),
        };
        self.board.apply(input, self.now);
    }

    /// A millisecond passes.
    fn step(&mut self) {
        while let Some(effect) = self.board.next(self.now) {
            self.perform(effect);
        }
        if let Some((_, first)) = self.arrived.first()
            && self.now.since(self.back).as_millis() - first < self.latency.unsigned_abs().into()
        {
            self.first_round = self.first_round.max(self.board.in_flight());
        }
        self.now = self.now.plus(Duration::from_millis(1));
        let now = self.now;
        while let Some((_, finished)) = self
            .under_way
            .pop_front_if(|(at, _)| *at <= now.as_millis())
        {
            self.board.apply(Input::Finished(vec![finished]), now);
        }
    }

    /// Runs until all of so many events have arrived, which come evenly while the endpoint is away.
    fn run(&mut self, events: u64) {
        let start = Timestamp::from_millis(START);
        let away = self.back.since(start);
        while u64::try_from(self.arrived.len()).unwrap() < events {
            let passed = self.now.since(start);
            assert!(passed < away + Duration::from_mins(1), "they arrive");
            let come = u64::try_from(passed.as_millis()).unwrap() * events;
            let come = come / u64::try_from(away.as_millis()).unwrap();
            while self.log.end().get() < come.min(events) {
                let record = record_of(self.log.end().get(), 10);
                self.log.records.push(record.clone());
                let item = TailItem::Records(vec![record].into());
                self.board.apply(Input::Tail(item), self.now);
            }
            self.step();
        }
        let mut parked = self.log.retries.values();
        assert!(parked.all(|retry| retry.counted <= 2), "nothing was burned");
    }
}

#[test]
fn what_an_endpoint_missed_in_twenty_seconds_it_has_within_five() {
    for (ordering, latency) in [
        (Ordering::None, 10),
        (Ordering::FifoByKey, 10),
        (Ordering::Fifo, 1),
    ] {
        let mut world = World::new(ordering, Duration::from_secs(20), latency);
        world.run(2_000);
        let offsets = world.arrived.iter().map(|(offset, _)| *offset);
        assert!(offsets.eq(0..2_000), "once each, in log order");
        let last = world.arrived[1_999].1;
        assert!(
            last < 5_000,
            "{ordering:?}: the last came {last} ms after the return"
        );
        assert_eq!(world.first_round, 1, "it starts slowly");
    }
}

#[test]
fn a_return_is_noticed_within_a_twentieth_of_the_outage() {
    let mut world = World::new(Ordering::None, Duration::from_mins(1), 10);
    world.run(200);
    let first = world.arrived[0].1;
    assert!(
        first <= 3_700,
        "{first} ms: a twentieth of a minute and the jitter"
    );
}
