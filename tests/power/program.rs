//! The program whose power is cut: it writes to a log until it is killed, and says what was acked.
//!
//! It is this test binary once more, so that the file system outlives it: a process that is killed
//! while it waits for a file system of its own would never end.
//!
//! **Invariant:** a line is printed only after the log's ack (but for `parked`, which is printed
//! before it is recorded), and never without a flush.
//! **Next:** `writer.rs`, which starts it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use hooklog::storage::{
    Appended, Application, ApplicationId, Config, Cursor, CursorState, Durability, Endpoint,
    EventId, EventLog, Filter, NewApplication, NewAttempt, NewSubscription, OrganisationId,
    Outcome, Progress, SecretKey, SubscriptionId, Trigger,
};
use tokio::runtime::{Builder, Runtime};

use super::acked::{Acked, event, expiring};
use super::writer::{DIRECTORY, INTERVAL, SEED};
use crate::harness::number;

/// What it does, and how often.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Publish,
    Subscribe,
    Change,
    Delete,
    Record,
}

const OPERATIONS: &[(u32, Operation)] = &[
    (60, Operation::Publish),
    (6, Operation::Subscribe),
    (10, Operation::Change),
    (4, Operation::Delete),
    (20, Operation::Record),
];

/// How many events are published at once; in some lives so many that their batches go past the page cache.
const COUNTS: &[usize] = &[1, 1, 2, 8, 64];
const BULK: &[usize] = &[64, 128];

/// Operations between an open and a close.
const LIFE: u32 = 300;

/// Not a proof of its own: without the variable that `writer.rs` sets it has nothing to do.
#[test]
fn writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let seed = number(SEED, 0);
    // The harness of the tests has left its line open.
    say("");
    let nonces = AtomicU64::new(seed << 32);
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let config = Config {
            durability: durability(),
            ..expiring(PathBuf::from(&directory))
        };
        let log = EventLog::open(config).unwrap();
        live(&log, &nonces, &mut random);
        log.close().unwrap();
    }
}

fn durability() -> Durability {
    match number(INTERVAL, 0) {
        0 => Durability::PowerSafe,
        interval => Durability::ProcessSafe(Duration::from_millis(interval)),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// One open log, written to by two threads.
fn live(log: &EventLog, nonces: &AtomicU64, random: &mut fastrand::Rng) {
    let mut program = Program::start(log, nonces, random.fork());
    let mut second = program.publisher(random.fork());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                second.publish();
            }
        });
        for _ in 0..random.u32(..LIFE) {
            program.step();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

struct Publisher<'a> {
    log: &'a EventLog,
    nonces: &'a AtomicU64,
    application: ApplicationId,
    random: fastrand::Rng,
    /// How many events it publishes at once.
    counts: &'static [usize],
    /// The last event that was acked.
    last: Option<EventId>,
}

impl Publisher<'_> {
    fn publish(&mut self) {
        let count = *self.random.choice(self.counts).unwrap();
        let mut drafts = Vec::new();
        for _ in 0..count {
            let length = match self.random.u8(..100) {
                // More than one value of the database holds.
                0..6 if count < 3 => self.random.usize(120_000..200_000),
                6..16 => self.random.usize(5_000..30_000),
                _ => self.random.usize(..1500),
            };
            let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
            drafts.push((nonce, length));
        }
        let events = drafts
            .iter()
            .map(|(nonce, length)| event(self.application, *nonce, *length));
        let appended = self.log.append_blocking(events.collect()).unwrap();
        for ((nonce, length), appended) in drafts.into_iter().zip(appended) {
            let Appended::Committed { id, .. } = appended else {
                panic!("nonce {nonce}: {appended:?}");
            };
            let application = self.application;
            say(&Acked::Event {
                id,
                application,
                nonce,
                length,
            }
            .to_string());
            self.last = Some(id);
        }
    }
}

struct Program<'a> {
    publisher: Publisher<'a>,
    runtime: Runtime,
    kept: Vec<(SubscriptionId, u64)>,
    doomed: Vec<SubscriptionId>,
}

