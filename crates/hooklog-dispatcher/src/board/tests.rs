//! The whole dispatcher but for the I/O, run from a seed against a model of the log: traffic,
//! failures, commands and crashes at random; then all must have been delivered.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` so many.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{
    Change, Cursor, Offset, OffsetRange, Outcome, Progress, Record, Retry, Subscription,
    SubscriptionState, TailItem, Timestamp, Trigger,
};

use super::*;
use crate::deliver::Answer;
use crate::lane::Start;
use crate::testing::{event_id, record_of, subscription};

const SUBSCRIPTIONS: u8 = 4;
const WINDOW: usize = 8;

/// What the log knows: what survives a crash.
#[derive(Default)]
struct Log {
    records: Vec<Record>,
    subscriptions: BTreeMap<SubscriptionId, Arc<Subscription>>,
    cursors: BTreeMap<SubscriptionId, Cursor>,
    retries: BTreeMap<(SubscriptionId, Offset), Retry>,
    mark: Offset,
    /// What lies below has expired.
    low: Offset,
    /// What subscriptions were told to have lost.
    expired: BTreeMap<SubscriptionId, Vec<OffsetRange>>,
}

impl Log {
    fn end(&self) -> Offset {
        Offset::new(u64::try_from(self.records.len()).unwrap())
    }

    fn state(&self) -> DeliveryState {
        DeliveryState {
            mark: self.mark,
            cursors: self
                .cursors
                .iter()
                .map(|(id, cursor)| (*id, cursor.clone()))
                .collect(),
            retries: self
                .retries
                .iter()
                .map(|((id, at), retry)| (*id, *at, *retry))
                .collect(),
        }
    }

    fn record(&mut self, progress: Vec<Progress>) {
        for progress in progress {
            match progress {
                Progress::Attempt(attempt) => {
                    let key = (attempt.subscription, attempt.event.offset());
                    match attempt.outcome {
                        Outcome::Retry { due } => {
                            let number = attempt.number + 1;
                            let retry = Retry {
                                number,
                                due,
                                trigger: Trigger::Scheduled,
                            };
                            self.retries.insert(key, retry);
                        }
                        Outcome::Delivered | Outcome::Exhausted => {
                            if attempt.number > 0 || attempt.trigger == Trigger::Manual {
                                self.retries.remove(&key);
                            }
                        }
                    }
                }
                Progress::Cursor(id, cursor) => {
                    assert!(cursor.settled.len() <= WINDOW);
                    self.cursors.insert(id, cursor);
                }
                Progress::Mark(mark) => {
                    assert!(mark >= self.mark, "the mark moves forward");
                    self.mark = mark;
                }
                Progress::Expired(id, expired) => {
                    assert!(!expired.range.is_empty());
                    assert!(expired.range.end <= self.low, "nothing else is lost");
                    self.expired.entry(id).or_default().push(expired.range);
                }
            }
        }
    }

    fn page(&self, range: &OffsetRange, limit: lane::Read) -> Page {
        let mut records = Vec::new();
        let mut next = range.end;
        let start = self.low.clamp(range.start, range.end);
        for record in &self.records {
            if record.offset >= start && record.offset < range.end {
                if records.len() == limit.items {
                    next = record.offset;
                    break;
                }
                records.push(record.clone());
            }
        }
        let expired = range.start..start;
        Page {
            records,
            next,
            expired,
        }
    }
}

/// What runs beside the board; all of it is gone after a crash.
enum Beside {
    Attempt {
        subscription: SubscriptionId,
        start: Start,
    },
    Done(Input),
    Record(Vec<Progress>),
}

struct Simulation {
    rng: fastrand::Rng,
    config: Config,
    log: Log,
    board: Board,
    now: Timestamp,
    /// What the tail will yield.
    tail: VecDeque<TailItem>,
    beside: Vec<Beside>,
    /// How often each endpoint got each event with success.
    sink: BTreeMap<(SubscriptionId, Offset), usize>,
    /// What must have arrived at the end, and how often it was asked for by hand.
    wanted: BTreeSet<(SubscriptionId, Offset)>,
    asked: BTreeMap<(SubscriptionId, Offset), usize>,
    crashes: usize,
    /// Parked deliveries whose event had expired.
    gone: BTreeSet<(SubscriptionId, Offset)>,
    /// Endpoints answer every request with success.
    healthy: bool,
    /// What was done, if anybody wants to know: writing it down takes most of the time.
    trace: Option<String>,
}

