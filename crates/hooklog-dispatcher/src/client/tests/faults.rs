//! Attempts over a simulated network that delays, breaks and mends, from a seed; hosts that die.

use std::error::Error;
use std::sync::atomic::AtomicBool;

use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use super::*;
use crate::connect::{Dial, Dialling};
use crate::resolve::{Found, LookUp, LookingUp};

struct Network;

impl Dial for Network {
    fn dial(&self, address: std::net::SocketAddr) -> Dialling {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let peer = stream.peer_addr()?;
            Ok((Box::new(stream) as Box<dyn Stream>, peer))
        })
    }
}

struct Hosts;

impl LookUp for Hosts {
    fn look_up(&self, host: String) -> LookingUp {
        Box::pin(async move {
            Ok(Found {
                addresses: vec![turmoil::lookup(host.as_str())],
                ttl: Duration::from_mins(1),
            })
        })
    }
}

fn sender() -> Deliver {
    let config = Config {
        allow_networks: vec!["192.168.0.0/16".parse().unwrap()],
        attempt_timeout: LIMIT,
        ..Config::default()
    };
    let resolver = Arc::new(Resolver::new(Hosts));
    Deliver::over(&config, resolver, Arc::new(Network), RootCertStore::empty())
}

fn builder(seed: u64) -> turmoil::Builder {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(5))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(40))
        .simulation_duration(Duration::from_mins(30));
    builder
}

type Served = Result<(), Box<dyn Error>>;

/// Accepts connections and does this with each.
async fn accept<F>(serve: impl Fn(TcpStream) -> F) -> Served
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("0.0.0.0:80").await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(serve(stream));
    }
}

/// One attempt, and how long it took.
async fn timed(deliver: &Deliver) -> (Answer, Duration) {
    let begun = Instant::now();
    let answer = attempt(deliver, "http://server/").await;
    (answer, begun.elapsed())
}

#[test]
fn a_partition_ends_the_attempt_in_time_and_the_next_one_connects_anew() {
    let mut sim = builder(1).build();
    sim.host("server", || accept(|stream| http(stream, false, fine)));
    sim.client("sender", async {
        let deliver = sender();
        assert_eq!(timed(&deliver).await.0.status, Some(200));
        assert_eq!(deliver.client().pool().counts(), (1, 0, 1));
        // The connection looks alive, and nothing arrives any more.
        turmoil::partition("sender", "server");
        let (answer, took) = timed(&deliver).await;
        assert_eq!((answer.status, took), (None, LIMIT));
        assert_eq!(answer.response, "no answer within 10s");
        // Nor does a new one come about.
        assert_eq!(deliver.client().pool().counts(), (0, 0, 0));
        let (answer, took) = timed(&deliver).await;
        assert!(
            answer.status.is_none() && took <= LIMIT,
            "{}",
            answer.response
        );
        turmoil::repair("sender", "server");
        assert_eq!(timed(&deliver).await.0.status, Some(200));
        Ok(())
    });
    sim.run().unwrap();
}

/// The answer is lost although the event arrived: the receiver gets it again, never loses it.
#[test]
fn a_partition_of_the_way_back_is_a_failure() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let mut sim = builder(2).build();
    sim.host("server", move || {
        let counted = Arc::clone(&counted);
        accept(move |stream| {
            let counted = Arc::clone(&counted);
            http(stream, false, move |request| {
                counted.fetch_add(1, Ordering::Relaxed);
                fine(request)
            })
        })
    });
    sim.client("sender", async {
        let deliver = sender();
        assert_eq!(timed(&deliver).await.0.status, Some(200));
        turmoil::partition_oneway("server", "sender");
        let (answer, took) = timed(&deliver).await;
        assert_eq!((answer.status, took), (None, LIMIT));
        turmoil::repair_oneway("server", "sender");
        assert_eq!(timed(&deliver).await.0.status, Some(200));
        Ok(())
    });
    sim.run().unwrap();
    assert_eq!(served.load(Ordering::Relaxed), 3);
}

/// Runs until `when` is set, crashes the server, and mends all.
fn crash_when(sim: &mut Sim<'_>, when: &AtomicBool, unseen: bool) {
    while !when.load(Ordering::Relaxed) {
        assert!(!sim.step().unwrap(), "the client waits for the crash");
    }
    if unseen {
        sim.partition("sender", "server");
    }
    sim.crash("server");
    sim.bounce("server");
    if unseen {
        sim.repair("sender", "server");
    }
}