impl<'a> Program<'a> {
    fn start(log: &'a EventLog, nonces: &'a AtomicU64, mut random: fastrand::Rng) -> Self {
        let counts = if random.u8(..4) == 0 { BULK } else { COUNTS };
        let runtime = Builder::new_current_thread().build().unwrap();
        let new = NewApplication {
            organisation: OrganisationId::from_bytes([7; 20]),
            uid: None,
            name: "power".to_owned(),
            metadata: BTreeMap::new(),
            policy: hooklog_storage::Policy::default(),
        };
        let made: Arc<Application> = runtime.block_on(log.create_application(new)).unwrap();
        say(&Acked::Application(made.id).to_string());
        Self {
            publisher: Publisher {
                log,
                nonces,
                application: made.id,
                random,
                counts,
                last: None,
            },
            runtime,
            kept: Vec::new(),
            doomed: Vec::new(),
        }
    }

    /// Another one, for another thread.
    fn publisher(&self, random: fastrand::Rng) -> Publisher<'a> {
        Publisher {
            random,
            last: None,
            ..self.publisher
        }
    }

    fn step(&mut self) {
        let all: u32 = OPERATIONS.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.publisher.random.u32(..all);
        for (weight, operation) in OPERATIONS {
            match drawn.checked_sub(*weight) {
                Some(rest) => drawn = rest,
                None => return self.perform(*operation),
            }
        }
    }

    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Publish => self.publisher.publish(),
            Operation::Subscribe => self.subscribe(),
            Operation::Change => self.change(),
            Operation::Delete => self.delete(),
            Operation::Record => self.record(),
        }
    }

    /// Every other one is to be deleted later: its version is 0.
    fn subscribe(&mut self) {
        let version = u64::from(self.publisher.random.bool());
        let new = NewSubscription {
            application: self.publisher.application,
            uid: None,
            description: version.to_string(),
            endpoint: Endpoint {
                url: "https://example.com/hook".into(),
                secret: SecretKey::new(vec![1; 24]),
                old_secrets: Vec::new().into(),
                headers: Vec::new().into(),
                format: hooklog_storage::Format::Payload,
            },
            filter: Filter::default(),
            is_enabled: true,
            metadata: BTreeMap::new(),
            ordering: hooklog_storage::Ordering::None,
            policy: hooklog_storage::Policy::default(),
            start: None,
        };
        let made = self
            .runtime
            .block_on(self.publisher.log.create_subscription(new))
            .unwrap();
        say(&Acked::Subscription(made.id, version).to_string());
        if version == 0 {
            self.doomed.push(made.id);
        } else {
            self.kept.push((made.id, version));
        }
    }

    fn change(&mut self) {
        let Some(index) = self.any_kept() else { return };
        let (id, version) = self.kept[index];
        let text = (version + 1).to_string();
        let edit = self.publisher.log.update_subscription(id, move |value, _| {
            value.description = text.into();
            Ok(())
        });
        self.runtime.block_on(edit).unwrap();
        self.kept[index].1 = version + 1;
        say(&Acked::Subscription(id, version + 1).to_string());
    }

    fn delete(&mut self) {
        let Some(id) = self.doomed.pop() else { return };
        self.runtime
            .block_on(self.publisher.log.delete_subscription(id))
            .unwrap();
        say(&Acked::Deleted(id).to_string());
    }

    /// A failed attempt, its retry, and the cursor behind it.
    fn record(&mut self) {
        let (Some(index), Some(event)) = (self.any_kept(), self.publisher.last) else {
            return;
        };
        let (subscription, _) = self.kept[index];
        say(&Acked::Parked(subscription, event.offset()).to_string());
        let due = hooklog::storage::Timestamp::from(UNIX_EPOCH + Duration::from_hours(500_000));
        let attempt = NewAttempt {
            event,
            subscription,
            url: "https://example.com/hook".into(),
            number: 0,
            started: event.timestamp(),
            duration: Duration::from_millis(7),
            status_code: Some(500),
            response: "no".repeat(self.publisher.random.usize(..200)),
            outcome: Outcome::Retry(hooklog::storage::Retry::failed(1, due)),
            trigger: Trigger::Scheduled,
        };
        let cursor = Cursor {
            floor: event.offset().next(),
            settled: Vec::new(),
            state: CursorState::Behind,
        };
        let progress = vec![
            Progress::Attempt(attempt),
            Progress::Cursor(subscription, cursor),
        ];
        self.runtime
            .block_on(self.publisher.log.record(progress))
            .unwrap();
    }

    fn any_kept(&mut self) -> Option<usize> {
        let count = self.kept.len();
        (count > 0).then(|| self.publisher.random.usize(..count))
    }
}
