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
//! **Next:** `isolation/endpoints.rs`, the receivers; `README.md`, which records results.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and stops at the first thing that goes wrong"
)]

use std::time::{Duration, Instant};

use clap::Parser;
use hooklog::dispatcher::{Config, Dispatcher};
use hooklog::storage::{
    ApplicationId, Endpoint, Event, EventLog, EventTypeName, NewApplication, NewSubscription,
    OrganisationId, SecretKey,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::endpoints::{Endpoints, Health, Latencies};

#[path = "isolation/endpoints.rs"]
mod endpoints;

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
    /// Per cent of the endpoints that accept a request and never answer it.
    #[arg(long, default_value_t = 10)]
    hang: usize,
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

/// A log, a dispatcher and endpoints.
struct World {
    name: &'static str,
    runtime: Runtime,
    log: EventLog,
    dispatcher: Dispatcher,
    endpoints: Endpoints,
    applications: Vec<ApplicationId>,
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
                part if part < args.hang => Health::Hangs,
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
        let mut applications = Vec::new();
        for number in 0..args.applications {
            let organisation = OrganisationId::from_bytes([1; 20]);
            let new = NewApplication::new(organisation, format!("{number}"));
            let id = log.create_application_blocking(new).unwrap().id;
            let endpoint = Endpoint::new(endpoints.url(number), SecretKey::new(vec![7; 24]));
            log.create_subscription_blocking(NewSubscription::new(id, endpoint))
                .unwrap();
            applications.push(id);
        }
        let config = Config {
            allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
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

    fn stop(self) {
        self.runtime
            .block_on(self.dispatcher.stop(Duration::from_secs(1)));
        self.log.close().unwrap();
        drop(self.endpoints);
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
