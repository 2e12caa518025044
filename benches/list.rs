//! Lists a million messages page by page over HTTP, and publishes while others list.
//!
//! `cargo bench --bench list -- --messages 1000000 --pages 200`; `--help` for more.
//!
//! A page costs the same wherever it is: the newest, those in the middle (in both directions) and the
//! oldest are each walked through for a while. Then connections publish alone and beside listers, in turns: what
//! listing takes of the processor it takes from the publishers too, so the same number of connections
//! that ask for nothing but `health` is the third side.
//!
//! **Invariant:** every page is full and follows the one before it; both ends share the machine.
//! **Next:** `bench/load.rs` of the library, the publishers; `README.md`, which records results.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and stops at the first thing that goes wrong"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use hooklog::bench::load::{self, Load, Target};
use hooklog::bench::payload::Payload;
use hooklog::server::token::Subject;
use hooklog::server::{DEFAULT_ORGANISATION, TokenKey};
use hooklog::storage::{ApplicationId, Event, NewApplication, Offset};
use hooklog::{Config, Service};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Pages of a long list, and what they cost the publishers.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Messages of the application.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Pages of 50 messages that are walked through at each place.
    #[arg(long, default_value_t = 200)]
    pages: usize,
    /// How long each side publishes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections that publish.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Connections that list meanwhile.
    #[arg(long, default_value_t = 4)]
    listers: usize,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Bytes of a payload, as in the other benchmarks.
const PAYLOAD_BYTES: usize = 512;
/// Events of a commit while the log is filled.
const AT_ONCE: u64 = 1024;
/// Messages of a page.
const PAGE: u64 = 50;
const LIST: &str = "/api/v1/app/bench/msg?limit=50";
/// What costs a request and nothing else.
const HEALTH: &str = "/api/v1/health";

fn main() {
    // Run by `cargo test --benches`, which gives no `--bench`: proves that it works, in a second.
    let mut args = Args::parse();
    if !args.bench {
        (args.messages, args.pages, args.seconds) = (10 * AT_ONCE, 5, 1);
    }
    let directory = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (servers, clients) = (runtime(), runtime());
    let key = TokenKey::new("the secret of the benchmark").unwrap();
    let mut config = Config::new(directory.path().join("data"), key);
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.listen = vec![hooklog::server::Address::Tcp(any_port)];
    let service = servers.block_on(Service::start(config)).expect("starts");
    let subject = Subject::Organisation(DEFAULT_ORGANISATION.parse().unwrap());
    let server = Server {
        address: service.local_addr().expect("TCP"),
        token: service.token(subject, Duration::from_hours(1)).unwrap(),
    };
    fill(&service, args.messages);
    clients.block_on(pages(&server, &service, &args));
    clients.block_on(publishers(&server, &args));
    servers.block_on(service.stop()).expect("stops");
}

/// Where to ask, and as whom.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    token: String,
}

/// What a page costs at each place of the list.
async fn pages(server: &Server, service: &Service, args: &Args) {
    let at = |offset| {
        let one = hooklog::storage::Limit { items: 1, bytes: 1 };
        let found = service.log().read(Offset::new(offset), one);
        let id = found.expect("a page").first().expect("a message").id;
        format!("{LIST}&iterator={id}")
    };
    let walked = u64::try_from(args.pages).expect("few") * PAGE;
    let places = [
        ("newest", "iterator", LIST.to_owned()),
        ("middle", "iterator", at(args.messages / 2)),
        ("back", "prevIterator", at(args.messages / 2)),
        ("oldest", "iterator", at(walked)),
    ];
    println!(
        "{:>8} {:>8} {:>8} {:>8}",
        "place", "pages", "p50 ms", "p99 ms"
    );
    for (name, next, path) in places {
        let mut times = walk(server, &path, next, args.pages).await;
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied();
        let ms = |percent| at(percent).unwrap_or_default().as_secs_f64() * 1e3;
        println!(
            "{name:>8} {:>8} {:>8.2} {:>8.2}",
            times.len(),
            ms(50),
            ms(99)
        );
    }
}

