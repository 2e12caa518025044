//! The options of `serve` about what the log keeps and what its acks mean.
//!
//! **Invariant:** each option here changes what the log does; none is only stored.
//! **Next:** `serve.rs`, which hands them to the service.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hooklog::storage::{Durability, Keep, Retention};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Settings;
use crate::units::{ByteSize, HumanDuration, UnitError};

/// Part of the flags of `serve`.
#[derive(Args, Serialize)]
pub(crate) struct StorageFlags {
    /// What a 202 means. power-safe: on disk, survives power loss. process-safe: survives kill -9 at
    /// once, power loss after --sync-interval. none: never waits for the disk, for tests
    /// [default: power-safe].
    #[arg(long, value_name = "MODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<Mode>,
    /// Longest time between a 202 and its sync with --durability process-safe [default: 100ms].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_interval: Option<HumanDuration>,
    /// How long an Idempotency-Key is known, but never longer than its message is kept; 0s: keys have
    /// no effect [default: 12h].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_age: Option<HumanDuration>,
    /// How long messages are kept, or `none` for ever [default: 90d].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<Span>,
    /// Most bytes of messages kept, as stored (compressed); the files take about twice as much
    /// [default: no limit].
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_bytes: Option<ByteSize>,
    /// Most messages kept, or `none` [default: none].
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_count: Option<Count>,
    /// How long attempts are kept, or `none` for ever [default: 90d].
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_retention: Option<Span>,
    /// Most bytes of attempts kept, as stored [default: no limit].
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_retention_bytes: Option<ByteSize>,
    /// Most attempts kept, or `none` [default: none].
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_retention_count: Option<Count>,
    /// Keeps messages that some endpoint has not got yet, whatever the limits above say, until all
    /// messages take this many bytes [default: the limits hold, and a late endpoint misses some].
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_undelivered: Option<ByteSize>,
}

/// The modes of durability by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// A 202 survives power loss.
    PowerSafe,
    /// A 202 survives kill -9.
    ProcessSafe,
    /// A 202 promises nothing about power.
    None,
}

/// A duration, or no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Option<Duration>);

/// A number, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

impl FromStr for Count {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        if text == NO_END {
            return Ok(Self(None));
        }
        text.parse().map(|count| Self(Some(count)))
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(count) => serializer.serialize_u64(count),
            None => serializer.serialize_str(NO_END),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number, or `none`")]
        enum Raw {
            Number(u64),
            Text(String),
        }

        match Raw::deserialize(deserializer)? {
            Raw::Number(count) => Ok(Self(Some(count))),
            Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// How it is written that there is no end.
const NO_END: &str = "none";

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == NO_END {
            return Ok(Self(None));
        }
        let HumanDuration(duration) = text.parse()?;
        Ok(Self(Some(duration)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => HumanDuration(duration).fmt(f),
            None => f.write_str(NO_END),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What an ack means, from the settings.
pub(crate) fn durability(settings: &Settings) -> Durability {
    match settings.durability {
        Mode::PowerSafe => Durability::PowerSafe,
        Mode::ProcessSafe => Durability::ProcessSafe(settings.sync_interval.0),
        Mode::None => Durability::None,
    }
}

/// What expires, from the settings.
pub(crate) fn retention(settings: &Settings) -> Retention {
    let bytes = |size: Option<ByteSize>| size.and_then(|size| u64::try_from(size.0).ok());
    Retention {
        events: Keep {
            age: settings.retention.0,
            bytes: bytes(settings.retention_bytes),
            count: settings.retention_count.0,
        },
        attempts: Keep {
            age: settings.attempt_retention.0,
            bytes: bytes(settings.attempt_retention_bytes),
            count: settings.attempt_retention_count.0,
        },
        undelivered_bytes_max: bytes(settings.keep_undelivered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_duration_or_no_end() {
        let day = Duration::from_hours(24);
        for (text, expected) in [("1d", Span(Some(day))), ("none", Span(None))] {
            assert_eq!(text.parse::<Span>().unwrap(), expected);
            assert_eq!(expected.to_string(), text);
        }
        assert!("never".parse::<Span>().is_err());
    }

    #[test]
    fn options_reach_the_log() {
        let pairs = [
            ("HOOKLOG_DURABILITY", "process-safe"),
            ("HOOKLOG_SYNC_INTERVAL", "250ms"),
            ("HOOKLOG_RETENTION", "none"),
            ("HOOKLOG_RETENTION_BYTES", "1GiB"),
            ("HOOKLOG_ATTEMPT_RETENTION", "2d"),
            ("HOOKLOG_RETENTION_COUNT", "none"),
            ("HOOKLOG_ATTEMPT_RETENTION_COUNT", "1000"),
            ("HOOKLOG_KEEP_UNDELIVERED", "5GiB"),
        ];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::load(None, pairs, Default::default()).unwrap();
        let interval = Duration::from_millis(250);
        assert_eq!(durability(&settings), Durability::ProcessSafe(interval));
        let expected = Retention {
            events: Keep {
                bytes: Some(1 << 30),
                ..Keep::default()
            },
            attempts: Keep {
                age: Some(Duration::from_hours(48)),
                count: Some(1000),
                bytes: None,
            },
            undelivered_bytes_max: Some(5 << 30),
        };
        assert_eq!(retention(&settings), expected);
    }
}
