//! Turns that a lane has and may not take go to those that wait behind it.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// Events of this type go to that subscription alone.
fn name_of(value: &Subscription) -> hooklog_storage::EventTypeName {
    format!("t.{}", value.id).parse().unwrap()
}

/// Three endpoints whose attempts hang.
struct World {
    board: Board,
    values: [Subscription; 3],
    now: Timestamp,
    offset: u64,
    started: Vec<SubscriptionId>,
}

impl World {
    /// The first two stand in the line of their application's throttle, or of their host.
    fn new(is_throttle: bool) -> Self {
        let config = Config {
            attempts_in_flight_max: 4,
            host_attempts_max: if is_throttle { 4 } else { 2 },
            ..Config::default()
        };
        let mut board = Board::new(&config, DispatchState::default(), NOW);
        let mut values = [1, 2, 3].map(subscription);
        values[2].application = application(1);
        for (at, value) in values.iter_mut().enumerate() {
            let host = if is_throttle { at } else { at / 2 };
            value.endpoint.url = format!("http://host{host}/{at}").into();
            value.filter.event_types = Some(vec![name_of(value)]);
        }
        let rate = NonZeroU32::new(10).filter(|_| is_throttle);
        let listing = Listing {
            subscriptions: values.iter().cloned().map(Arc::new).collect(),
            applications: rate.map(throttled).into_iter().collect(),
        };
        board.apply(Input::Tail(TailItem::Registry(listing)), NOW);
        Self {
            board,
            values,
            now: NOW,
            offset: 0,
            started: Vec::new(),
        }
    }

    fn publish(&mut self, to: usize) {
        let to = &self.values[to];
        let mut record = record_of(self.offset, 10);
        record.event.application = to.application;
        record.event.event_type = name_of(to);
        self.offset += 1;
        let item = TailItem::Records(vec![record].into());
        self.board.apply(Input::Tail(item), self.now);
    }

    fn perform(&mut self) {
        while let Some(effect) = self.board.next(self.now) {
            let input = match effect {
                Effect::Attempt { subscription, .. } => {
                    self.started.push(subscription.id);
                    continue;
                }
                Effect::Resync(_) => Input::Resynced {
                    ids: Vec::new(),
                    next: None,
                },
                Effect::Record(_) => Input::Recorded,
                other => panic!("{other:?}"),
            };
            self.board.apply(input, self.now);
        }
    }

    /// Some time passes.
    fn wait(&mut self, millis: u64) {
        let end = self.now.plus(Duration::from_millis(millis));
        while self.now < end {
            self.now = self.now.plus(Duration::from_millis(10));
            self.perform();
        }
    }

    /// The first attempt of the first endpoint ends.
    fn end_first(&mut self) {
        let finished = Finished {
            subscription: self.values[0].id,
            url: Arc::clone(&self.values[0].endpoint.url),
            offset: Offset::ZERO,
            event: None,
            started: self.now,
            duration: Duration::ZERO,
            answer: Answer::none(Verdict::Failed, ""),
            sample: 0.5,
        };
        self.board.apply(Input::Finished(vec![finished]), self.now);
    }
}

/// An endpoint that has its share stands first in a line when what is left is kept for others; the one
/// behind it has less than its share. All hang, so nobody else would wake that one.
#[test]
fn a_turn_that_a_lane_may_not_take_is_the_next_ones() {
    for is_throttle in [true, false] {
        let mut world = World::new(is_throttle);
        // Two attempts of the first, and its third waits in the line; behind it the second's first.
        for _ in 0..3 {
            world.publish(0);
        }
        world.perform();
        while world.started.len() < 2 {
            world.wait(10);
            assert!(world.now < NOW.plus(Duration::from_secs(1)));
        }
        world.publish(1);
        world.perform();
        // Somebody else takes what was left beside the reserve.
        world.publish(2);
        world.perform();
        assert_eq!(world.started.len(), 3);
        if !is_throttle {
            // An attempt at the host ends, and before its next one another begins elsewhere.
            world.publish(2);
            world.end_first();
        }
        world.wait(1_000);
        let has_started = world.started.contains(&world.values[1].id);
        assert!(has_started, "throttle: {is_throttle}: {:?}", world.started);
    }
}