#[test]
fn a_receiver_that_dies_in_its_answer_has_the_event_if_its_head_said_so() {
    for (said, status) in [
        ("", None),
        ("HTTP/1.1 200 O", None),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc",
            Some(200),
        ),
        (
            "HTTP/1.1 500 No\r\ncontent-length: 1000\r\n\r\nabc",
            Some(500),
        ),
    ] {
        let mut sim = builder(3).build();
        let dying = Arc::new(AtomicBool::new(false));
        let (dies, dead) = (Arc::clone(&dying), Arc::clone(&dying));
        sim.host("server", move || {
            let dies = Arc::clone(&dies);
            accept(move |mut stream| {
                let dies = Arc::clone(&dies);
                async move {
                    if dies.load(Ordering::Relaxed) {
                        return http(stream, false, fine).await;
                    }
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).await;
                    let _ = stream.write_all(said.as_bytes()).await;
                    // Time for it to arrive.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    dies.store(true, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                }
            })
        });
        sim.client("sender", async move {
            let deliver = sender();
            let (answer, took) = timed(&deliver).await;
            assert_eq!(answer.status, status, "{}", answer.response);
            assert!(took <= LIMIT);
            // What is left of it is not used again.
            assert_eq!(deliver.client().pool().counts(), (0, 0, 0));
            assert_eq!(timed(&deliver).await.0.status, Some(200));
            Ok(())
        });
        crash_when(&mut sim, &dead, false);
        sim.run().unwrap();
    }
}

/// The receiver restarted while nothing could tell us, so our connection is half open.
#[test]
fn a_half_open_connection_costs_one_attempt_at_most() {
    let mut sim = builder(4).build();
    let (first, restarted) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (told, tells) = (Arc::clone(&restarted), Arc::clone(&first));
    sim.host("server", || accept(|stream| http(stream, false, fine)));
    sim.client("sender", async move {
        let deliver = sender();
        assert_eq!(timed(&deliver).await.0.status, Some(200));
        tells.store(true, Ordering::Relaxed);
        while !told.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (_, took) = timed(&deliver).await;
        assert!(took <= LIMIT);
        assert_eq!(timed(&deliver).await.0.status, Some(200));
        Ok(())
    });
    crash_when(&mut sim, &first, true);
    restarted.store(true, Ordering::Relaxed);
    sim.run().unwrap();
}

/// What became of attempts over links that break and mend at random.
fn trace(seed: u64) -> Vec<(u128, Option<u16>, String)> {
    let trace = Arc::new(Mutex::new(Vec::new()));
    let traced = Arc::clone(&trace);
    let mut sim = builder(seed).fail_rate(0.02).repair_rate(0.2).build();
    sim.host("server", || accept(|stream| http(stream, false, fine)));
    sim.client("sender", async move {
        let deliver = Arc::new(sender());
        let begun = Instant::now();
        for _ in 0..10 {
            let mut attempts = JoinSet::new();
            for _ in 0..3 {
                let deliver = Arc::clone(&deliver);
                attempts.spawn(async move { timed(&deliver).await });
            }
            while let Some(ended) = attempts.join_next().await {
                let (answer, took) = ended?;
                assert!(took <= LIMIT, "{took:?}");
                let at = begun.elapsed().as_millis();
                traced.lock().push((at, answer.status, answer.response));
            }
            let (idle, _, hosts) = deliver.client().pool().counts();
            assert!(idle <= 3 && hosts <= 1);
        }
        Ok(())
    });
    sim.run().unwrap();
    trace.lock().clone()
}

#[test]
fn whatever_the_network_does_attempts_end_and_the_same_seed_gives_the_same_trace() {
    let rounds = std::env::var("HOOKLOG_TEST_ROUNDS").ok();
    let rounds: u64 = rounds.and_then(|text| text.parse().ok()).unwrap_or(10);
    let (mut delivered, mut failed) = (0, 0);
    for seed in 0..rounds {
        let first = trace(seed);
        assert_eq!(first.len(), 30, "seed {seed}");
        assert_eq!(first, trace(seed), "seed {seed}");
        let good = first.iter().filter(|(_, status, _)| *status == Some(200));
        let good = good.count();
        delivered += good;
        failed += first.len() - good;
    }
    assert!(delivered > 0 && failed > 0, "{delivered} and {failed}");
}
