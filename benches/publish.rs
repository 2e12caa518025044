//! Publishes over HTTP, each durable before its 202, beside the limit in the same run.
//!
//! `cargo bench --bench publish -- --seconds 5 --rounds 3 --connections 64`; `--help` for more.
//!
//! The limit is a bare hyper server whose handler does one thing: it hands the body to a thread that
//! appends what is waiting to a plain file and makes it durable by one `fdatasync` before it answers.
//! Load generator and server share the machine on both sides, each in a runtime of its own.
//!
//! **Invariant:** a connection sends its next event when the last one is answered, on both sides, and
//! sides take turns, so that noise of the machine hits both.
//! **Next:** `bench/limit/http.rs` and `bench/load.rs` of the library; `README.md`, which records results.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and stops at the first thing that goes wrong"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use hooklog::bench::limit::http::{Limit, Store};
use hooklog::bench::load::{self, Load, Target};
use hooklog::bench::payload::Payload;
use hooklog::server::token::Subject;
use hooklog::server::{DEFAULT_ORGANISATION, TokenKey};
use hooklog::{Config, Service};
use tokio::runtime::{Builder, Runtime};

/// As the binary, on both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Durable publishes over HTTP, and the least that they can cost.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How long each side runs in a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often the sides take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Keep-alive connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 512)]
    payload: usize,
    /// Publishes with an idempotency key each, as SDKs do.
    #[arg(long)]
    keys: bool,
    /// One side only, for a profiler.
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    Limit,
    Log,
}

fn main() {
    // Run by `cargo test --benches`, which gives no `--bench`: proves that it works, in a second.
    let mut args = Args::parse();
    if !args.bench {
        (args.seconds, args.rounds, args.connections) = (1, 1, 8);
    }
    let clients = runtime();
    let mut ratios = Vec::new();
    println!(
        "{:>5} {:>6} {:>12} {:>9} {:>9}",
        "round", "side", "publishes/s", "p50 ms", "p99 ms"
    );
    for round in 1..=args.rounds {
        let run = |side| run(side, &args, &clients, round);
        let limit = (args.only != Some(Side::Log)).then(|| run(Side::Limit));
        let log = (args.only != Some(Side::Limit)).then(|| run(Side::Log));
        if let (Some(limit), Some(log)) = (limit, log) {
            println!("{round:>5} {:>6} {:>12.2}", "ratio", log / limit);
            ratios.push(log / limit);
        }
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!(
            "median ratio {median:.2}, {} connections, {} B",
            args.connections, args.payload
        );
    }
}

/// One side for its time; says how many publishes a second it took.
fn run(side: Side, args: &Args, clients: &Runtime, round: usize) -> f64 {
    let directory = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let servers = runtime();
    let load = Load {
        connections: args.connections,
        time: Duration::from_secs(args.seconds),
        per_second: None,
    };
    let payloads = Arc::new(Payload::Bytes(args.payload).json().expect("payloads"));
    let target = |address, path: &str, token: String| Target {
        address,
        path: path.to_owned(),
        token,
        payloads,
        event_types: vec!["bench.made".to_owned()],
        keys: args.keys,
    };
    let (done, name) = match side {
        Side::Limit => {
            let store = Store::File {
                directory: directory.path().to_owned(),
                sync: true,
            };
            let limit = servers.block_on(Limit::start(store)).expect("starts");
            let target = target(limit.address, "/publish", "none".to_owned());
            (clients.block_on(load::run(load, target)), "limit")
        }
        Side::Log => {
            let key = TokenKey::new("the secret of the benchmark").unwrap();
            let mut config = Config::new(directory.path().join("data"), key);
            let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            config.listen = vec![hooklog::server::Address::Tcp(any_port)];
            let service = servers.block_on(Service::start(config)).expect("starts");
            let subject = Subject::Organisation(DEFAULT_ORGANISATION.parse().unwrap());
            let token = service.token(subject, Duration::from_hours(1)).unwrap();
            let application = hooklog::storage::NewApplication {
                organisation: DEFAULT_ORGANISATION.parse().unwrap(),
                uid: Some("bench".parse().unwrap()),
                name: "bench".to_owned(),
                metadata: std::collections::BTreeMap::default(),
                policy: hooklog::storage::Policy::default(),
            };
            service
                .log()
                .create_application_blocking(application)
                .unwrap();
            let path = "/api/v1/app/bench/msg?with_content=false";
            let target = target(service.local_addr().expect("TCP"), path, token);
            let done = clients.block_on(load::run(load, target));
            servers.block_on(service.stop()).expect("stops");
            (done, "log")
        }
    };
    let done = done.expect("a run");
    servers.shutdown_timeout(Duration::from_secs(1));
    println!(
        "{round:>5} {name:>6} {:>12.0} {:>9.2} {:>9.2}",
        done.per_second,
        done.latencies.milliseconds(0.5),
        done.latencies.milliseconds(0.99)
    );
    done.per_second
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
