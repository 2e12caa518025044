//! Turns names into addresses, with the operating system's blocking resolver.
//!
//! A lookup cannot be cancelled: when its caller has given up, its thread waits on for a name
//! server that is slow, broken or hostile. The threads are shared with all reads of the log, so
//! lookups are counted until they have really ended, not until nobody waits for them any more.
//!
//! **Invariant:** at most [`RUNNING_MAX`] threads look names up; at most [`PER_APPLICATION`] of them
//! for one application and [`PER_NAME`] for one name, so neither one tenant nor one dead name
//! that many tenants use can take them all. Who waits holds no place. What is kept is bounded.
//! **Next:** `client.rs`, which checks the addresses and connects.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::ApplicationId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most lookups at a time: an eighth of the threads that tokio has for blocking work (512).
const RUNNING_MAX: usize = 64;
/// Most of them for one application: eight applications must conspire to stop the others.
const PER_APPLICATION: usize = 8;
/// Most of them for one name: a second one, should the first have met a lost packet.
const PER_NAME: usize = 2;
/// How long a name's addresses are used again, so that a burst of new connections asks once.
/// Short, because the system's resolver does not tell how long it may be; every connection checks
/// the addresses anew, so an old answer opens nothing.
const FRESH: Duration = Duration::from_secs(5);
/// Most names whose addresses are kept: as many as attempts in flight by default.
const KEPT_MAX: usize = 1024;
/// Most addresses kept of one name; more are in use for no endpoint that we know of.
const ADDRESSES_MAX: usize = 64;

pub(crate) type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Turns a name into addresses. Replaced in tests.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// The addresses of a name, asked for an application.
    fn resolve(&self, application: ApplicationId, host: String, port: u16) -> Resolving;
}

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The resolver of the operating system.
#[derive(Clone)]
pub(crate) struct SystemResolver {
    look_up: Arc<LookUp>,
    lookups: Arc<Lookups>,
}

impl SystemResolver {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(|host: &str| {
            let found = (host, 0_u16).to_socket_addrs()?;
            Ok(found
                .map(|address| address.ip())
                .take(ADDRESSES_MAX)
                .collect())
        }))
    }

    fn with(look_up: Arc<LookUp>) -> Self {
        Self {
            look_up,
            lookups: Arc::default(),
        }
    }

    async fn addresses(self, application: ApplicationId, host: String) -> io::Result<Vec<IpAddr>> {
        let place = match Lookups::enter(&self.lookups, application, &host).await {
            Entered::Known(addresses) => return Ok(addresses),
            Entered::Place(place) => place,
        };
        let looking = tokio::task::spawn_blocking(move || {
            let found = (self.look_up)(&host);
            if let Ok(addresses) = &found {
                place.keep(addresses);
            }
            // Given back here, by the thread that has really ended.
            drop(place);
            found
        });
        looking.await.map_err(io::Error::other)?
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, application: ApplicationId, host: String, port: u16) -> Resolving {
        let resolving = self.clone().addresses(application, host);
        Box::pin(async move {
            let addresses = resolving.await?.into_iter();
            Ok(addresses.map(|ip| SocketAddr::new(ip, port)).collect())
        })
    }
}

/// The lookups that run, and what the last ones found.
#[derive(Default)]
struct Lookups {
    state: Mutex<State>,
    left: Notify,
}

/// Both counts hold only what runs: at most [`RUNNING_MAX`] entries.
#[derive(Default)]
struct State {
    running: usize,
    applications: HashMap<ApplicationId, usize>,
    names: HashMap<String, usize>,
    kept: HashMap<String, (Vec<IpAddr>, Instant)>,
}

enum Entered {
    Known(Vec<IpAddr>),
    Place(Place),
}

impl Lookups {
    /// Waits for a place, or for somebody else to find the same name's addresses.
    async fn enter(this: &Arc<Self>, application: ApplicationId, host: &str) -> Entered {
        loop {
            let mut left = pin!(this.left.notified());
            // Before the look at the state, so that no leave in between is missed.
            left.as_mut().enable();
            {
                let mut state = this.state.lock();
                if let Some(addresses) = state.known(host, Instant::now()) {
                    return Entered::Known(addresses);
                }
                if state.enter(application, host) {
                    return Entered::Place(Place {
                        lookups: Arc::clone(this),
                        application,
                        host: host.to_owned(),
                    });
                }
            }
            left.await;
        }
    }
}

impl State {
    fn known(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let (addresses, until) = self.kept.get(host)?;
        (now < *until).then(|| addresses.clone())
    }

    fn keep(&mut self, host: &str, addresses: &[IpAddr], now: Instant) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.retain(|_, (_, until)| now < *until);
        }
        if self.kept.len() < KEPT_MAX {
            let entry = (addresses.to_vec(), now + FRESH);
            self.kept.insert(host.to_owned(), entry);
        }
    }

    /// Takes a place if all three bounds allow it.
    fn enter(&mut self, application: ApplicationId, host: &str) -> bool {
        let of_application = self.applications.get(&application).copied().unwrap_or(0);
        let of_name = self.names.get(host).copied().unwrap_or(0);
        if self.running >= RUNNING_MAX || of_application >= PER_APPLICATION || of_name >= PER_NAME {
            return false;
        }
        self.running += 1;
        self.applications.insert(application, of_application + 1);
        self.names.insert(host.to_owned(), of_name + 1);
        true
    }

    fn leave(&mut self, application: ApplicationId, host: &str) {
        self.running = self.running.saturating_sub(1);
        if let Some(count) = self.applications.get_mut(&application) {
            *count = count.saturating_sub(1);
        }
        self.applications.retain(|_, count| *count > 0);
        if let Some(count) = self.names.get_mut(host) {
            *count = count.saturating_sub(1);
        }
        self.names.retain(|_, count| *count > 0);
    }
}

/// A place among the running lookups; given back when dropped.
struct Place {
    lookups: Arc<Lookups>,
    application: ApplicationId,
    host: String,
}

impl Place {
    fn keep(&self, addresses: &[IpAddr]) {
        let mut state = self.lookups.state.lock();
        state.keep(&self.host, addresses, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lookups
            .state
            .lock()
            .leave(self.application, &self.host);
        self.lookups.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
