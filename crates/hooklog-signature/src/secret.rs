//! Signing secrets: key bytes, and their text form `whsec_…`.
//!
//! **Invariant:** a `Secret` holds 24 to 75 bytes, so no empty or guessable key ever signs; its
//! bytes show only where [`Secret::expose`] or [`Secret::as_bytes`] is called.
//! **Next:** `sign.rs`.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use subtle::ConstantTimeEq as _;

/// What the text form starts with (Standard Webhooks 1.0.0).
const PREFIX: &str = "whsec_";
/// Fewest key bytes (Standard Webhooks 1.0.0); also what is generated.
const BYTES_MIN: usize = 24;
/// Most key bytes. The specification says 64; Svix-compatible servers import up to 75 (100
/// characters of base64), so a secret that moves over from one must be taken.
const BYTES_MAX: usize = 75;
/// The standard alphabet; some libraries print secrets without padding, so both forms are read.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text or bytes are not a secret. Never holds any of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing, or only the prefix.
    #[error("secret must not be empty")]
    Empty,
    /// Not base64 of the standard alphabet.
    #[error("secret is not standard base64 (with or without `whsec_` before it)")]
    Encoding,
    /// Too short or too long.
    #[error("secret has {found} bytes, but must have {BYTES_MIN} to {BYTES_MAX}")]
    Length {
        /// Bytes found.
        found: usize,
    },
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes from the operating system: {0}")]
pub struct GenerateError(getrandom::Error);

/// The key that sender and receiver share. `Debug` does not show it; equality takes constant time.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A new secret of 24 random bytes.
    pub fn generate() -> Result<Self, GenerateError> {
        let mut bytes = [0; BYTES_MIN];
        getrandom::fill(&mut bytes).map_err(GenerateError)?;
        Ok(Self(Box::new(bytes)))
    }

    /// Reads the text form: standard base64, padded or not, with or without `whsec_`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        if encoded.is_empty() {
            return Err(SecretError::Empty);
        }
        let bytes = LENIENT.decode(encoded).map_err(|_| SecretError::Encoding)?;
        Self::from_bytes(&bytes)
    }

    /// The secret with these key bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        match bytes.len() {
            0 => Err(SecretError::Empty),
            BYTES_MIN..=BYTES_MAX => Ok(Self(bytes.into())),
            found => Err(SecretError::Length { found }),
        }
    }

    /// The key bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text form, `whsec_` and padded base64, for showing it to its owner.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests;
