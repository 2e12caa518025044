//! Tests of the bounds, with lookups that hang until the test lets them go.

use futures_util::FutureExt as _;
use parking_lot::Condvar;

use super::*;
use crate::testing::application;

/// Names that start with `slow` hang until the gate opens; all are counted.
#[derive(Default)]
struct Names {
    open: Mutex<bool>,
    opened: Condvar,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().push(host.to_owned());
        if host.starts_with("slow") {
            let mut open = self.open.lock();
            self.opened.wait_while(&mut open, |open| !*open);
        }
        if host.starts_with("unknown") {
            return Err(io::Error::other("no such name"));
        }
        Ok(vec![IpAddr::from([192, 0, 2, 1])])
    }

    fn asked(&self, start: &str) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|host| host.starts_with(start)).count()
    }
}

/// Opens the gate however the test ends: the runtime waits for its threads.
struct Gate(Arc<Names>);

impl Drop for Gate {
    fn drop(&mut self) {
        *self.0.open.lock() = true;
        self.0.opened.notify_all();
    }
}

fn resolver() -> (SystemResolver, Gate) {
    let names = Arc::<Names>::default();
    let gate = Gate(Arc::clone(&names));
    let resolver = SystemResolver::with(Arc::new(move |host: &str| names.look_up(host)));
    (resolver, gate)
}

/// Asks and gives up, as an attempt does whose time is over.
fn give_up(resolver: &SystemResolver, number: u8, host: String) {
    let resolving = resolver.resolve(application(number), host, 80);
    assert!(resolving.now_or_never().is_none());
}

fn running(resolver: &SystemResolver) -> usize {
    resolver.lookups.state.lock().running
}

async fn found(resolver: &SystemResolver, number: u8, host: &str) -> bool {
    let resolving = resolver.resolve(application(number), host.to_owned(), 443);
    let found = tokio::time::timeout(Duration::from_secs(10), resolving).await;
    found.unwrap().unwrap() == ["192.0.2.1:443".parse().unwrap()]
}

#[tokio::test]
async fn one_application_cannot_take_the_places_of_others() {
    let (resolver, gate) = resolver();
    for number in 0..40 {
        give_up(&resolver, 1, format!("slow-{number}.test"));
    }
    assert!(found(&resolver, 2, "good.test").await);
    // Those that were given up still count, so the rest was never begun.
    assert_eq!(running(&resolver), PER_APPLICATION);
    give_up(&resolver, 1, "other.test".to_owned());
    assert_eq!(gate.0.asked("other"), 0);
    drop(gate);
    assert!(found(&resolver, 1, "other.test").await);
}

#[tokio::test]
async fn one_name_cannot_take_the_places_of_others() {
    let (resolver, gate) = resolver();
    for number in 0..40 {
        give_up(&resolver, number, "slow.test".to_owned());
    }
    assert_eq!(running(&resolver), PER_NAME);
    assert!(found(&resolver, 1, "good.test").await);
    drop(gate);
    // All who still wait are served by what one of them found.
    assert!(found(&resolver, 50, "slow.test").await);
}

#[tokio::test]
async fn all_lookups_together_are_bounded_and_forgotten_when_they_end() {
    let (resolver, gate) = resolver();
    for number in 0..100 {
        give_up(&resolver, number, format!("slow-{number}.test"));
    }
    assert_eq!(running(&resolver), RUNNING_MAX);
    drop(gate);
    // Waits until a place is free.
    assert!(found(&resolver, 200, "good.test").await);
    let ended = async {
        while running(&resolver) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap();
    let state = resolver.lookups.state.lock();
    assert!(state.applications.is_empty() && state.names.is_empty());
}

#[tokio::test]
async fn addresses_are_kept_for_a_while_and_failures_are_not() {
    let (resolver, gate) = resolver();
    for _ in 0..3 {
        assert!(found(&resolver, 1, "good.test").await);
        let resolving = resolver.resolve(application(1), "unknown.test".to_owned(), 80);
        assert_eq!(resolving.await.unwrap_err().to_string(), "no such name");
    }
    assert_eq!((gate.0.asked("good"), gate.0.asked("unknown")), (1, 3));

    let mut state = State::default();
    let (now, address) = (Instant::now(), IpAddr::from([192, 0, 2, 1]));
    for number in 0..KEPT_MAX + 10 {
        state.keep(&format!("{number}.test"), &[address], now);
    }
    assert_eq!(state.kept.len(), KEPT_MAX);
    assert_eq!(state.known("0.test", now), Some(vec![address]));
    assert_eq!(state.known("0.test", now + FRESH), None);
    state.keep("late.test", &[address], now + FRESH);
    assert_eq!(state.kept.len(), 1);
}

#[tokio::test]
async fn the_system_resolves_names() {
    let resolver = SystemResolver::new();
    let resolving = resolver.resolve(application(1), "localhost".to_owned(), 80);
    let found = resolving.await.unwrap();
    assert!(
        found
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 80)
    );
    assert!(!found.is_empty());
}
