//! Turns names into addresses, and remembers them for as long as the name's owner says.
//!
//! **Invariant:** at most [`RUNNING_MAX`] lookups at a time; at most [`PER_APPLICATION`] of them for one
//! application and [`PER_NAME`] for one name, so neither one tenant nor one dead name that many
//! tenants use can take them all. Who waits holds no place, and a lookup ends when nobody waits for it.
//! What is kept is bounded in number and time. An old answer opens nothing: every connection checks the
//! addresses anew.
//! **Next:** `resolve/system.rs`, which asks the name servers; then `connect.rs`.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::ApplicationId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most lookups at a time: each may hold a socket or two, beside those of 1,024 attempts.
const RUNNING_MAX: usize = 256;
/// Most of them for one application: eight applications must conspire to stop the others.
const PER_APPLICATION: usize = 32;
/// Most of them for one name: a second one, should the first have met a lost packet.
const PER_NAME: usize = 2;
/// Addresses are used again for their time to live, within these limits. Below it a burst of new
/// connections would ask again and again; above it a mistake of the owner would stay for too long.
const TTL_MIN: Duration = Duration::from_secs(5);
const TTL_MAX: Duration = Duration::from_mins(5);
/// How long a name that was not found is not asked for again: a burst of attempts asks once, and a
/// name that appears is there for the next retry.
const TTL_FAILED: Duration = Duration::from_secs(2);
/// Most names whose addresses are kept; 64 addresses each are 5 MiB.
const KEPT_MAX: usize = 4096;
/// Most addresses kept of one name; more are in use for no endpoint that we know of.
const ADDRESSES_MAX: usize = 64;

pub(crate) type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Turns a name into addresses. Replaced in tests.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// The addresses of a name, asked for an application.
    fn resolve(&self, application: ApplicationId, host: String, port: u16) -> Resolving;
}

/// What a lookup found, and for how long it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ttl: Duration,
}

pub(crate) type LookingUp = Pin<Box<dyn Future<Output = io::Result<Found>> + Send>>;

/// Asks once, and remembers nothing. Ends when it is dropped.
pub(crate) trait LookUp: Send + Sync + 'static {
    fn look_up(&self, host: String) -> LookingUp;
}

/// A resolver that remembers.
#[derive(Clone)]
pub(crate) struct Resolver {
    look_up: Arc<dyn LookUp>,
    lookups: Arc<Lookups>,
}

impl Resolver {
    pub(crate) fn new(look_up: impl LookUp) -> Self {
        Self {
            look_up: Arc::new(look_up),
            lookups: Arc::default(),
        }
    }

    async fn addresses(self, application: ApplicationId, host: String) -> io::Result<Vec<IpAddr>> {
        let place = match Lookups::enter(&self.lookups, application, &host).await {
            Entered::Known(known) => return known.map_err(Failure::into),
            Entered::Place(place) => place,
        };
        let mut found = self.look_up.look_up(host).await;
        if let Ok(found) = &mut found {
            found.addresses.truncate(ADDRESSES_MAX);
        }
        place.keep(&found);
        found.map(|found| found.addresses)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, application: ApplicationId, host: String, port: u16) -> Resolving {
        let resolving = self.clone().addresses(application, host);
        Box::pin(async move {
            let addresses = resolving.await?.into_iter();
            Ok(addresses.map(|ip| SocketAddr::new(ip, port)).collect())
        })
    }
}

/// A failure that can be told again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    kind: io::ErrorKind,
    text: Arc<str>,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.text.as_ref())
    }
}

type Known = Result<Vec<IpAddr>, Failure>;

/// The lookups that run, and what the last ones found.
#[derive(Default)]
struct Lookups {
    state: Mutex<State>,
    left: Notify,
}

/// The counts hold only what runs: at most [`RUNNING_MAX`] entries.
#[derive(Default)]
struct State {
    running: usize,
    applications: HashMap<ApplicationId, usize>,
    names: HashMap<String, usize>,
    kept: HashMap<String, (Known, Instant)>,
}

enum Entered {
    Known(Known),
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
                if let Some(known) = state.known(host, Instant::now()) {
                    return Entered::Known(known);
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
    fn known(&self, host: &str, now: Instant) -> Option<Known> {
        let (known, until) = self.kept.get(host)?;
        (now < *until).then(|| known.clone())
    }

    fn keep(&mut self, host: &str, known: Known, ttl: Duration, now: Instant) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.retain(|_, (_, until)| now < *until);
        }
        if self.kept.len() < KEPT_MAX || self.kept.contains_key(host) {
            self.kept.insert(host.to_owned(), (known, now + ttl));
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
    fn keep(&self, found: &io::Result<Found>) {
        let (known, ttl) = match found {
            Ok(found) => (
                Ok(found.addresses.clone()),
                found.ttl.clamp(TTL_MIN, TTL_MAX),
            ),
            Err(error) => {
                let (kind, text) = (error.kind(), error.to_string().into());
                (Err(Failure { kind, text }), TTL_FAILED)
            }
        };
        let mut state = self.lookups.state.lock();
        state.keep(&self.host, known, ttl, Instant::now());
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

pub(crate) mod system;
#[cfg(test)]
mod tests;