/// What publishers reach alone and beside those who ask.
async fn publishers(server: &Server, args: &Args) {
    let load = Load {
        connections: args.connections,
        time: Duration::from_secs(args.seconds),
        per_second: None,
    };
    let path = "/api/v1/app/bench/msg?with_content=false";
    let payloads = Payload::Bytes(PAYLOAD_BYTES).json().expect("payloads");
    let target = Target {
        address: server.address,
        path: path.to_owned(),
        token: server.token.clone(),
        payloads: Arc::new(payloads),
        event_types: vec!["bench.made".to_owned()],
        keys: false,
    };
    println!(
        "{:>8} {:>12} {:>8} {:>8} {:>10}",
        "beside", "publishes/s", "p50 ms", "p99 ms", "asked/s"
    );
    for (name, beside) in [
        ("nothing", None),
        ("health", Some(HEALTH)),
        ("lists", Some(LIST)),
    ] {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let mut askers = JoinSet::new();
        for path in std::iter::repeat_n(beside, args.listers).flatten() {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            let server = server.clone();
            askers.spawn(async move {
                let mut client = connect(server.address).await;
                while !stop.load(Ordering::Relaxed) {
                    get(&mut client, &server.token, path).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let done = load::run(load, target.clone()).await.expect("a run");
        stop.store(true, Ordering::Relaxed);
        askers.join_all().await;
        println!(
            "{name:>8} {:>12.0} {:>8.2} {:>8.2} {:>10}",
            done.per_second,
            done.latencies.milliseconds(0.5),
            done.latencies.milliseconds(0.99),
            asked.load(Ordering::Relaxed) / args.seconds
        );
    }
}

/// An application with so many messages.
fn fill(service: &Service, messages: u64) {
    let new = NewApplication {
        organisation: DEFAULT_ORGANISATION.parse().unwrap(),
        uid: Some("bench".parse().unwrap()),
        name: "bench".to_owned(),
        metadata: std::collections::BTreeMap::default(),
        policy: hooklog::storage::Policy::default(),
    };
    let log = service.log();
    let owner = log.create_application_blocking(new).unwrap().id;
    for first in (0..messages).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let events = (first..messages.min(first + AT_ONCE)).map(|number| event(owner, number));
        log.append_blocking(events.collect()).expect("an append");
    }
}

fn event(application: ApplicationId, number: u64) -> Event {
    let text = "x".repeat(PAYLOAD_BYTES - 40);
    Event {
        application,
        event_type: "bench.made".parse().unwrap(),
        channels: Vec::new(),
        uid: None,
        idempotency: None,
        content_type: "application/json".to_owned(),
        payload: format!(r#"{{"number":{number},"text":"{text}"}}"#).into(),
        tags: Vec::new(),
        ordering_key: None,
        headers: Vec::new(),
        only: None,
        deliver_at: None,
    }
}

/// The time of each page from one on, each but the first found by the field `next` of the one before.
async fn walk(server: &Server, first: &str, next: &str, pages: usize) -> Vec<Duration> {
    let mut client = connect(server.address).await;
    let (mut path, mut times) = (first.to_owned(), Vec::with_capacity(pages));
    while times.len() < pages {
        let start = Instant::now();
        let page = get(&mut client, &server.token, &path).await;
        times.push(start.elapsed());
        let page: Value = serde_json::from_slice(&page).expect("JSON");
        let count = page
            .get("data")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        assert_eq!(count as u64, PAGE, "a full page: {path}");
        let next = page.get(next).and_then(Value::as_str);
        path = format!("{LIST}&iterator={}", next.expect("an iterator"));
    }
    times
}

async fn connect(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connects");
    stream.set_nodelay(true).expect("an option");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("http");
    tokio::task::spawn(connection);
    sender
}

async fn get(client: &mut SendRequest<Empty<Bytes>>, token: &str, path: &str) -> Bytes {
    let request = Request::get(path)
        .header(HOST, "bench")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Empty::new())
        .expect("a request");
    client.ready().await.expect("is open");
    let response = client.send_request(request).await.expect("an answer");
    assert!(
        response.status().is_success(),
        "{path}: {}",
        response.status()
    );
    let body = response.into_body().collect().await.expect("a body");
    body.to_bytes()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
