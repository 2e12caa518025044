//! `hooklog serve`: opens the log, starts the dispatcher and the server, waits for a signal, and
//! stops them in reverse order.
//!
//! **Invariant:** the line with the URL is printed once everything runs, and whether anybody reads it
//! does not matter; after the first signal the program ends within a bounded time, after the second at
//! once.
//! **Next:** `service.rs` of the library, which holds the parts together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use hooklog::Service;
use hooklog::dispatcher::Schedule;
use hooklog::server::token::{MintError, Subject};
use hooklog::server::{Address, RateLimits, TokenKeys};
use ipnet::IpNet;
use serde::Serialize;
use url::Url;

use crate::config::Settings;
use crate::signals::Signals;
use crate::units::{ByteSize, HumanDuration};
use crate::{door_options, open_files, output, storage_options, token, token_keys};

/// Run the server: take events over HTTP, keep them on disk, deliver them.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Directory of all data; created on the first start [default: ./hooklog-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    door: door_options::DoorFlags,
    #[command(flatten)]
    #[serde(flatten)]
    token_keys: token_keys::TokenKeyFlags,
    /// Network that webhooks may be sent to although it is not public, as 127.0.0.0/8 or 10.0.0.0/8;
    /// may be given several times [default: none].
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow_network: Vec<IpNet>,
    /// Delays before each attempt of a delivery, the first is 0s; when they are used up, the
    /// delivery has failed [default: 0s,5s,5m,30m,2h,5h,10h,14h,20h,1d].
    #[arg(long, value_name = "DELAYS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retry_schedule: Vec<HumanDuration>,
    /// How much of itself a delay varies at random, both ways, 0 to 1 [default: 0.2].
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_jitter: Option<f64>,
    /// Longest time of one attempt, at most 5m [default: 15s].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_timeout: Option<HumanDuration>,
    /// Attempts that one endpoint gets at the same time [default: 16].
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_concurrency: Option<usize>,
    /// Attempts that all endpoints of one host get at the same time, together [default: 256].
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    host_concurrency: Option<usize>,
    /// An endpoint that gave nothing but failures for so long is disabled, unless it or its
    /// application says otherwise; 0s never [default: 5d].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_after: Option<HumanDuration>,
    /// Largest request body; a larger one is answered 413 [default: 2MiB].
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    body_limit: Option<ByteSize>,
    /// Most connections to the API at once; more wait [default: 4096].
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_limit: Option<usize>,
    /// Longest time that running requests, and then running deliveries, get to finish after a
    /// signal [default: 10s].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<HumanDuration>,
    /// Where your customers go with a token of app-portal-access, which is added as `#key=…`
    /// [default: this server].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    portal_url: Option<Url>,
    /// Size of one journal file, of which there are a few; must hold two of the largest bodies. A
    /// directory keeps the size it was created with [default: 64MiB].
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_segment: Option<ByteSize>,
    #[command(flatten)]
    #[serde(flatten)]
    storage: storage_options::StorageFlags,
    /// Ends at once, as by kill -9, when stdin ends: `bench` must not leave a server behind.
    #[arg(long, hide = true)]
    #[serde(skip)]
    until_stdin_ends: bool,
}

const HELP: &str = "\
The first start prints an admin token and a curl line that works; `hooklog token` makes more tokens.
SIGTERM or SIGINT (Ctrl-C) finishes what runs and stops; a second one stops at once. Either way
nothing that was acknowledged is lost.

Examples:
  hooklog serve
  hooklog serve --data-dir /var/lib/hooklog --listen 0.0.0.0:8071
  hooklog serve --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem
  hooklog serve --allow-network 127.0.0.0/8      # deliver to this machine, for trying out
  HOOKLOG_RETRY_SCHEDULE=0s,1s,10s hooklog serve";

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

