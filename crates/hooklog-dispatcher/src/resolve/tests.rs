//! Tests of the bounds and of what is kept, with lookups that hang until the test lets them go.

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::*;
use crate::testing::application;

/// Names that start with `slow` hang until the gate opens; all are counted.
struct Names {
    gate: watch::Receiver<bool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl LookUp for Names {
    fn look_up(&self, host: String) -> LookingUp {
        self.asked.lock().push(host.clone());
        let mut gate = self.gate.clone();
        Box::pin(async move {
            if host.starts_with("slow") {
                gate.wait_for(|open| *open)
                    .await
                    .map_err(io::Error::other)?;
            }
            if host.starts_with("unknown") {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no such name"));
            }
            // The first label says how many seconds it holds.
            let ttl = host.split('.').next().and_then(|label| label.parse().ok());
            Ok(Found {
                addresses: vec![IpAddr::from([192, 0, 2, 1]); 70],
                ttl: Duration::from_secs(ttl.unwrap_or(60)),
            })
        })
    }
}

struct World {
    resolver: Resolver,
    gate: watch::Sender<bool>,
    asked: Arc<Mutex<Vec<String>>>,
    /// What hangs.
    waiting: Vec<Resolving>,
}

impl World {
    fn new() -> Self {
        let (gate, opened) = watch::channel(false);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let names = Names {
            gate: opened,
            asked: Arc::clone(&asked),
        };
        Self {
            resolver: Resolver::new(names),
            gate,
            asked,
            waiting: Vec::new(),
        }
    }

    /// Asks, and stays waiting.
    fn wait(&mut self, number: u8, host: String) {
        let mut resolving = self.resolver.resolve(application(number), host, 80);
        assert!(resolving.as_mut().now_or_never().is_none());
        self.waiting.push(resolving);
    }

    fn running(&self) -> usize {
        self.resolver.lookups.state.lock().running
    }

    fn asked(&self, start: &str) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|host| host.starts_with(start)).count()
    }

    /// Whether it is found without any wait.
    fn found(&self, number: u8, host: &str) -> bool {
        let resolving = self
            .resolver
            .resolve(application(number), host.to_owned(), 443);
        let Some(found) = resolving.now_or_never() else {
            return false;
        };
        let found = found.unwrap();
        found.len() == ADDRESSES_MAX && found[0] == "192.0.2.1:443".parse().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn slow_names_delay_nobody_else() {
    let mut world = World::new();
    world.wait(1, "slow.test".to_owned());
    // Not even others of the same application.
    assert!(world.found(1, "good.test"));
    for number in 0..100 {
        world.wait(1, format!("slow-{number}.test"));
    }
    assert_eq!(world.running(), PER_APPLICATION);
    assert!(world.found(2, "other.test"));
    // Its share is taken by its own names.
    world.wait(1, "third.test".to_owned());
    assert_eq!(world.asked("third"), 0);
    // What is given up gives its place back, and the next one takes it.
    let third = world.waiting.pop().unwrap();
    world.waiting.clear();
    assert_eq!(world.running(), 0);
    assert_eq!(third.await.unwrap().len(), ADDRESSES_MAX);
}

#[tokio::test(start_paused = true)]
async fn one_name_cannot_take_the_places_of_others() {
    let mut world = World::new();
    for number in 0..100 {
        world.wait(number, "slow.test".to_owned());
    }
    assert_eq!(world.running(), PER_NAME);
    assert!(world.found(1, "good.test"));
    world.gate.send(true).unwrap();
    // All who still wait are served by what one of them found.
    for resolving in std::mem::take(&mut world.waiting) {
        assert_eq!(resolving.await.unwrap().len(), ADDRESSES_MAX);
    }
    assert_eq!(world.asked("slow"), PER_NAME);
}

#[tokio::test(start_paused = true)]
async fn all_lookups_together_are_bounded_and_forgotten_when_they_end() {
    let mut world = World::new();
    for number in 0..=255 {
        world.wait(number, format!("slow-{number}.test"));
        world.wait(number, format!("slow-again-{number}.test"));
    }
    assert_eq!(world.running(), RUNNING_MAX);
    world.gate.send(true).unwrap();
    for resolving in std::mem::take(&mut world.waiting) {
        resolving.await.unwrap();
    }
    let state = world.resolver.lookups.state.lock();
    assert_eq!(state.running, 0);
    assert!(state.applications.is_empty() && state.names.is_empty());
}

#[tokio::test(start_paused = true)]
async fn addresses_are_kept_for_their_time_to_live_within_limits() {
    // What the owner says, and for how many seconds it is kept.
    for (ttl, kept) in [(0, 5), (4, 5), (60, 60), (86_400, 300)] {
        let world = World::new();
        let host = format!("{ttl}.test");
        assert!(world.found(1, &host));
        tokio::time::advance(Duration::from_millis(kept * 1000 - 1)).await;
        // For other applications too: an address is no secret.
        assert!(world.found(2, &host));
        assert_eq!(world.asked(&host), 1, "{ttl}");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(world.found(1, &host));
        assert_eq!(world.asked(&host), 2, "{ttl}");
    }
    let world = World::new();
    for asked in [1, 1, 2] {
        let resolving = world
            .resolver
            .resolve(application(1), "unknown.test".to_owned(), 80);
        let error = resolving.await.unwrap_err();
        assert_eq!(error.to_string(), "no such name");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(world.asked("unknown"), asked);
        tokio::time::advance(TTL_FAILED / 2).await;
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let mut state = State::default();
    let (now, known) = (Instant::now(), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
    for number in 0..KEPT_MAX + 10 {
        state.keep(&format!("{number}.test"), known.clone(), TTL_MIN, now);
    }
    assert_eq!(state.kept.len(), KEPT_MAX);
    assert_eq!(state.known("0.test", now), Some(known.clone()));
    assert_eq!(state.known("0.test", now + TTL_MIN), None);
    // One that is there is renewed, and what is too old makes room.
    state.keep("0.test", known.clone(), TTL_MAX, now);
    assert!(state.known("0.test", now + TTL_MIN).is_some());
    state.keep("late.test", known, TTL_MIN, now + TTL_MIN);
    assert_eq!(state.kept.len(), 2);
}

#[tokio::test]
async fn chosen_name_servers_are_asked_in_place_of_the_systems() {
    let chosen = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let chosen_at = chosen.local_addr().unwrap();
    let resolver = Resolver::new(system::NameServers::new(&[chosen_at]));
    let resolving = resolver.resolve(application(1), "hooks.example.test".to_owned(), 80);
    let mut query = [0; 512];
    tokio::select! {
        asked = chosen.recv_from(&mut query) => {
            let (bytes, _) = asked.unwrap();
            assert!(query[..bytes].windows(5).any(|part| part == b"hooks"));
        }
        found = resolving => panic!("somebody else was asked: {found:?}"),
    }
}

#[tokio::test]
async fn the_system_resolves_names() {
    let resolver = Resolver::new(system::NameServers::default());
    let resolving = resolver.resolve(application(1), "localhost".to_owned(), 80);
    let found = resolving.await.unwrap();
    assert!(
        found
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 80)
    );
    assert!(!found.is_empty());
}
