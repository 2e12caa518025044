//! The receiver's side: is this webhook from someone who knows one of our secrets, and is it fresh?
//!
//! **Invariant:** a token counts only if it decodes to exactly 32 bytes, checked before the
//! constant-time comparison (comparing up to the shorter length once let an empty signature pass in
//! a well-known library). Tokens that cannot be read are skipped and never spoil the others.
//! **Next:** the end of the crate; `hooklog-dispatcher` signs with it, `hooklog receive` verifies.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq as _};

use crate::secret::Secret;
use crate::sign::{MAC_BYTES, SCHEME, Signer, mac};

/// How far a timestamp may be from `now`, in both directions (the reference libraries' 5 minutes).
pub const TOLERANCE: Duration = Duration::from_mins(5);

/// Most tokens of the header that are looked at. A sender that keeps ten old secrets and signs by
/// two schemes sends 22; what comes after this many is ignored.
pub const SIGNATURES_MAX: usize = 32;

/// The three headers of a webhook, as they came.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// `webhook-id` (or `svix-id`).
    pub id: &'a str,
    /// `webhook-timestamp` (or `svix-timestamp`).
    pub timestamp: &'a str,
    /// `webhook-signature` (or `svix-signature`).
    pub signature: &'a str,
}

/// Why a webhook is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing to verify with.
    #[error("no secret to verify with")]
    NoSecrets,
    /// A header is absent or empty.
    #[error("header {name} is missing")]
    MissingHeader {
        /// Its name.
        name: &'static str,
    },
    /// The id holds a `.`, which the specification forbids: bytes could move from the id to the
    /// timestamp and on to the body without changing what is signed.
    #[error("header webhook-id holds a `.`")]
    InvalidId,
    /// The timestamp is not a decimal number of seconds.
    #[error("header webhook-timestamp is not a number of seconds")]
    InvalidTimestamp,
    /// The timestamp is too far in the past: a replay, or a clock that is wrong.
    #[error("timestamp is {seconds} s too old")]
    TooOld {
        /// Seconds beyond the tolerance.
        seconds: u64,
    },
    /// The timestamp is too far in the future.
    #[error("timestamp is {seconds} s too new")]
    TooNew {
        /// Seconds beyond the tolerance.
        seconds: u64,
    },
    /// None of the signatures was made with any of the secrets.
    #[error("no signature matches")]
    NoMatch,
}

/// Checks that a webhook was signed with one of `secrets` and that its timestamp is at most
/// `tolerance` away from `now` (Unix seconds). `body` must be the raw bytes that came.
///
/// The work is bounded: one HMAC per secret, [`SIGNATURES_MAX`] comparisons for each.
pub fn verify(
    secrets: &[Secret],
    headers: &Headers<'_>,
    body: &[u8],
    now: i64,
    tolerance: Duration,
) -> Result<(), VerifyError> {
    if secrets.is_empty() {
        return Err(VerifyError::NoSecrets);
    }
    check_headers(headers)?;
    check_time(headers.timestamp, now, tolerance)?;
    let candidates: Vec<_> = headers
        .signature
        .split_ascii_whitespace()
        .take(SIGNATURES_MAX)
        .filter_map(parse_token)
        .collect();
    if candidates.is_empty() {
        return Err(VerifyError::NoMatch);
    }
    let mut matched = Choice::from(0);
    for secret in secrets {
        let expected = mac(Signer::new(secret), headers.id, headers.timestamp, body);
        for candidate in &candidates {
            matched |= expected.ct_eq(candidate);
        }
    }
    if matched.into() {
        Ok(())
    } else {
        Err(VerifyError::NoMatch)
    }
}

fn check_headers(headers: &Headers<'_>) -> Result<(), VerifyError> {
    let named = [
        ("webhook-id", headers.id),
        ("webhook-timestamp", headers.timestamp),
        ("webhook-signature", headers.signature),
    ];
    for (name, value) in named {
        if value.is_empty() {
            return Err(VerifyError::MissingHeader { name });
        }
    }
    if headers.id.contains('.') {
        return Err(VerifyError::InvalidId);
    }
    Ok(())
}

fn check_time(timestamp: &str, now: i64, tolerance: Duration) -> Result<(), VerifyError> {
    // `parse` alone would take a sign.
    if !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(VerifyError::InvalidTimestamp);
    }
    let timestamp: i64 = timestamp
        .parse()
        .map_err(|_| VerifyError::InvalidTimestamp)?;
    let seconds = timestamp.abs_diff(now).saturating_sub(tolerance.as_secs());
    match seconds {
        0 => Ok(()),
        _ if timestamp < now => Err(VerifyError::TooOld { seconds }),
        _ => Err(VerifyError::TooNew { seconds }),
    }
}

/// The bytes of a `v1,<base64>` token; `None` for any other scheme and anything malformed.
fn parse_token(token: &str) -> Option<[u8; MAC_BYTES]> {
    let encoded = token.strip_prefix(SCHEME)?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