/// Serves until a signal.
pub(crate) fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<()> {
    open_files::raise();
    if flags.until_stdin_ends {
        hooklog::bench::end_with_stdin()?;
    }
    let (keys, generated) = match token_keys::find(settings)? {
        Some(keys) => (keys, None),
        None => token_keys::generate(settings).map(|(keys, secret)| (keys, Some(secret)))?,
    };
    let first = generated.is_some() || is_absent_or_empty(&settings.data_dir);
    let config = service_config(settings, keys)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let service = tokio::select! {
            started = Service::start(config) => started?,
            name = signals.next() => anyhow::bail!("stopped by {name} while starting"),
        };
        if let Some(secret) = &generated {
            // Kept only now: a start that failed showed no token, so the next one is the first.
            secret.write(&settings.data_dir)?;
        }
        let greeting = greeting(settings, &service, first)?;
        if let Err(error) = output::line(greeting) {
            // Events are taken and delivered whether or not somebody reads this.
            tracing::warn!("{error:#}; serving all the same, and `hooklog token` makes tokens");
        }
        wait_and_stop(service, &mut signals).await
    });
    // Whatever a second signal or a deadline left behind ends with the process.
    runtime.shutdown_background();
    result
}

async fn wait_and_stop(mut service: Service, signals: &mut Signals) -> anyhow::Result<()> {
    let end = tokio::select! {
        name = signals.next() => {
            tracing::info!("{name}: stopping; a second signal stops at once");
            Ok(())
        }
        error = service.failed() => Err(anyhow::Error::new(error)),
    };
    tokio::select! {
        stopped = service.stop() => end.and(stopped.context("the service stopped")),
        name = signals.next() => anyhow::bail!("stopped at once by a second signal ({name})"),
    }
}

/// What a person or a script wants to know.
fn greeting(settings: &Settings, service: &Service, first: bool) -> anyhow::Result<String> {
    let scheme = if settings.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let mut lines: Vec<String> = Vec::new();
    for address in service.addresses() {
        lines.push(match address {
            Address::Tcp(address) => format!("listening on {scheme}://{address}"),
            Address::Unix(_) => format!("listening on {address}"),
        });
    }
    let directory = std::path::absolute(&settings.data_dir)?;
    lines.push(format!("data in {}", directory.display()));
    if let Some(Address::Tcp(address)) = service.addresses().first() {
        let address = reachable(*address);
        lines.push(format!("docs at {scheme}://{address}/docs"));
    }
    if first {
        lines.push(first_token(settings, service, scheme)?);
    }
    Ok(lines.join("\n"))
}

/// The admin token of a first start, and a line to try it with.
fn first_token(settings: &Settings, service: &Service, scheme: &str) -> anyhow::Result<String> {
    let subject = Subject::Organisation(token::organisation(settings)?);
    let bearer = match service.token(subject, settings.expires.0) {
        Err(MintError::Public { algorithm }) => {
            return Ok(format!(
                "tokens signed with {algorithm} are taken here and made where the private key is"
            ));
        }
        made => made?,
    };
    let target = match service.addresses().first() {
        Some(Address::Tcp(address)) => format!("{scheme}://{}", reachable(*address)),
        Some(Address::Unix(path)) => {
            format!("--unix-socket '{}' http://localhost", path.display())
        }
        None => String::new(),
    };
    Ok(format!(
        "admin token, shown once, valid for {}: {bearer}\n\
         try: curl -X POST {target}/api/v1/app -H 'authorization: Bearer {bearer}' \
         -H 'content-type: application/json' -d '{{\"name\":\"Demo\",\"uid\":\"demo\"}}'",
        settings.expires
    ))
}

/// An address to connect to: nobody can connect to 0.0.0.0 everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether there was no start before this one.
fn is_absent_or_empty(directory: &Path) -> bool {
    directory
        .read_dir()
        .map_or(true, |mut entries| entries.next().is_none())
}

