//! How fast a backlog drains: deliveries a second of the dispatcher beside a raw hyper client that does
//! nothing but sign and send, to the same sink in the same run.
//!
//! `cargo bench --bench deliver -- --events 200000 --connections 64`; `--help` for more.
//!
//! The limit runs before and after, half of its time each, so that noise of the machine hits both.
//!
//! **Invariant:** both sides send the same number of bytes in the body, signed with HMAC-SHA256, over as
//! many connections, and wait for each answer; ours has every attempt on record when its clock stops.
//! **Next:** `bench/sink.rs` and `bench/limit/client.rs` of the library.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first thing that goes wrong"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use clap::Parser;
use hooklog::bench::latency::float;
use hooklog::bench::limit::client::{self, KEY};
use hooklog::bench::measure::Usage;
use hooklog::bench::sink::{Manner, Sink};
use hooklog::dispatcher::{Config, Dispatcher};
use hooklog::storage::{
    ApplicationId, AttemptSeq, AttemptsOf, Endpoint, EventLog, Limit, NewApplication, NewAttempt,
    NewSubscription, Order, OrganisationId, Outcome, Policy, SecretKey,
};

use crate::events::Events;
use crate::payload::Kind;

#[path = "common/events.rs"]
mod events;
#[path = "common/payload.rs"]
mod payload;

/// As the binary, on both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A run that takes longer has come to a standstill.
const STALL: Duration = Duration::from_mins(2);
/// Events of one append.
const BATCH: usize = 1024;

/// A backlog drained to one sink, beside a raw client.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Events of the backlog.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Bytes of a random payload, or json, json512.
    #[arg(long, default_value = "1024")]
    payload: Kind,
    /// Connections: of the limit, and attempts in flight of each endpoint.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Endpoints that each get every event; all have the same sink.
    #[arg(long, default_value_t = 1)]
    endpoints: usize,
    /// How long the limit runs in all.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// How often both sides run.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leaves the limit out, for a profiler.
    #[arg(long)]
    no_limit: bool,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let mut args = Args::parse();
    // Run by `cargo test --benches`, which gives no `--bench`: proves that it works, in a second.
    if !args.bench {
        (args.events, args.seconds, args.rounds) = (2000, 1, 1);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut ratios = Vec::new();
    for round in 0..args.rounds {
        let half = Duration::from_secs(args.seconds) / 2;
        let mut limits = Vec::new();
        let mut run_limit = || {
            if !args.no_limit {
                let before = Usage::own().unwrap_or_default();
                let (sent, rate) = runtime.block_on(limit(&args, half)).unwrap();
                let used = Usage::own().unwrap_or_default().since(&before);
                print_cpu("raw client", sent, &used);
                limits.push(rate);
            }
        };
        run_limit();
        let ours = drain(&runtime, &args);
        run_limit();
        let limit = limits.iter().sum::<f64>() / float(limits.len().max(1) as u64);
        ratios.push(ours / limit);
        println!(
            "round {round}: {ours:.0} deliveries/s, raw client {limit:.0}/s {limits:.0?}, ratio {:.2}",
            ours / limit
        );
    }
    ratios.sort_by(f64::total_cmp);
    if let (Some(median), false) = (ratios.get(ratios.len() / 2), args.no_limit) {
        println!("median ratio {median:.2}");
    }
}

/// Deliveries and deliveries a second of raw connections, to a sink of the same kind.
async fn limit(args: &Args, time: Duration) -> anyhow::Result<(u64, f64)> {
    let sink = Sink::start(Manner::Take).await?;
    let payloads = payload::payloads(args.payload).into_iter();
    let payloads = payloads.map(|(_, payload)| payload).collect();
    client::run(sink.address, args.connections, payloads, time).await
}

