//! What a user can set, and where it comes from: defaults, then the TOML file, then `HOOKLOG_…`
//! variables, then the flags of the command; the later wins.
//!
//! **Invariant:** one option is one key with one name everywhere: flag `--data-dir`, variable
//! `HOOKLOG_DATA_DIR`, TOML key `data_dir` (the options of `receive` carry its name, because
//! `listen` is the server's). A key that nobody knows is an error, not a silence.
//! **Next:** `units.rs`, durations and sizes as text.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::units::{ByteSize, HumanDuration};

/// What environment variables start with.
const PREFIX: &str = "HOOKLOG_";

/// All settings of all commands. No `Debug`: some are secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Log filter as in `RUST_LOG`.
    pub(crate) log: Option<String>,
    pub(crate) data_dir: PathBuf,
    /// Signs bearer tokens. No flag: command lines are readable by every user of the machine.
    pub(crate) jwt_secret: Option<String>,

    // serve
    pub(crate) listen: SocketAddr,
    pub(crate) allow_network: Vec<IpNet>,
    pub(crate) retry_schedule: Vec<HumanDuration>,
    pub(crate) retry_jitter: f64,
    pub(crate) attempt_timeout: HumanDuration,
    pub(crate) endpoint_concurrency: usize,
    pub(crate) body_limit: ByteSize,
    pub(crate) connection_limit: usize,
    pub(crate) drain_timeout: HumanDuration,
    pub(crate) journal_segment: ByteSize,

    // token and publish
    pub(crate) server: Url,
    pub(crate) app: Option<String>,
    pub(crate) org: Option<String>,
    pub(crate) expires: HumanDuration,
    pub(crate) token: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) concurrency: usize,

    // receive
    pub(crate) receive_listen: SocketAddr,
    pub(crate) receive_secret: Vec<String>,
    pub(crate) receive_status: u16,
    pub(crate) receive_output: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            log: None,
            data_dir: "hooklog-data".into(),
            jwt_secret: None,
            // The port that clients of Svix-compatible servers try first.
            listen: loopback(8071),
            allow_network: Vec::new(),
            // Standard Webhooks 1.0.0, "retry schedule".
            retry_schedule: [
                0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
            ]
            .map(|seconds| HumanDuration(Duration::from_secs(seconds)))
            .into(),
            retry_jitter: 0.2,
            // Standard Webhooks 1.0.0 recommends 15 to 30 s.
            attempt_timeout: HumanDuration(Duration::from_secs(15)),
            // What the crates take by themselves; a test compares them.
            endpoint_concurrency: 16,
            body_limit: ByteSize(2 << 20),
            connection_limit: 4096,
            // Below the 30 s that Kubernetes waits, and the 90 s of systemd, before they kill.
            drain_timeout: HumanDuration(Duration::from_secs(10)),
            journal_segment: ByteSize(64 << 20),
            #[expect(clippy::expect_used, reason = "a constant that the tests parse")]
            server: Url::parse("http://127.0.0.1:8071").expect("a URL"),
            app: None,
            org: None,
            // What application tokens of Svix-compatible servers live.
            expires: HumanDuration(Duration::from_hours(28 * 24)),
            token: None,
            event_type: None,
            // Enough to share group commits; a server takes many publishers at once.
            concurrency: 16,
            receive_listen: loopback(9000),
            receive_secret: Vec::new(),
            receive_status: 204,
            receive_output: None,
        }
    }
}

impl Settings {
    /// Layers the settings. `flags` are the flags common to all commands and the command's own.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: [Dict; 2],
    ) -> anyhow::Result<Self> {
        let defaults = Value::serialize(Self::default())?
            .into_dict()
            .unwrap_or_default();
        let mut figment = Figment::from(Serialized::defaults(&defaults));
        if let Some(path) = file {
            figment = figment.merge(Toml::file_exact(path));
        }
        figment = figment.merge(Layer::environment(&defaults, environment));
        for values in flags {
            figment = figment.merge(Layer {
                name: "the command line",
                values,
            });
        }
        // The error of figment names key and source; it may have several lines.
        figment.extract().map_err(|error| {
            // Keys of the file come with the name of figment's profile, which users never see.
            let text = error
                .to_string()
                .replace("for key \"default.", "for key \"");
            anyhow::anyhow!("invalid configuration: {text}")
        })
    }
}

/// The flags that were given, as a layer over the others.
pub(crate) fn given(flags: &impl Serialize) -> anyhow::Result<Dict> {
    Ok(Value::serialize(flags)?.into_dict().unwrap_or_default())
}

/// A layer whose errors name where it comes from.
struct Layer {
    name: &'static str,
    values: Dict,
}

impl Layer {
    /// The variables that name a known key. Others are left alone: orchestrators set variables
    /// with the name of a service in front (`HOOKLOG_PORT`, `HOOKLOG_SERVICE_HOST`).
    fn environment(defaults: &Dict, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let values = defaults
            .iter()
            .filter_map(|(key, default)| {
                let text = variables.get(&variable(key))?;
                Some((key.clone(), typed(text, default)))
            })
            .collect();
        Self {
            name: "the environment",
            values,
        }
    }
}

/// The variable of a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// A variable's text as the type that the default has; a list is separated by commas. What does
/// not parse stays text and becomes an error that names the variable.
fn typed(text: &str, default: &Value) -> Value {
    match default {
        Value::Array(..) => {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            Value::from(parts.map(Value::from).collect::<Vec<_>>())
        }
        Value::Num(..) => text
            .parse::<u64>()
            .map(Value::from)
            .or_else(|_| text.parse::<f64>().map(Value::from))
            .unwrap_or_else(|_| Value::from(text)),
        _ => Value::from(text),
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let environment = self.name == "the environment";
        Metadata::named(self.name).interpolater(move |_, keys| {
            let key = keys.join(".");
            if environment {
                variable(&key)
            } else {
                format!("--{}", key.replace('_', "-"))
            }
        })
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

#[cfg(test)]
mod tests;
