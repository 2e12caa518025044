//! Durations and sizes as people write them: `15s`, `1h30m`, `28d`; `2MiB`, `65536`.
//!
//! **Invariant:** what is printed parses back to the same value; nothing overflows later, because
//! both have a largest value.
//! **Next:** `serve.rs`, the first command.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest duration: added to any time of this era it still is a time.
const DURATION_MAX: Duration = Duration::from_hours(24 * 36_500);
/// Units of a duration with their milliseconds, largest first; the first name is printed.
const DURATION_UNITS: [(&[&str], u64); 5] = [
    (&["d", "day", "days"], 86_400_000),
    (&["h", "hour", "hours"], 3_600_000),
    (&["m", "min", "minutes"], 60_000),
    (&["s", "sec", "seconds"], 1_000),
    (&["ms"], 1),
];
/// Units of a size with their bytes, largest first; the first name is printed.
const SIZE_UNITS: [(&[&str], u64); 4] = [
    (&["GiB", "G"], 1 << 30),
    (&["MiB", "M"], 1 << 20),
    (&["KiB", "K"], 1 << 10),
    (&["B"], 1),
];

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("{found:?} is no duration; write it as 500ms, 15s, 5m, 2h, 28d or 1h30m")]
    Duration { found: String },
    #[error("{found:?} is longer than the limit of 36500d")]
    TooLong { found: String },
    #[error("{found:?} is no size; write it as 65536, 512KiB, 2MiB or 1GiB")]
    Size { found: String },
}

/// A duration with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HumanDuration(pub(crate) Duration);

impl FromStr for HumanDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Duration {
            found: text.to_owned(),
        };
        let (mut rest, mut millis) = (text.trim(), 0_u64);
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (number, unit, after) = split_part(rest);
            let (_, factor) = DURATION_UNITS
                .iter()
                .find(|(names, _)| names.contains(&unit))
                .ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let part = number.checked_mul(*factor);
            millis = part
                .and_then(|part| part.checked_add(millis))
                .ok_or_else(wrong)?;
            rest = after;
        }
        let duration = Duration::from_millis(millis);
        if duration > DURATION_MAX {
            return Err(UnitError::TooLong {
                found: text.to_owned(),
            });
        }
        Ok(Self(duration))
    }
}

/// `1h30m` → (`1`, `h`, `30m`). Missing parts are empty.
fn split_part(text: &str) -> (&str, &str, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let letters = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    (number, unit, rest.trim_start())
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (names, factor) in DURATION_UNITS {
            if rest >= factor {
                write!(f, "{}{}", rest / factor, names.first().unwrap_or(&""))?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) usize);

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Size {
            found: text.to_owned(),
        };
        let (number, unit, rest) = split_part(text.trim());
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, factor) = SIZE_UNITS
            .iter()
            .find(|(names, _)| names.contains(&unit))
            .ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let bytes = number
            .checked_mul(*factor)
            .and_then(|bytes| usize::try_from(bytes).ok());
        match bytes {
            Some(bytes) if rest.is_empty() => Ok(Self(bytes)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u64::try_from(self.0).unwrap_or(u64::MAX);
        let exact = SIZE_UNITS
            .iter()
            .find(|(_, factor)| bytes != 0 && bytes % factor == 0);
        match exact {
            Some((names, factor)) if *factor > 1 => {
                write!(f, "{}{}", bytes / factor, names.first().unwrap_or(&""))
            }
            _ => write!(f, "{bytes}"),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes or a size as 2MiB")
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<ByteSize, E> {
        let wrong = || E::invalid_value(Unexpected::Unsigned(value), &self);
        usize::try_from(value).map(ByteSize).map_err(|_| wrong())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<ByteSize, E> {
        let wrong = || E::invalid_value(Unexpected::Signed(value), &self);
        usize::try_from(value).map(ByteSize).map_err(|_| wrong())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<ByteSize, E> {
        value.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests;
