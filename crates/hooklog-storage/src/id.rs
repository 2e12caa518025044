//! Public ids: a prefix and a KSUID with milliseconds, 20 bytes, 27 characters of base62.
//!
//! Layout (big endian, so that byte order is time order): seconds since 1,400,000,000 (4 bytes),
//! milliseconds in steps of 4 (1 byte), payload (15 bytes). It is the layout that the ids of
//! Svix-compatible SDKs have (`KsuidMs`), where lists are paged by id and ids must sort by time.
//!
//! **Invariant:** the text order of two ids of one kind is the order of their bytes. The id of an
//! event (an attempt) carries its offset (its number), so no index from ids to positions is needed.
//! **Next:** `name.rs`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::offset::{AttemptSeq, Offset};
use crate::time::Timestamp;

/// Seconds between the Unix epoch and the KSUID epoch (KSUID specification).
const EPOCH_SECS: i64 = 1_400_000_000;
/// Bytes of a KSUID.
const BYTES: usize = 20;
/// Characters of a KSUID in base62: ceil(160 / log2(62)).
const CHARS: usize = 27;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The prefix is missing or another kind's.
    #[error("does not start with `{expected}`")]
    Prefix {
        /// The prefix that this kind of id has.
        expected: &'static str,
    },
    /// Not 27 characters after the prefix.
    #[error("has {found} characters after the prefix instead of 27")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// A character outside base62, or a number above 2^160.
    #[error("is not base62 of 20 bytes")]
    Alphabet,
}

/// Twenty bytes whose order is time order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ksuid([u8; BYTES]);

impl Ksuid {
    /// The KSUID of a time (clamped to what 4 bytes of seconds can hold) and 15 payload bytes.
    pub fn new(time: Timestamp, payload: [u8; 15]) -> Self {
        let secs = time
            .as_secs()
            .saturating_sub(EPOCH_SECS)
            .clamp(0, i64::from(u32::MAX));
        let secs = u32::try_from(secs).unwrap_or(u32::MAX);
        let steps = u8::try_from(time.as_millis().rem_euclid(1000) / 4).unwrap_or(u8::MAX);
        let mut bytes = [0; BYTES];
        let (head, tail) = bytes.split_at_mut(4);
        head.copy_from_slice(&secs.to_be_bytes());
        if let Some((step, rest)) = tail.split_first_mut() {
            *step = steps;
            rest.copy_from_slice(&payload);
        }
        Self(bytes)
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, in key order.
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The time in the id, exact to 4 ms.
    pub fn timestamp(&self) -> Timestamp {
        let [a, b, c, d, step, ..] = self.0;
        let secs = i64::from(u32::from_be_bytes([a, b, c, d])) + EPOCH_SECS;
        Timestamp::from_millis(secs * 1000 + i64::from(step) * 4)
    }

    /// The first eight payload bytes, as the number that event and attempt ids carry.
    fn position(&self) -> u64 {
        let (_, payload) = self.0.split_at(5);
        payload
            .first_chunk()
            .map_or(0, |number| u64::from_be_bytes(*number))
    }

    fn with_position(time: Timestamp, position: u64, tail: [u8; 7]) -> Self {
        let mut payload = [0; 15];
        let (number, rest) = payload.split_at_mut(8);
        number.copy_from_slice(&position.to_be_bytes());
        rest.copy_from_slice(&tail);
        Self::new(time, payload)
    }

    fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() != CHARS {
            return Err(IdError::Length {
                found: text.chars().count(),
            });
        }
        let mut bytes = [0_u8; BYTES];
        for char in text.bytes() {
            let digit = ALPHABET
                .iter()
                .position(|&c| c == char)
                .ok_or(IdError::Alphabet)?;
            // bytes = bytes * 62 + digit, least significant byte last.
            let mut carry = u32::try_from(digit).map_err(|_| IdError::Alphabet)?;
            for byte in bytes.iter_mut().rev() {
                carry += u32::from(*byte) * 62;
                *byte = low_byte(carry);
                carry >>= 8;
            }
            if carry != 0 {
                return Err(IdError::Alphabet);
            }
        }
        Ok(Self(bytes))
    }
}

/// The lowest eight bits.
const fn low_byte(value: u32) -> u8 {
    let [.., low] = value.to_be_bytes();
    low
}

impl fmt::Display for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0;
        let mut text = [b'0'; CHARS];
        for char in text.iter_mut().rev() {
            // bytes = bytes / 62, the remainder is the next digit from the right.
            let mut remainder = 0_u32;
            for byte in &mut bytes {
                let value = remainder * 256 + u32::from(*byte);
                *byte = low_byte(value / 62);
                remainder = value % 62;
            }
            *char = ALPHABET.get(remainder as usize).copied().unwrap_or(b'0');
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Ksuid);

        impl $name {
            /// What the text form starts with.
            pub const PREFIX: &'static str = $prefix;

            /// The id made of a time and 15 random bytes.
            pub fn new(time: Timestamp, payload: [u8; 15]) -> Self {
                Self(Ksuid::new(time, payload))
            }

            /// The id with these 20 bytes.
            pub const fn from_bytes(bytes: [u8; 20]) -> Self {
                Self(Ksuid::from_bytes(bytes))
            }

            /// The 20 bytes, in key order.
            pub const fn as_bytes(&self) -> &[u8; 20] {
                self.0.as_bytes()
            }

            /// The time of creation in the id, exact to 4 ms.
            pub fn timestamp(&self) -> Timestamp {
                self.0.timestamp()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let rest = text.strip_prefix($prefix).ok_or(IdError::Prefix { expected: $prefix })?;
                Ksuid::parse(rest).map(Self)
            }
        }
    };
}

id! {
    /// An organisation: the tenant that a token speaks for.
    OrganisationId, "org_"
}

/// The organisation of tokens that name none (the one that users of Svix-compatible servers know),
/// and of a program that has no use for tenants.
pub const DEFAULT_ORGANISATION: &str = "org_23rb8YdGqMT0qIzpgGwdXfHirMu";

id! {
    /// An application: the scope in which events are published and subscribed to.
    ApplicationId, "app_"
}
id! {
    /// A subscription (on the wire: an endpoint).
    SubscriptionId, "ep_"
}
id! {
    /// An event (on the wire: a message). Carries its offset.
    EventId, "msg_"
}
id! {
    /// One attempt of a delivery. Carries its number.
    AttemptId, "atmpt_"
}

id! {
    /// A background task.
    TaskId, "qtask_"
}

impl EventId {
    /// The id of the event at `offset`; `tail` makes ids of different logs differ.
    pub fn at(time: Timestamp, offset: Offset, tail: [u8; 7]) -> Self {
        Self(Ksuid::with_position(time, offset.get(), tail))
    }

    /// Where the event stands in the log.
    pub fn offset(&self) -> Offset {
        Offset::new(self.0.position())
    }
}

impl AttemptId {
    /// The id of the attempt with number `seq`.
    pub fn at(time: Timestamp, seq: AttemptSeq, tail: [u8; 7]) -> Self {
        Self(Ksuid::with_position(time, seq.get(), tail))
    }

    /// The attempt's number.
    pub fn seq(&self) -> AttemptSeq {
        AttemptSeq::new(self.0.position())
    }
}

#[cfg(test)]
mod tests;