fn service_config(settings: &Settings, keys: TokenKeys) -> anyhow::Result<hooklog::Config> {
    let counts = [
        ("body_limit", settings.body_limit.0),
        ("connection_limit", settings.connection_limit),
        ("endpoint_concurrency", settings.endpoint_concurrency),
        ("host_concurrency", settings.host_concurrency),
    ];
    for (name, count) in counts {
        anyhow::ensure!(count > 0, "{name} must be above zero");
    }
    let mut config = hooklog::Config::new(&settings.data_dir, keys);
    config.listen.clone_from(&settings.listen);
    config.tls = door_options::tls(settings)?;
    config.access_log = settings.access_log.into();
    config.rate_limits = RateLimits {
        organisation: settings.rate_limit.0,
        application: settings.app_rate_limit.0,
    };
    config.drain_timeout = settings.drain_timeout.0;
    config.portal_url.clone_from(&settings.portal_url);
    config.limits.body_bytes_max = settings.body_limit.0;
    config.limits.connections_max = settings.connection_limit;
    config.log.journal_segment_bytes = u64::try_from(settings.journal_segment.0)?;
    config.log.durability = storage_options::durability(settings);
    config.log.retention = storage_options::retention(settings);
    config.log.idempotency_age = settings.idempotency_age.0;
    // The body holds the payload, so this never refuses what the server took.
    config.log.payload_bytes_max = settings.body_limit.0;
    let largest = config.log.payload_bytes_limit();
    anyhow::ensure!(
        settings.body_limit.0 <= largest,
        "body_limit is {}, but may be at most {largest} bytes with journal_segment = {}",
        settings.body_limit,
        settings.journal_segment,
    );
    let delays = settings
        .retry_schedule
        .iter()
        .map(|delay| delay.0)
        .collect();
    config.dispatcher.schedule =
        Schedule::try_new(delays, settings.retry_jitter).context("--retry-schedule")?;
    config.dispatcher.attempt_timeout = settings.attempt_timeout.0;
    config.dispatcher.lane_concurrency = settings.endpoint_concurrency;
    config.dispatcher.host_attempts_max = settings.host_concurrency;
    config.dispatcher.disable_after = settings.disable_after.0;
    config
        .dispatcher
        .allow_networks
        .clone_from(&settings.allow_network);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_the_configuration_of_the_service() {
        let pairs = [
            ("HOOKLOG_JWT_SECRET", "a secret of enough bytes"),
            ("HOOKLOG_RETRY_SCHEDULE", "0s, 1s,2m"),
            ("HOOKLOG_RETRY_JITTER", "0"),
            ("HOOKLOG_BODY_LIMIT", "4MiB"),
            ("HOOKLOG_ALLOW_NETWORK", "127.0.0.0/8,::1/128"),
            ("HOOKLOG_LISTEN", "[::1]:0"),
            ("HOOKLOG_IDEMPOTENCY_AGE", "30m"),
            ("HOOKLOG_DISABLE_AFTER", "2d"),
            ("HOOKLOG_HOST_CONCURRENCY", "7"),
        ];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::load(None, pairs, Default::default()).unwrap();
        let keys = token_keys::find(&settings).unwrap().unwrap();
        let config = service_config(&settings, keys).unwrap();
        let delays: Vec<_> = config
            .dispatcher
            .schedule
            .delays()
            .iter()
            .map(std::time::Duration::as_secs)
            .collect();
        assert_eq!(delays, [0, 1, 120]);
        assert_eq!(config.limits.body_bytes_max, 4 << 20);
        assert_eq!(config.log.payload_bytes_max, 4 << 20);
        let age = config.log.idempotency_age;
        assert_eq!(age, std::time::Duration::from_mins(30));
        assert_eq!(config.dispatcher.allow_networks.len(), 2);
        assert_eq!(config.dispatcher.host_attempts_max, 7);
        let days = std::time::Duration::from_hours(48);
        assert_eq!(config.dispatcher.disable_after, days);
        assert_eq!(config.listen, ["[::1]:0".parse().unwrap()]);
    }

    #[test]
    fn the_defaults_are_those_of_the_crates() {
        let settings = Settings::default();
        let (keys, _secret) = token_keys::generate(&settings).unwrap();
        let config = service_config(&settings, keys.clone()).unwrap();
        let plain = hooklog::Config::new(&settings.data_dir, keys);
        assert_eq!(format!("{config:?}"), format!("{plain:?}"));
    }

    #[test]
    fn the_curl_line_names_an_address_that_can_be_reached() {
        let cases = [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.1.2.3:1", "10.1.2.3:1"),
        ];
        for (address, expected) in cases {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), expected);
        }
    }
}