/// Deliveries a second of a dispatcher that starts before a backlog.
fn drain(runtime: &tokio::runtime::Runtime, args: &Args) -> f64 {
    let scratch = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("scratch");
    let log = EventLog::open(hooklog::storage::Config::new(scratch.path())).unwrap();
    let sink = runtime.block_on(Sink::start(Manner::Take)).unwrap();
    let new = NewApplication {
        organisation: OrganisationId::from_bytes([1; 20]),
        uid: None,
        name: "bench".to_owned(),
        metadata: BTreeMap::new(),
        policy: Policy::default(),
    };
    let application = log.create_application_blocking(new).unwrap().id;
    for number in 0..args.endpoints {
        let url = format!("http://{}/{number}", sink.address);
        let endpoint = Endpoint::new(url, SecretKey::new(KEY.to_vec()));
        let new = NewSubscription::new(application, endpoint);
        log.create_subscription_blocking(new).unwrap();
    }
    let mut events = Events::new(&payload::payloads(args.payload), 1);
    for from in (0..args.events).step_by(BATCH) {
        let mut batch = events.take(BATCH.min(args.events - from));
        for event in &mut batch {
            event.application = application;
        }
        log.append_blocking(batch).unwrap();
    }
    let config = Config {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        lane_concurrency: args.connections,
        ..Config::default()
    };
    let deliveries = (args.events * args.endpoints) as u64;
    let before = Usage::own().unwrap_or_default();
    let begun = Instant::now();
    let took = runtime.block_on(async {
        let dispatcher = Dispatcher::start(log.clone(), config).await.unwrap();
        let arrived = tokio::time::timeout(STALL, sink.until(deliveries)).await;
        if arrived.is_err() {
            let reasons = failures(&log, application);
            panic!(
                "{} of {deliveries} arrived in {STALL:?}: {reasons:?}",
                sink.count()
            );
        }
        // Records the last outcomes and all cursors.
        dispatcher.stop(Duration::from_secs(10)).await;
        begun.elapsed()
    });
    let used = Usage::own().unwrap_or_default().since(&before);
    assert_eq!(sink.count(), deliveries, "each once");
    let attempts = recorded(&log, application);
    assert_eq!(attempts, deliveries, "each attempt is on record");
    log.close().unwrap();
    println!("  {deliveries} deliveries in {:.2} s", took.as_secs_f64());
    print_cpu("ours", deliveries, &used);
    let each = 1e6 / float(deliveries);
    let mut threads: Vec<_> = used.threads.into_iter().collect();
    threads.sort_by(|a, b| b.1.total_cmp(&a.1));
    for ((_, name), seconds) in threads.into_iter().take(6) {
        println!("    {name:16} {:.1} µs", seconds * each);
    }
    float(deliveries) / took.as_secs_f64()
}

/// The CPU time of one delivery, the sink's part included: it tells more than a rate where other programs
/// take turns with this one.
fn print_cpu(who: &str, deliveries: u64, used: &Usage) {
    let each = 1e6 / float(deliveries);
    let (user, system) = (used.user * each, used.system * each);
    println!("  CPU of one delivery, {who}: {user:.1} µs user, {system:.1} µs system");
}

/// What attempts that did not deliver have got, each once.
fn failures(log: &EventLog, application: ApplicationId) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    attempts(log, application, |attempt| {
        if attempt.outcome != Outcome::Delivered {
            reasons.insert(attempt.response.clone());
        }
    });
    reasons
}

/// Attempts on record.
fn recorded(log: &EventLog, application: ApplicationId) -> u64 {
    let mut count = 0;
    attempts(log, application, |_| count += 1);
    count
}

/// Looks at all attempts on record.
fn attempts(log: &EventLog, application: ApplicationId, mut look: impl FnMut(&NewAttempt)) {
    let ids: Vec<_> = {
        let registry = log.registry();
        let range = (Bound::Unbounded, Bound::Unbounded);
        registry
            .subscriptions(application, range)
            .map(|s| s.id)
            .collect()
    };
    for id in ids {
        let mut range = AttemptSeq::ZERO..AttemptSeq::MAX;
        while !range.is_empty() {
            let limit = Limit {
                items: 10_000,
                bytes: 8 << 20,
            };
            let of = AttemptsOf::Subscription(id);
            let page = log.attempts(of, range, Order::Ascending, limit).unwrap();
            for found in &page.attempts {
                look(&found.attempt);
            }
            range = page.rest;
        }
    }
}
