//! Whether endpoints that hang or fail delay the others: the time from publish to arrival at healthy
//! endpoints, beside the same with all of them healthy.
//!
//! `cargo bench --bench isolation -- --rate 1000 --rounds 10`; `--help` for more.
//!
//! Two worlds in one process, each with a log, a dispatcher and a runtime of its own: in one all
//! endpoints are healthy, in the other some are not. Events are published to them in turns, a few seconds
//! each, so that noise of the machine hits both.
//!
//! **Invariant:** publishing is an open loop: an event is due at its time, whatever became of those before
//! it, and its latency counts from then on. Each endpoint is a host of its own (an address of 127/8).
//! **Next:** `isolation/endpoints.rs`, the receivers, and `isolation/hanging.rs`, where they hang; `README.md`, which records results.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first thing that goes wrong"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Parser;
use hooklog::dispatcher::{Config, Dispatcher};
use hooklog::storage::{
    ApplicationId, AttemptSeq, AttemptsOf, Endpoint, Event, EventLog, EventTypeName, Limit,
    NewApplication, NewAttempt, NewSubscription, Order, OrganisationId, SecretKey, SubscriptionId,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::endpoints::{Endpoints, Health, Latencies};
use crate::hanging::Stage;

#[path = "isolation/endpoints.rs"]
mod endpoints;
#[path = "isolation/hanging.rs"]
mod hanging;

/// As the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A round that takes longer to arrive has come to a standstill.
const STALL: Duration = Duration::from_mins(1);

/// Isolation of endpoints from each other.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Applications, with one endpoint each.
    #[arg(long, default_value_t = 100)]
    applications: usize,
    /// Per cent of the endpoints that hang.
    #[arg(long, default_value_t = 10)]
    hang: usize,
    /// Where they hang.
    #[arg(long, value_enum, default_value_t = HangAt::Request)]
    hang_at: HangAt,
    /// Per cent that answer 500.
    #[arg(long, default_value_t = 10)]
    fail: usize,
    /// Events a second, of all applications in turns.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// How long each world has its turn.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How often both have one.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 512)]
    payload: usize,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Where endpoints hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum HangAt {
    /// They take the request and never answer.
    Request,
    /// Their name server never answers.
    Dns,
    /// Nobody accepts the connection or refuses it.
    Connect,
    /// They say nothing to the client's TLS hello.
    Tls,
    /// They answer 200, and the body never ends.
    Body,
    /// Each at one of these, in turns.
    All,
}

impl HangAt {
    fn stage(self, number: usize) -> Stage {
        match self {
            Self::Request => Stage::Request,
            Self::Dns => Stage::Dns,
            Self::Connect => Stage::Connect,
            Self::Tls => Stage::Tls,
            Self::Body => Stage::Body,
            Self::All => *Stage::ALL.get(number % Stage::ALL.len()).unwrap(),
        }
    }
}

/// A log, a dispatcher and endpoints.
struct World {
    name: &'static str,
    runtime: Runtime,
    log: EventLog,
    dispatcher: Dispatcher,
    endpoints: Endpoints,
    applications: Vec<ApplicationId>,
    subscriptions: Vec<SubscriptionId>,
    _scratch: tempfile::TempDir,
}

fn main() {
    let mut args = Args::parse();
    // Run by `cargo test --benches`, which gives no `--bench`: proves that it works, in a second.
    if !args.bench {
        (args.seconds, args.rounds, args.rate) = (1, 1, 200);
    }
    let worlds = [
        World::new("all healthy", &args, |_| Health::Good),
        World::new("some broken", &args, |number| {
            match number * 100 / args.applications % 100 {
                part if part < args.hang => Health::Hangs(args.hang_at.stage(number)),
                part if part < args.hang + args.fail => Health::Fails,
                _ => Health::Good,
            }
        }),
    ];
    let mut sums = worlds.each_ref().map(|_| Latencies::new());
    let mut ratios = Vec::new();
    // The first round opens connections and breakers, and counts for nothing.
    for round in 0..=args.rounds {
        let found = worlds.each_ref().map(|world| world.turn(&args));
        if round == 0 {
            continue;
        }
        for ((world, latencies), sum) in worlds.iter().zip(&found).zip(&mut sums) {
            print(round, world.name, latencies);
            sum.add(latencies);
        }
        let [healthy, broken] = &found;
        ratios.push(broken.p99() / healthy.p99());
    }
    println!("all rounds:");
    for (world, sum) in worlds.iter().zip(&sums) {
        print(args.rounds, world.name, sum);
    }
    let [healthy, broken] = &sums;
    ratios.sort_by(f64::total_cmp);
    println!(
        "p99 of healthy endpoints, some broken ÷ all healthy: {:.2} of all rounds, {:.2} median of rounds",
        broken.p99() / healthy.p99(),
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN),
    );
    // A second is less than any attempt that hangs takes.
    if args.bench {
        let [_, broken] = &worlds;
        broken.prove_that_they_hang();
    }
    for world in worlds {
        world.stop();
    }
}

