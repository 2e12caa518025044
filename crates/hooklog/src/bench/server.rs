//! The server under test: `hooklog serve` as a child process, or any Svix-compatible server by its URL.
//!
//! **Invariant:** a server that was started here has its own directory, secret and port, and none of the
//! user's settings.
//! **Next:** `scenario.rs`, what is done with it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use hooklog_server::token::{Subject, mint};
use hooklog_server::{DEFAULT_ORGANISATION, TokenKey};
use url::{Host, Url};

use super::api::Api;
use super::append::EVENT_TYPE;
use super::child::{Child, Starter};
use super::load::{LATE_FACTOR, Target};
use super::options::{Options, SOAK_PIECES_OF_A_LIFE};

/// Longest time until a server listens: with 100,000 subscriptions and a busy disk.
const PATIENCE: Duration = Duration::from_mins(5);
/// Longest that a token lives beside the measurements that it is for: setting up and waiting for the last
/// deliveries.
const EXPIRES: Duration = Duration::from_hours(1);

/// A running server.
pub(crate) struct Server {
    /// `None` for one that was there before.
    pub(crate) child: Option<Child>,
    pub(crate) api: Api,
}

/// How long a token must live: a measurement that the server does not keep up with is given up after a
/// few times its duration.
fn expires(options: &Options) -> Duration {
    let longest = options
        .duration
        .saturating_mul(LATE_FACTOR * SOAK_PIECES_OF_A_LIFE);
    EXPIRES.saturating_add(longest)
}

/// The host of a URL as the header `host` has it, and its address.
async fn find(url: &Url) -> anyhow::Result<(String, SocketAddr)> {
    let port = url
        .port_or_known_default()
        .context("a URL without a port")?;
    let host = url.host().context("a URL without a host")?;
    let address = match &host {
        Host::Ipv4(address) => SocketAddr::from((*address, port)),
        Host::Ipv6(address) => SocketAddr::from((*address, port)),
        Host::Domain(name) => {
            let mut found = tokio::net::lookup_host((*name, port)).await?;
            found
                .next()
                .with_context(|| format!("no address of {name}"))?
        }
    };
    Ok((format!("{host}:{port}"), address))
}

impl Server {
    /// Starts a server of our own on this directory, with some options more.
    pub(crate) async fn start(
        starter: &Starter,
        options: &Options,
        directory: &Path,
        extra: &[OsString],
    ) -> anyhow::Result<Self> {
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(32)
            .collect();
        let (connections, segment) = (options.connections.max(1), options.segment_bytes);
        let mut arguments: Vec<OsString> = vec![
            "serve".into(),
            "--until-stdin-ends".into(),
            "--listen=127.0.0.1:0".into(),
            "--data-dir".into(),
            directory.into(),
            "--allow-network=127.0.0.0/8".into(),
            format!("--endpoint-concurrency={connections}").into(),
            format!("--durability={}", options.durability.name()).into(),
            format!("--journal-segment={segment}").into(),
            "--log=warn".into(),
        ];
        arguments.extend_from_slice(extra);
        let variables = [("HOOKLOG_JWT_SECRET", secret.as_str())];
        let mut child = starter.start("serve", &arguments, &variables)?;
        let address = loop {
            let line = child.line(PATIENCE).await?;
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse::<SocketAddr>()?;
            }
        };
        let subject = Subject::Organisation(DEFAULT_ORGANISATION.parse()?);
        #[expect(
            clippy::disallowed_methods,
            reason = "a token for the server that just started"
        )]
        let now = SystemTime::now().into();
        let token = mint(&TokenKey::new(&secret)?, subject, now, expires(options))?;
        let api = Api {
            address,
            host: address.to_string(),
            token,
        };
        Ok(Self {
            child: Some(child),
            api,
        })
    }

    /// The server of the options' URL, or a new one on this directory.
    pub(crate) async fn open(
        starter: &Starter,
        options: &Options,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let Some(url) = &options.url else {
            return Self::start(starter, options, directory, &[]).await;
        };
        let (host, address) = find(url).await?;
        Ok(Self {
            child: None,
            api: Api {
                address,
                host,
                token: options.token.clone().context("no token for the server")?,
            },
        })
    }

    /// Publishes to one of its applications.
    pub(crate) fn target(&self, application: &str, payloads: &Arc<Vec<Bytes>>) -> Target {
        Target {
            address: self.api.address,
            path: format!("/api/v1/app/{application}/msg?with_content=false"),
            token: self.api.token.clone(),
            payloads: Arc::clone(payloads),
            event_types: vec![EVENT_TYPE.to_owned()],
            keys: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_is_a_name_or_an_address_of_either_kind() {
        let cases = [
            ("http://127.0.0.1:8071/", "127.0.0.1:8071", "127.0.0.1:8071"),
            ("http://127.0.0.1/", "127.0.0.1:80", "127.0.0.1:80"),
            ("http://[::1]:8071/", "[::1]:8071", "[::1]:8071"),
        ];
        for (url, host, address) in cases {
            let found = find(&Url::parse(url).unwrap()).await.unwrap();
            assert_eq!(found, (host.to_owned(), address.parse().unwrap()), "{url}");
        }
        let (host, address) = find(&Url::parse("http://localhost:8071").unwrap())
            .await
            .unwrap();
        assert_eq!(host, "localhost:8071");
        assert!(address.ip().is_loopback());
    }

    #[test]
    fn a_token_outlives_the_longest_measurements() {
        let mut options = Options::small();
        for hours in [0, 1, 6, 1000] {
            options.duration = Duration::from_hours(hours);
            // The pieces of a life, each as late as one may be.
            let longest = options.duration * SOAK_PIECES_OF_A_LIFE * LATE_FACTOR;
            assert!(expires(&options) > longest, "{hours}");
        }
        options.duration = Duration::MAX;
        assert_eq!(expires(&options), Duration::MAX);
    }
}
