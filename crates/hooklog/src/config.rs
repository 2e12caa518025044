//! What a user can set, and where it comes from: defaults, then the TOML file, then `HOOKLOG_…`
//! variables, then the flags of the command; the later wins.
//!
//! **Invariant:** one option is one key with one name everywhere: flag `--data-dir`, variable
//! `HOOKLOG_DATA_DIR`, TOML key `data_dir` (the options of `receive` carry its name, because
//! `listen` is the server's). A key that nobody knows is an error, not a silence. No error shows the
//! value of a secret, or a line of the file, which may hold one.
//! **Next:** `units.rs`, durations and sizes as text.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use figment::error::{Actual, Kind};
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use hooklog::server::{Address, RateLimits, TokenAlgorithm};
use ipnet::IpNet;
use serde::de::{IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use crate::door_options::Rate;
use crate::logging::AccessLogForm;
use crate::storage_options::{Count, Mode, Span};
use crate::units::{ByteSize, HumanDuration};

/// What environment variables start with.
const PREFIX: &str = "HOOKLOG_";
/// Keys whose values are not for terminals and logs.
const SECRETS: [&str; 4] = [
    "jwt_secret",
    "jwt_secret_previous",
    "token",
    "receive_secret",
];

/// All settings of all commands. No `Debug`: some are secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Log filter as in `RUST_LOG`.
    pub(crate) log: Option<String>,
    pub(crate) data_dir: PathBuf,
    /// Signs bearer tokens. No flag: command lines are readable by every user of the machine.
    pub(crate) jwt_secret: Option<String>,
    /// Older secrets, whose tokens are still taken. No flag either.
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) jwt_secret_previous: Vec<String>,
    pub(crate) jwt_algorithm: TokenAlgorithm,
    pub(crate) jwt_private_key: Option<PathBuf>,
    pub(crate) jwt_public_key: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) jwt_public_key_previous: Vec<PathBuf>,

    // serve
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) listen: Vec<Address>,
    /// PEM files; TLS needs both.
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) access_log: AccessLogForm,
    pub(crate) rate_limit: Rate,
    pub(crate) app_rate_limit: Rate,
    pub(crate) allow_network: Vec<IpNet>,
    pub(crate) retry_schedule: Vec<HumanDuration>,
    pub(crate) retry_jitter: f64,
    pub(crate) attempt_timeout: HumanDuration,
    pub(crate) endpoint_concurrency: usize,
    pub(crate) host_concurrency: usize,
    pub(crate) disable_after: HumanDuration,
    pub(crate) body_limit: ByteSize,
    pub(crate) connection_limit: usize,
    pub(crate) drain_timeout: HumanDuration,
    pub(crate) portal_url: Option<Url>,
    pub(crate) journal_segment: ByteSize,
    pub(crate) durability: Mode,
    pub(crate) sync_interval: HumanDuration,
    pub(crate) idempotency_age: HumanDuration,
    pub(crate) retention: Span,
    pub(crate) retention_bytes: Option<ByteSize>,
    pub(crate) retention_count: Count,
    pub(crate) attempt_retention: Span,
    pub(crate) attempt_retention_bytes: Option<ByteSize>,
    pub(crate) attempt_retention_count: Count,
    pub(crate) keep_undelivered: Option<ByteSize>,

    // token and publish
    pub(crate) server: Url,
    pub(crate) app: Option<String>,
    pub(crate) org: Option<String>,
    pub(crate) expires: HumanDuration,
    pub(crate) token: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) deliver_at: Option<String>,
    pub(crate) concurrency: usize,

    // receive
    pub(crate) receive_listen: SocketAddr,
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) receive_secret: Vec<String>,
    pub(crate) receive_status: u16,
    pub(crate) receive_output: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: None,
            data_dir: "hooklog-data".into(),
            jwt_secret: None,
            jwt_secret_previous: Vec::new(),
            jwt_algorithm: TokenAlgorithm::Hs256,
            jwt_private_key: None,
            jwt_public_key: None,
            jwt_public_key_previous: Vec::new(),
            // The port that clients of Svix-compatible servers try first.
            listen: vec![(Ipv4Addr::LOCALHOST, 8071).into()],
            tls_cert: None,
            tls_key: None,
            access_log: AccessLogForm::Off,
            // What the crates take by themselves; a test compares them.
            rate_limit: Rate(RateLimits::default().organisation),
            app_rate_limit: Rate(RateLimits::default().application),
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
            host_concurrency: 256,
            disable_after: HumanDuration(Duration::from_hours(5 * 24)),
            body_limit: ByteSize(2 << 20),
            connection_limit: 4096,
            // Below the 30 s that Kubernetes waits, and the 90 s of systemd, before they kill.
            drain_timeout: HumanDuration(Duration::from_secs(10)),
            portal_url: None,
            journal_segment: ByteSize(64 << 20),
            durability: Mode::PowerSafe,
            // A power cut takes as little as with the usual settings of databases that do the same.
            sync_interval: HumanDuration(Duration::from_millis(100)),
            // What the crates take by themselves; a test compares them.
            idempotency_age: HumanDuration(Duration::from_hours(12)),
            // What users of Svix-compatible servers know: payloads are kept for 90 days.
            retention: Span(Some(Duration::from_hours(90 * 24))),
            retention_bytes: None,
            retention_count: Count(None),
            attempt_retention: Span(Some(Duration::from_hours(90 * 24))),
            attempt_retention_bytes: None,
            attempt_retention_count: Count(None),
            keep_undelivered: None,
            #[expect(clippy::expect_used, reason = "a constant that the tests parse")]
            server: Url::parse("http://127.0.0.1:8071").expect("a URL"),
            app: None,
            org: None,
            // What application tokens of Svix-compatible servers live.
            expires: HumanDuration(Duration::from_hours(28 * 24)),
            token: None,
            event_type: None,
            deliver_at: None,
            // Enough to share group commits; a server takes many publishers at once.
            concurrency: 16,
            receive_listen: (Ipv4Addr::LOCALHOST, 9000).into(),
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
            figment = figment.merge(Layer::file(path)?);
        }
        figment = figment.merge(Layer::environment(&defaults, environment));
        for values in flags {
            figment = figment.merge(Layer {
                origin: Origin::CommandLine,
                values,
            });
        }
        figment.extract().map_err(|errors| {
            // Each names key and source.
            let texts: Vec<_> = errors
                .into_iter()
                .map(|error| hide_secret(error).to_string())
                .collect();
            anyhow::anyhow!("invalid configuration: {}", texts.join("\n"))
        })
    }
}