fn print(round: usize, name: &str, latencies: &Latencies) {
    println!(
        "{round:>5} {name:>12} {:>8} arrivals, p50 {:>7.2} ms, p99 {:>7.2} ms, max {:>7.2} ms",
        latencies.count(),
        latencies.p50(),
        latencies.p99(),
        latencies.max(),
    );
}

impl World {
    fn new(name: &'static str, args: &Args, health: impl Fn(usize) -> Health) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let scratch = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("scratch");
        let log = EventLog::open(hooklog::storage::Config::new(scratch.path())).unwrap();
        let health = (0..args.applications).map(health).collect();
        let endpoints = runtime.block_on(Endpoints::start(health));
        let (mut applications, mut subscriptions) = (Vec::new(), Vec::new());
        for number in 0..args.applications {
            let organisation = OrganisationId::from_bytes([1; 20]);
            let new = NewApplication::new(organisation, format!("{number}"));
            let id = log.create_application_blocking(new).unwrap().id;
            let endpoint = Endpoint::new(endpoints.url(number), SecretKey::new(vec![7; 24]));
            let new = NewSubscription::new(id, endpoint);
            subscriptions.push(log.create_subscription_blocking(new).unwrap().id);
            applications.push(id);
        }
        let config = Config {
            allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
            name_servers: vec![endpoints.hanging.name_server],
            ..Config::default()
        };
        let dispatcher = runtime
            .block_on(Dispatcher::start(log.clone(), config))
            .unwrap();
        Self {
            name,
            runtime,
            log,
            dispatcher,
            endpoints,
            applications,
            subscriptions,
            _scratch: scratch,
        }
    }

    /// Publishes for a while, and waits until all has arrived at whoever is healthy.
    fn turn(&self, args: &Args) -> Latencies {
        let count = u64::from(args.rate) * args.seconds;
        let every = Duration::from_secs(1) / args.rate;
        let event_type: EventTypeName = "bench.event".parse().unwrap();
        self.runtime.block_on(async {
            let begun = Instant::now();
            let arrivals = self.endpoints.expect(begun);
            let mut publishing = JoinSet::new();
            let mut healthy = 0;
            for number in 0..count {
                let due = every * u32::try_from(number).unwrap();
                tokio::time::sleep_until((begun + due).into()).await;
                let turn = usize::try_from(number).unwrap() % self.applications.len();
                healthy += usize::from(self.endpoints.is_good(turn));
                let application = *self.applications.get(turn).unwrap();
                let payload = endpoints::payload(due, args.payload);
                let event = Event::new(application, event_type.clone(), payload);
                let log = self.log.clone();
                publishing.spawn(async move { log.append(vec![event]).await.map(|_| ()) });
                while let Some(done) = publishing.try_join_next() {
                    done.unwrap().unwrap();
                }
            }
            while let Some(done) = publishing.join_next().await {
                done.unwrap().unwrap();
            }
            tokio::time::timeout(STALL, arrivals.until(healthy))
                .await
                .expect("all arrive")
        })
    }

    /// Each endpoint that hangs has an attempt on record that was stuck where it should be, and none
    /// that ended otherwise.
    fn prove_that_they_hang(&self) {
        let mut seen: BTreeMap<Stage, (usize, String)> = BTreeMap::new();
        for (number, subscription) in self.subscriptions.iter().enumerate() {
            let Some(Health::Hangs(stage)) = self.endpoints.health(number) else {
                continue;
            };
            let deadline = Instant::now() + STALL;
            let attempts = loop {
                let attempts = self.attempts(*subscription);
                if !attempts.is_empty() {
                    break attempts;
                }
                assert!(Instant::now() < deadline, "an attempt at {stage:?} ends");
                self.runtime
                    .block_on(tokio::time::sleep(Duration::from_millis(100)));
            };
            for attempt in attempts {
                assert!(stage.explains(&attempt), "{stage:?}: {attempt:?}");
                let (count, said) = seen.entry(stage).or_default();
                *count += 1;
                *said = attempt.response;
            }
        }
        let (asked, greeted) = self.endpoints.hanging.counts();
        assert!(
            asked > 0 || !seen.contains_key(&Stage::Dns),
            "names are asked for"
        );
        assert!(
            greeted > 0 || !seen.contains_key(&Stage::Tls),
            "TLS is begun"
        );
        for (stage, (count, said)) in seen {
            println!("hung at {stage:?}: {count} attempts on record, the last one {said:?}");
        }
    }

    /// The first attempts of a subscription.
    fn attempts(&self, of: SubscriptionId) -> Vec<NewAttempt> {
        let limit = Limit {
            items: 1000,
            bytes: 1 << 20,
        };
        let range = AttemptSeq::ZERO..AttemptSeq::MAX;
        let of = AttemptsOf::Subscription(of);
        let page = self.log.attempts(of, range, Order::Ascending, limit);
        let attempts = page.unwrap().attempts.into_iter();
        attempts.map(|found| found.attempt).collect()
    }

    fn stop(self) {
        self.runtime
            .block_on(self.dispatcher.stop(Duration::from_secs(1)));
        self.log.close().unwrap();
        drop(self.endpoints);
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
