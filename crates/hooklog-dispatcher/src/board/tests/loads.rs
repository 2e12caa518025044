//! What a board loads of parked deliveries, and what it need not load.

use hooklog_storage::Release;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// A board beside a log whose subscriptions are all known, and all effects that it wanted.
struct World {
    log: Log,
    board: Board,
    now: Timestamp,
    /// The log's time.
    time: Timestamp,
    /// What was tried, and what became of it in the log.
    sent: Vec<Key>,
    loads: usize,
    /// Most rows that one answer to the board held.
    rows_max: usize,
}

impl World {
    fn new(mut log: Log, subscriptions: u8) -> Self {
        for number in 0..subscriptions {
            let value = Arc::new(subscription(number));
            log.subscriptions.insert(value.id, value);
        }
        let mut board = Board::new(&Config::default(), log.state(), NOW);
        board.apply(Input::Tail(TailItem::Registry(log.listing())), NOW);
        let (loads, rows_max) = (0, 0);
        let mut world = Self {
            log,
            board,
            now: NOW,
            time: NOW,
            sent: Vec::new(),
            loads,
            rows_max,
        };
        world.perform();
        world
    }

    fn change(&mut self, change: Change) {
        let input = Input::Tail(TailItem::Change(change));
        self.board.apply(input, self.now);
        self.perform();
    }

    /// The log releases an event to these; the tail tells of it later.
    fn release(&mut self, offset: u64, to: &[u8]) -> Change {
        self.time = self.time.plus(Duration::from_millis(1));
        let offset = Offset::new(offset);
        let to: Vec<_> = to.iter().map(|number| subscription(*number).id).collect();
        for id in &to {
            let row = Retry::released(self.time, None);
            self.log.retries.insert((*id, offset), row);
        }
        Change::Release(Arc::new(Release {
            due: self.time,
            offset,
            at: self.time,
            key: None,
            to,
            rest: None,
        }))
    }

    /// Does what the board wants until it wants nothing, all attempts with success.
    fn perform(&mut self) {
        loop {
            while let Some(effect) = self.board.next(self.now) {
                self.do_one(effect);
            }
            match self.board.deadline(self.now) {
                Some(at) if at.since(self.now) < Duration::from_secs(1) => self.now = at,
                _ => return,
            }
        }
    }

    fn do_one(&mut self, effect: Effect) {
        let input = match effect {
            Effect::Attempt {
                subscription,
                start,
            } => {
                self.sent.push((subscription.id, start.offset));
                Input::Finished(vec![Finished {
                    subscription: subscription.id,
                    url: Arc::clone(&subscription.endpoint.url),
                    offset: start.offset,
                    event: Some(event_id(start.offset.get())),
                    started: self.now,
                    duration: Duration::ZERO,
                    answer: Answer {
                        status: Some(200),
                        ..Answer::none(Verdict::Delivered, "")
                    },
                    sample: 0.5,
                }])
            }
            Effect::Scan(mut scans) => {
                self.loads += scans.len();
                self.log.scan(&mut scans, 8, 1024);
                let rows = scans
                    .iter()
                    .map(|(_, scan)| scan.clone().found().rows.len());
                self.rows_max = self.rows_max.max(rows.sum());
                Input::Scanned(scans)
            }
            Effect::Resync(behind) => {
                let ids = self.log.parked(behind, 1024);
                let next = ids.last().filter(|_| ids.len() == 1024).copied();
                Input::Resynced { ids, next }
            }
            Effect::Record(progress) => {
                self.log.record(progress);
                Input::Recorded
            }
            Effect::Load(subscription) => {
                let state = self.log.state_of(subscription);
                Input::Loaded {
                    subscription,
                    state,
                }
            }
            Effect::Read { .. } | Effect::Disable { .. } => panic!("{effect:?}"),
        };
        self.board.apply(input, self.now);
    }
}

fn released(count: u64) -> Log {
    let mut log = Log::default();
    for offset in 0..count {
        let row = Retry::released(NOW, None);
        let key = (subscription(0).id, Offset::new(offset));
        log.retries.insert(key, row);
    }
    log.mark = Offset::new(count);
    log
}

#[test]
fn however_much_is_parked_little_of_it_is_held_and_each_is_sent_once() {
    let mut log = released(5_000);
    log.cursors.clear();
    assert_eq!(log.state().parked, [subscription(0).id]);
    let world = World::new(log, 2);
    let sent: BTreeSet<_> = world.sent.iter().collect();
    assert_eq!((sent.len(), world.sent.len()), (5_000, 5_000));
    assert!(world.log.retries.is_empty());
    assert_eq!(world.rows_max, 512, "twice the retry table of one lane");
    assert!(world.loads <= 5_000 / 256 + 2, "{} loads", world.loads);
}

#[test]
fn what_is_parked_for_a_disabled_endpoint_is_not_read_until_it_is_enabled() {
    let mut world = World::new(released(600), 0);
    let off = Subscription {
        state: SubscriptionState::wanted(false, NOW),
        ..subscription(0)
    };
    world.change(Change::PutSubscription(Arc::new(off)));
    assert_eq!((world.loads, world.sent.len()), (0, 0));
    world.change(Change::PutSubscription(Arc::new(subscription(0))));
    assert_eq!(world.sent.len(), 600);
}

#[test]
fn a_release_that_one_lane_has_read_before_is_news_to_the_others() {
    let mut world = World::new(Log::default(), 3);
    // Lane 0 reads what it has parked when the release is in the log and not told of.
    let release = world.release(7, &[0, 1, 2]);
    world
        .board
        .command(subscription(0).id, lane::Input::Unheard, world.now);
    world.perform();
    assert_eq!(world.sent, [(subscription(0).id, Offset::new(7))]);
    let loads = world.loads;
    world.change(release);
    // It looks again, and finds nothing; the others know that it is news.
    assert_eq!(world.loads, loads + 1);
    let mut sent: Vec<_> = world.sent.iter().map(|(id, _)| *id).collect();
    sent.sort_unstable();
    assert_eq!(sent, [0, 1, 2].map(|number| subscription(number).id));
    // Once the tail has passed it nobody remembers.
    let next = world.release(8, &[0, 1, 2]);
    world.change(next);
    assert_eq!((world.loads, world.sent.len()), (loads + 1, 6));
    assert_eq!(world.board.ahead.len(), 0);
}

/// The log's time is an hour ahead of a clock that was set back.
#[test]
fn a_release_that_was_read_before_is_known_although_the_clock_was_set_back() {
    let mut world = World::new(Log::default(), 1);
    world.time = world.now.plus(Duration::from_hours(1));
    let release = world.release(7, &[0]);
    world
        .board
        .command(subscription(0).id, lane::Input::Unheard, world.now);
    world.perform();
    world.change(release);
    assert_eq!(world.sent.len(), 1);
}
