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

use super::api::Api;
use super::append::EVENT_TYPE;
use super::child::{Child, Starter};
use super::load::Target;
use super::options::Options;

/// Longest time until a server listens: with 100,000 subscriptions and a busy disk.
const PATIENCE: Duration = Duration::from_mins(5);
/// Longest that a token lives.
const EXPIRES: Duration = Duration::from_hours(1);

/// A running server.
pub(crate) struct Server {
    /// `None` for one that was there before.
    pub(crate) child: Option<Child>,
    pub(crate) api: Api,
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
        let token = mint(&TokenKey::new(&secret)?, subject, now, EXPIRES)?;
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
        let host = url.host_str().context("a URL without a host")?.to_owned();
        let port = url
            .port_or_known_default()
            .context("a URL without a port")?;
        let found = tokio::net::lookup_host((host.as_str(), port)).await?.next();
        Ok(Self {
            child: None,
            api: Api {
                address: found.with_context(|| format!("no address of {host}"))?,
                host: format!("{host}:{port}"),
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