impl Simulation {
    fn new(seed: u64, traced: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = Config {
            schedule: Schedule::try_new(vec![Duration::ZERO; 200], 0.2)
                .map(|schedule| {
                    let mut delays = schedule.delays().to_vec();
                    delays[1..].fill(Duration::from_secs(rng.u64(1..20)));
                    Schedule::try_new(delays, 0.2).unwrap()
                })
                .unwrap(),
            lane_concurrency: rng.usize(1..6),
            lane_window: rng.usize(1..=WINDOW),
            lane_retries_max: rng.usize(1..8),
            attempts_in_flight_max: rng.usize(1..12),
            ..Config::default()
        };
        let now = Timestamp::from_millis(1_000_000);
        let mut simulation = Self {
            board: Board::new(&config, DeliveryState::default(), now),
            rng,
            config,
            log: Log::default(),
            now,
            tail: VecDeque::new(),
            beside: Vec::new(),
            sink: BTreeMap::new(),
            wanted: BTreeSet::new(),
            asked: BTreeMap::new(),
            crashes: 0,
            gone: BTreeSet::new(),
            healthy: false,
            trace: traced.then(String::new),
        };
        simulation.start();
        simulation
    }

    fn tell(&mut self, what: &dyn std::fmt::Debug) {
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{what:?}").unwrap();
        }
    }

    /// A process starts on what the log holds.
    fn start(&mut self) {
        self.beside.clear();
        self.board = Board::new(&self.config, self.log.state(), self.now);
        self.tail.clear();
        let all = self.log.subscriptions.values().cloned().collect();
        self.tail.push_back(TailItem::Registry(all));
        let from = self.log.mark.max(self.log.low);
        if from > self.log.mark {
            self.tail.push_back(TailItem::Expired(self.log.mark..from));
        }
        let from = usize::try_from(from.get()).unwrap();
        for chunk in self.log.records[from..].chunks(3) {
            self.tail.push_back(TailItem::Records(chunk.into()));
        }
    }

    fn change(&mut self, change: Change) {
        if let Change::PutSubscription(value) = &change {
            self.log.subscriptions.insert(value.id, Arc::clone(value));
        }
        self.tail.push_back(TailItem::Change(change));
    }

    fn publish(&mut self) {
        let mut batch = Vec::new();
        // A subscription may be created in the midst of a commit; its change comes after all of it.
        let created = self.rng.usize(0..4);
        let mut change = None;
        for at in 0..self.rng.usize(1..8) {
            if at == created && self.rng.u8(0..4) == 0 {
                change = self.create();
            }
            let offset = self.log.end();
            let mut record = record_of(offset.get(), 10);
            record.event.event_type = format!("t{}", self.rng.u8(0..3)).parse().unwrap();
            for value in self.log.subscriptions.values() {
                if value.start <= offset && route::wants(value, &record) {
                    self.wanted.insert((value.id, offset));
                }
            }
            self.log.records.push(record.clone());
            batch.push(record);
        }
        self.tail.push_back(TailItem::Records(batch.into()));
        self.tail.extend(change.map(TailItem::Change));
    }

    fn create(&mut self) -> Option<Change> {
        let number = u8::try_from(self.log.subscriptions.len()).unwrap();
        if number == SUBSCRIPTIONS {
            return None;
        }
        let mut value = subscription(number);
        value.start = self.log.end();
        if self.rng.bool() {
            let name = format!("t{}", self.rng.u8(0..3)).parse().unwrap();
            value.filter.event_types = Some(vec![name]);
        }
        let value = Arc::new(value);
        self.log.subscriptions.insert(value.id, Arc::clone(&value));
        Some(Change::PutSubscription(value))
    }

    fn pick(&mut self) -> Option<Arc<Subscription>> {
        let all: Vec<_> = self.log.subscriptions.values().cloned().collect();
        (!all.is_empty()).then(|| Arc::clone(&all[self.rng.usize(0..all.len())]))
    }

    fn set_state(&mut self, value: &Subscription, state: SubscriptionState) {
        let value = Subscription {
            state,
            ..value.clone()
        };
        self.change(Change::PutSubscription(Arc::new(value)));
    }

    fn redeliver(&mut self) {
        let Some(value) = self.pick() else { return };
        let known: Vec<_> = self
            .wanted
            .iter()
            .filter(|(id, _)| *id == value.id)
            .copied()
            .collect();
        if known.is_empty() {
            return;
        }
        let key = known[self.rng.usize(0..known.len())];
        let retry = Retry {
            number: 0,
            due: self.now,
            trigger: Trigger::Manual,
        };
        self.log.retries.insert(key, retry);
        *self.asked.entry(key).or_default() += 1;
        let (subscription, offset) = key;
        self.change(Change::Redeliver {
            subscription,
            offset,
            asked: self.now,
        });
    }

    /// Something happens.
    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..20 => self.publish(),
            20..22 => {
                if let Some(change) = self.create() {
                    self.change(change);
                }
            }
            22..25 => {
                if let Some(value) = self.pick() {
                    let state = match value.state {
                        SubscriptionState::Enabled => SubscriptionState::wanted(false, self.now),
                        SubscriptionState::Disabled { .. } => SubscriptionState::Enabled,
                    };
                    self.set_state(&value, state);
                }
            }
            25..28 => self.redeliver(),
            28..29 => {
                self.crashes += 1;
                self.tell(&"crash");
                self.start();
            }
            29..30 => {
                // The reader fell behind: after what it has taken it sees the state of the registry
                // instead of changes, and reads on.
                let is_change = |item: &TailItem| matches!(item, TailItem::Change(_));
                let taken = self.tail.iter().take_while(|item| is_change(item)).count();
                let mut rest = self.tail.split_off(taken);
                rest.retain(|item| matches!(item, TailItem::Records(_) | TailItem::Expired(_)));
                let all = self.log.subscriptions.values().cloned().collect();
                self.tail.push_back(TailItem::Registry(all));
                self.tail.extend(passed_over(&mut rest, self.log.low));
                self.tail.append(&mut rest);
            }
            30..50 => self.now = self.now.plus(Duration::from_millis(self.rng.u64(0..3000))),
            50..51 => {
                let all = self.log.low.get()..=self.log.end().get();
                self.log.low = Offset::new(self.rng.u64(all));
            }
            51..70 => {
                if let Some(item) = self.tail.pop_front() {
                    self.board.apply(Input::Tail(item), self.now);
                }
            }
            _ => self.finish_one(),
        }
        self.perform();
    }

    fn finish_one(&mut self) {
        if self.beside.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.beside.len());
        let input = match self.beside.swap_remove(at) {
            Beside::Done(input) => input,
            Beside::Record(progress) => {
                self.tell(&progress);
                self.log.record(progress);
                Input::Recorded
            }
            Beside::Attempt {
                subscription,
                start,
            } => {
                let good = self.healthy || self.rng.u8(0..3) > 0;
                let gone = start.record.is_none() && start.offset < self.log.low;
                if gone {
                    self.gone.insert((subscription, start.offset));
                } else if good {
                    *self.sink.entry((subscription, start.offset)).or_default() += 1;
                }
                let verdict = if gone {
                    Verdict::Gone
                } else if good {
                    Verdict::Delivered
                } else {
                    Verdict::Failed
                };
                Input::Finished(Finished {
                    subscription,
                    url: "u".into(),
                    offset: start.offset,
                    event: Some(event_id(start.offset.get())),
                    started: self.now,
                    duration: Duration::ZERO,
                    answer: Answer {
                        status: None,
                        response: String::new(),
                        verdict,
                    },
                    sample: self.rng.f64(),
                })
            }
        };
        self.board.apply(input, self.now);
    }

    fn perform(&mut self) {
        while let Some(effect) = self.board.next(self.now) {
            self.tell(&(self.now, &effect));
            self.beside.push(match effect {
                Effect::Attempt {
                    subscription,
                    start,
                } => Beside::Attempt {
                    subscription: subscription.id,
                    start,
                },
                Effect::Read {
                    subscription,
                    range,
                    limit,
                    ..
                } => {
                    let fails = !self.healthy && self.rng.u8(0..10) == 0;
                    let page = (!fails).then(|| self.log.page(&range, limit));
                    Beside::Done(Input::Page {
                        subscription,
                        from: range.start,
                        page,
                    })
                }
                Effect::Load(subscription) => {
                    let mut state = self.log.state();
                    state.cursors.retain(|(id, _)| *id == subscription);
                    state.retries.retain(|(id, _, _)| *id == subscription);
                    Beside::Done(Input::Loaded {
                        subscription,
                        state,
                    })
                }
                Effect::Resync => Beside::Done(Input::Resynced(self.log.state())),
                Effect::Record(progress) => Beside::Record(progress),
            });
        }
        assert!(self.board.in_flight() <= self.config.attempts_in_flight_max);
    }

    /// All endpoints recover, all subscriptions are enabled, and everything gets its time.
    fn settle(&mut self) {
        self.healthy = true;
        let disabled: Vec<_> = self.log.subscriptions.values().cloned().collect();
        for value in disabled {
            if !value.state.is_enabled() {
                self.set_state(&value, SubscriptionState::Enabled);
            }
        }
        for _ in 0..20_000 {
            while let Some(item) = self.tail.pop_front() {
                self.board.apply(Input::Tail(item), self.now);
                self.perform();
            }
            if self.beside.is_empty() {
                match self.board.deadline(self.now) {
                    Some(at) => self.now = self.now.max(at),
                    None => return,
                }
            }
            self.finish_one();
            self.perform();
        }
        panic!("the dispatcher does not come to rest");
    }

    fn check(&self) {
        for key in &self.wanted {
            let told = self.log.expired.get(&key.0).into_iter().flatten();
            let expired = self.gone.contains(key) || told.clone().any(|r| r.contains(&key.1));
            assert!(
                self.sink.contains_key(key) || expired,
                "{key:?} was never delivered"
            );
        }
        // Each crash may repeat what was in flight or not on record: one window per subscription.
        // What was asked for by hand comes on top, and a crash or a gap may repeat it, too.
        for value in self.log.subscriptions.values() {
            let own = |key: &&(SubscriptionId, Offset)| key.0 == value.id;
            let deliveries: usize = self
                .sink
                .iter()
                .filter(|(key, _)| own(key))
                .map(|(_, count)| count)
                .sum();
            let wanted = self.wanted.iter().filter(own).count();
            let asked: usize = self
                .asked
                .iter()
                .filter(|(key, _)| own(key))
                .map(|(_, count)| count)
                .sum();
            let bound = wanted + 2 * asked + self.crashes * self.config.lane_window;
            assert!(
                deliveries <= bound,
                "{}: {deliveries} deliveries above {bound}",
                value.id
            );
        }
        assert!(
            self.log.retries.is_empty(),
            "parked for ever: {:?}",
            self.log.retries
        );
        assert!(
            self.board.slots.is_empty(),
            "a subscription at rest has no lane"
        );
        assert_eq!(self.board.queue_bytes, 0);
        assert_eq!(self.board.in_flight, 0);
        assert!(self.board.timers.is_empty());
    }
}

