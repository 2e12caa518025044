//! One process with one log: creates subscriptions, opens them again, or sends to one of them.
//!
//! **Invariant:** it prints a name and a number a line, and nothing else.
//! **Next:** `../subscriptions.rs`, which reads them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hooklog::dispatcher::{Config, Dispatcher};
use hooklog::storage::{
    ApplicationId, Endpoint, Event, EventLog, EventTypeName, Filter, NewApplication,
    NewSubscription, OrganisationId, SecretKey, Subscription,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::{Args, float};
use hooklog::bench::measure::{Memory, Usage};
use hooklog::bench::sink::{Manner, Sink};

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Phase {
    Create,
    Open,
    Rate,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Rate => "rate",
        }
    }
}

/// The type that one subscription alone takes.
const MEASURED: &str = "bench.measured";
/// Calls of the log under way while subscriptions are created.
const AT_ONCE: usize = 256;
/// Events under way while the rate is measured.
const PUBLISHERS: usize = 64;
/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 512;
/// What is published before the clock starts.
const WARM: Duration = Duration::from_millis(500);
/// Events between the start and the first look at the memory, and then the second, ten a second.
/// Between the two, threads end that only the start needed (the runtime keeps idle ones for 10 s),
/// upon which the allocator gives back what they left free.
const SOON_EVENTS: usize = 30;
const SETTLE_EVENTS: usize = 120;
/// A run that takes longer has come to a standstill.
const STALL: Duration = Duration::from_mins(1);

pub(crate) fn run(phase: Phase, directory: &Path, args: &Args) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    match phase {
        Phase::Create => create(&runtime, directory, args),
        Phase::Open => open(&runtime, directory),
        Phase::Rate => rate(&runtime, directory, Duration::from_secs(args.seconds)),
    }
}

fn organisation() -> OrganisationId {
    OrganisationId::from_bytes([1; 20])
}

/// Creates all subscriptions, and waits to be killed.
fn create(runtime: &Runtime, directory: &Path, args: &Args) {
    let log = EventLog::open(hooklog::storage::Config::new(directory)).unwrap();
    let per_application = args.per_application.unwrap_or(1);
    let count = args.subscriptions;
    let begun = Instant::now();
    runtime.block_on(async {
        let mut creating = JoinSet::new();
        for application in 0..count.div_ceil(per_application) {
            let numbers =
                application * per_application..((application + 1) * per_application).min(count);
            let log = log.clone();
            creating.spawn(async move {
                let new = NewApplication {
                    uid: Some(format!("customer-{application:08}").parse().unwrap()),
                    ..NewApplication::new(organisation(), format!("Customer {application}"))
                };
                let id = log.create_application(new).await.unwrap().id;
                for number in numbers {
                    log.create_subscription(subscription(id, number))
                        .await
                        .unwrap();
                }
            });
            while creating.len() >= AT_ONCE {
                creating.join_next().await.unwrap().unwrap();
            }
        }
        while let Some(done) = creating.join_next().await {
            done.unwrap();
        }
    });
    println!("rate {}", float(count) / begun.elapsed().as_secs_f64());
    println!("kill 1");
    loop {
        std::thread::park();
    }
}

/// A subscription as customers make them.
fn subscription(application: ApplicationId, number: usize) -> NewSubscription {
    let kinds = ["created", "updated", "deleted", "failed", "completed"];
    let things = ["invoice", "customer", "subscription", "payment", "refund"];
    let types = (0..3).map(|turn| {
        let kind = kinds.get((number + turn) % kinds.len()).unwrap();
        let thing = things.get(number / kinds.len() % things.len()).unwrap();
        format!("{thing}.{kind}").parse().unwrap()
    });
    let types = match number {
        0 => vec![MEASURED.parse().unwrap()],
        _ => types.collect(),
    };
    let url = format!("https://hooks.customer-{number}.example.com/webhooks/hooklog/{number:08x}");
    let mut key = [0; 24];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::try_from((number >> (at % 3 * 8)) & 0xff).unwrap();
    }
    NewSubscription {
        uid: Some(format!("endpoint-{number:08}").parse().unwrap()),
        description: "Production".to_owned(),
        filter: Filter {
            event_types: Some(types),
            ..Filter::default()
        },
        ..NewSubscription::new(
            application,
            Endpoint::new(url, SecretKey::new(key.to_vec())),
        )
    }
}

