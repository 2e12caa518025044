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

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::offset::{AttemptSeq, Offset};
use crate::time::Timestamp;

/// Seconds between the Unix epoch and the KSUID epoch (KSUID specification).
const EPOCH_SECS: i64 = 1_400_000_000;
/// Bytes of a KSUID.
const BYTES: usize = 20;
/// Characters of a KSUID in base62: ceil(160 / log2(62)).
const CHARS: usize = 27;
/// Parts of a KSUID that are calculated with at once.
const LIMBS: usize = BYTES / size_of::<u32>();
/// What base62 is named for.
const BASE: u64 = 62;
/// So many characters are made by one division: the most whose number of values fits 32 bits, as each
/// remainder must.
const PIECE_CHARS: usize = 5;
const PIECE: u64 = BASE.pow(5);
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ksuid([u8; BYTES]);

/// As three numbers, not as twenty bytes: written big endian, as `codec.rs` has it, the bytes are the same,
/// and an id costs three steps of the codec in place of twenty (an attempt holds three ids and is encoded
/// twice).
impl Serialize for Ksuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ([high, middle], low) = self.numbers();
        (high, middle, low).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ksuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (high, middle, low) = <(u64, u64, u32)>::deserialize(deserializer)?;
        let mut bytes = [0; BYTES];
        let (first, rest) = bytes.split_at_mut(size_of::<u64>());
        let (second, third) = rest.split_at_mut(size_of::<u64>());
        first.copy_from_slice(&high.to_be_bytes());
        second.copy_from_slice(&middle.to_be_bytes());
        third.copy_from_slice(&low.to_be_bytes());
        Ok(Self(bytes))
    }
}

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

    /// All bytes, as two numbers of eight and one of four.
    fn numbers(&self) -> ([u64; 2], u32) {
        let (pairs, rest) = self.0.as_chunks();
        let mut numbers = [0; 2];
        for (number, bytes) in numbers.iter_mut().zip(pairs) {
            *number = u64::from_be_bytes(*bytes);
        }
        let rest = rest
            .first_chunk()
            .map_or(0, |rest| u32::from_be_bytes(*rest));
        (numbers, rest)
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
        let mut limbs = [0_u32; LIMBS];
        // Only the first piece is shorter than the others.
        let (first, rest) = text.as_bytes().split_at(CHARS % PIECE_CHARS);
        for piece in std::iter::once(first).chain(rest.chunks(PIECE_CHARS)) {
            // limbs = limbs * 62^characters + piece, the least significant limb last.
            let mut carry = 0;
            let mut factor = 1;
            for char in piece {
                carry = carry * BASE + digit(*char).ok_or(IdError::Alphabet)?;
                factor *= BASE;
            }
            for limb in limbs.iter_mut().rev() {
                carry += u64::from(*limb) * factor;
                *limb = low_limb(carry);
                carry >>= u32::BITS;
            }
            if carry != 0 {
                return Err(IdError::Alphabet);
            }
        }
        let mut bytes = [0; BYTES];
        for (bytes, limb) in bytes.chunks_mut(size_of::<u32>()).zip(limbs) {
            bytes.copy_from_slice(&limb.to_be_bytes());
        }
        Ok(Self(bytes))
    }

    /// The characters, written backwards: five digits for each division of the whole number, which
    /// costs a twentieth of a division for each digit and byte.
    fn text(&self) -> [u8; CHARS] {
        let mut limbs = [0_u32; LIMBS];
        for (limb, bytes) in limbs.iter_mut().zip(self.0.as_chunks().0) {
            *limb = u32::from_be_bytes(*bytes);
        }
        let mut text = [b'0'; CHARS];
        for piece in text.rchunks_mut(PIECE_CHARS) {
            // limbs = limbs / 62^5, the remainder is the next five digits from the right.
            let mut rest = 0;
            for limb in &mut limbs {
                let value = (rest << u32::BITS) | u64::from(*limb);
                *limb = low_limb(value / PIECE);
                rest = value % PIECE;
            }
            for char in piece.iter_mut().rev() {
                let digit = usize::try_from(rest % BASE).unwrap_or(0);
                *char = ALPHABET.get(digit).copied().unwrap_or(b'0');
                rest /= BASE;
            }
        }
        text
    }
}

/// The number that a character stands for.
fn digit(char: u8) -> Option<u64> {
    let (above, from) = match char {
        b'0'..=b'9' => (0, b'0'),
        b'A'..=b'Z' => (10, b'A'),
        b'a'..=b'z' => (36, b'a'),
        _ => return None,
    };
    Some(u64::from(char - from) + above)
}

/// The lowest 32 bits.
const fn low_limb(value: u64) -> u32 {
    let [.., a, b, c, d] = value.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl fmt::Display for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
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
                // Not with `write!`, which costs as much again: every answer has some ids.
                f.write_str($prefix)?;
                fmt::Display::fmt(&self.0, f)
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