/// The error without the value, if that is a secret or part of one.
fn hide_secret(mut error: figment::Error) -> figment::Error {
    let key = error.path.first().map(String::as_str);
    if key.is_some_and(|key| SECRETS.contains(&key)) {
        error.kind = match error.kind {
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
                Kind::InvalidType(Actual::Other("what is not shown".to_owned()), expected)
            }
            _ => Kind::Message("invalid value, not shown".to_owned()),
        };
    }
    error
}

/// A list, or one text alone for a list of one.
fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Texts<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Texts<T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string or a list of strings")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            T::deserialize(text.into_deserializer()).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = texts.next_element()? {
                all.push(text);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(Texts(PhantomData))
}

/// The flags that were given, as a layer over the others.
pub(crate) fn given(flags: &impl Serialize) -> anyhow::Result<Dict> {
    Ok(Value::serialize(flags)?.into_dict().unwrap_or_default())
}

/// A layer whose errors name where it comes from.
struct Layer {
    origin: Origin,
    values: Dict,
}

#[derive(Clone)]
enum Origin {
    File(PathBuf),
    Environment,
    CommandLine,
}

impl Layer {
    /// What the TOML file holds. Read once: it may be a pipe.
    fn file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        // The parser's own text shows the line, and with it perhaps a secret.
        let values = Toml::from_str(&text).map_err(|error| {
            let place = error.span().map_or_else(String::new, |span| {
                let (line, column) = place(&text, span.start);
                format!(" at line {line}, column {column}")
            });
            anyhow::anyhow!(
                "invalid configuration: no TOML{place} of {}",
                path.display()
            )
        })?;
        Ok(Self {
            origin: Origin::File(path.to_owned()),
            values,
        })
    }

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
            origin: Origin::Environment,
            values,
        }
    }
}

/// Line and column of a byte, both from 1.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
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
        let metadata = match &self.origin {
            Origin::File(path) => Metadata::from("TOML file", path.as_path()),
            Origin::Environment => Metadata::named("the environment"),
            Origin::CommandLine => Metadata::named("the command line"),
        };
        let origin = self.origin.clone();
        metadata.interpolater(move |_, keys| {
            let key = keys.join(".");
            match origin {
                Origin::File(_) => key,
                Origin::Environment => variable(&key),
                Origin::CommandLine => format!("--{}", key.replace('_', "-")),
            }
        })
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

#[cfg(test)]
mod tests;
