//! Asks the name servers of `/etc/resolv.conf`, or others that were chosen, after a look into
//! `/etc/hosts`.
//!
//! Not the operating system's resolver: that one blocks a thread for each name, for as long as a slow
//! or hostile name server likes, cannot be given up, and does not tell how long an answer holds.
//!
//! **Invariant:** a lookup holds no thread and ends when it is dropped; a change of either file is seen
//! within [`LOOK_AGAIN`].
//! **Next:** `connect.rs`, which checks the addresses and connects.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use parking_lot::Mutex;

use super::{Found, LookUp, LookingUp};

/// The files that say whom to ask, and what need not be asked for.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// How often these are looked at; a laptop that moves and a VPN that comes up change them.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// For one name server, so that the next one is asked within the five seconds of an attempt's lookup.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The name servers of this machine, or others.
#[derive(Clone, Default)]
pub(crate) struct NameServers {
    /// Those to ask in place of the machine's, if there are any.
    chosen: Arc<[SocketAddr]>,
    state: Arc<Mutex<Option<Known>>>,
}

/// A resolver and the files that it was made of.
#[derive(Clone)]
struct Known {
    resolver: TokioResolver,
    changed: [Option<SystemTime>; 2],
    seen: Instant,
}

impl NameServers {
    /// These, or those of this machine if there are none.
    pub(crate) fn new(chosen: &[SocketAddr]) -> Self {
        Self {
            chosen: chosen.into(),
            state: Arc::default(),
        }
    }

    fn builder(&self) -> io::Result<ResolverBuilder<TokioRuntimeProvider>> {
        if self.chosen.is_empty() {
            return TokioResolver::builder_tokio().map_err(io::Error::other);
        }
        let servers = self.chosen.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let provider = TokioRuntimeProvider::default();
        Ok(TokioResolver::builder_with_config(config, provider))
    }

    fn resolver(&self) -> io::Result<TokioResolver> {
        let mut state = self.state.lock();
        let now = Instant::now();
        if let Some(known) = &*state
            && now < known.seen + LOOK_AGAIN
        {
            return Ok(known.resolver.clone());
        }
        let changed = FILES.map(|file| std::fs::metadata(file).ok()?.modified().ok());
        let resolver = match &*state {
            Some(known) if known.changed == changed => known.resolver.clone(),
            _ => {
                let mut builder = self.builder()?;
                adjust(builder.options_mut());
                builder.build().map_err(io::Error::other)?
            }
        };
        *state = Some(Known {
            resolver: resolver.clone(),
            changed,
            seen: now,
        });
        Ok(resolver)
    }
}

fn adjust(options: &mut ResolverOpts) {
    // What is kept, and for how long, is decided in one place.
    options.cache_size = 0;
    options.timeout = options.timeout.min(TIMEOUT);
    // All addresses of a name are checked, so all are asked for.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

impl LookUp for NameServers {
    fn look_up(&self, host: String) -> LookingUp {
        let this = self.clone();
        Box::pin(async move {
            let found = this.resolver()?.lookup_ip(host).await;
            let found = found.map_err(io::Error::other)?;
            let ttl = found
                .valid_until()
                .saturating_duration_since(Instant::now());
            let addresses = found.iter().collect();
            Ok(Found { addresses, ttl })
        })
    }
}