/// Takes what has expired out of what the tail would read from the disk.
fn passed_over(items: &mut VecDeque<TailItem>, low: Offset) -> Option<TailItem> {
    let mut first = None;
    let mut low = low;
    for item in items.iter_mut() {
        if let TailItem::Expired(range) = item {
            first = first.or(Some(range.start));
            low = low.max(range.end);
        }
        if let TailItem::Records(records) = item {
            first = first.or_else(|| records.first().map(|record| record.offset));
            *records = records
                .iter()
                .filter(|record| record.offset >= low)
                .cloned()
                .collect();
        }
    }
    items.retain(|item| matches!(item, TailItem::Records(records) if !records.is_empty()));
    first
        .filter(|first| *first < low)
        .map(|first| TailItem::Expired(first..low))
}

fn run(seed: u64, traced: bool) -> Option<String> {
    let mut simulation = Simulation::new(seed, traced);
    for _ in 0..600 {
        simulation.step();
    }
    simulation.settle();
    simulation.check();
    simulation.trace
}

#[test]
fn everything_is_delivered_and_little_is_repeated() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(200),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed, false)) {
            eprintln!("SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_seed_replays() {
    for seed in [3, 17] {
        let first = run(seed, true).unwrap();
        assert!(first.lines().count() > 100);
        assert_eq!(Some(first), run(seed, true));
    }
}