/// Opens the log, starts the dispatcher and delivers an event; tells how long it took, and the memory.
fn open(runtime: &Runtime, directory: &Path) {
    let begun = Instant::now();
    let log = EventLog::open(hooklog::storage::Config::new(directory)).unwrap();
    let opened = begun.elapsed();
    println!("rss_open {}", resident());
    runtime.block_on(async {
        let dispatcher = Dispatcher::start(log.clone(), config()).await.unwrap();
        let sink = Sink::start(Manner::Take).await.expect("a sink");
        let application = aim(&log, &sink).await;
        log.append(vec![event(application)]).await.unwrap();
        tokio::time::timeout(STALL, sink.until(1))
            .await
            .expect("a delivery");
        let total = begun.elapsed();
        println!("open {}", opened.as_secs_f64());
        println!("dispatcher {}", total.saturating_sub(opened).as_secs_f64());
        println!("total {}", total.as_secs_f64());
        // The barrier and whatever else comes with it have passed by then. The allocator gives back
        // what the start needed only while something goes on, so there is a little traffic.
        for (name, events) in [("rss_soon", SOON_EVENTS), ("rss", SETTLE_EVENTS)] {
            for _ in 0..events {
                tokio::time::sleep(Duration::from_millis(100)).await;
                log.append(vec![event(application)]).await.unwrap();
            }
            println!("{name} {}", resident());
        }
        dispatcher.stop(Duration::from_secs(10)).await;
    });
    log.close().unwrap();
}

/// Events published and delivered a second.
fn rate(runtime: &Runtime, directory: &Path, time: Duration) {
    let log = EventLog::open(hooklog::storage::Config::new(directory)).unwrap();
    runtime.block_on(async {
        let dispatcher = Dispatcher::start(log.clone(), config()).await.unwrap();
        let sink = Arc::new(Sink::start(Manner::Take).await.expect("a sink"));
        let application = aim(&log, &sink).await;
        let published = Arc::new(AtomicUsize::new(0));
        let mut publishing = JoinSet::new();
        for _ in 0..PUBLISHERS {
            let (log, published) = (log.clone(), Arc::clone(&published));
            let sink = Arc::clone(&sink);
            publishing.spawn(async move {
                loop {
                    log.append(vec![event(application)]).await.unwrap();
                    published.fetch_add(1, Ordering::Relaxed);
                    // Neither side runs away from the other: what is measured is the whole way.
                    while published.load(Ordering::Relaxed) > arrived(&sink) + 4 * PUBLISHERS {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            });
        }
        tokio::time::sleep(WARM).await;
        let (before, begun, used) = (arrived(&sink), Instant::now(), Usage::own().expect("/proc"));
        tokio::time::sleep(time).await;
        let (count, took) = (arrived(&sink) - before, begun.elapsed());
        let used = Usage::own().expect("/proc").since(&used);
        publishing.shutdown().await;
        println!("rate {}", float(count) / took.as_secs_f64());
        println!("cpu {}", (used.user + used.system) * 1e6 / float(count));
        dispatcher.stop(Duration::from_secs(10)).await;
    });
    log.close().unwrap();
}

fn config() -> Config {
    Config {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        lane_concurrency: PUBLISHERS,
        ..Config::default()
    }
}

/// Lets the measured subscription go to the sink; returns its application.
async fn aim(log: &EventLog, sink: &Sink) -> ApplicationId {
    let wanted: EventTypeName = MEASURED.parse().unwrap();
    let measured = {
        let registry = log.registry();
        let takes = |value: &&Arc<Subscription>| {
            let types = value.filter.event_types.as_ref();
            types.is_some_and(|types| types.contains(&wanted))
        };
        Arc::clone(registry.all_subscriptions().find(takes).unwrap())
    };
    let url: Arc<str> = format!("http://{}/hook", sink.address).into();
    let edit = move |value: &mut Subscription, _| {
        value.endpoint.url = url;
        Ok(())
    };
    log.update_subscription(measured.id, edit).await.unwrap();
    measured.application
}

fn event(application: ApplicationId) -> Event {
    let payload = "x".repeat(PAYLOAD_BYTES);
    Event::new(application, MEASURED.parse().unwrap(), payload)
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    Memory::own().map_or(0, |memory| memory.now)
}

/// How many deliveries the sink has taken.
fn arrived(sink: &Sink) -> usize {
    usize::try_from(sink.count()).expect("fits")
}
