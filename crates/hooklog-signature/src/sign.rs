//! The sender's side: the content of the `webhook-signature` header.
//!
//! **Invariant:** only well-formed `v1,<base64>` tokens come out, separated by one space: some
//! receivers give up on the whole header at the first token they cannot split.
//! **Next:** `verify.rs`, the receiver's side.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::secret::Secret;

/// What a token of the scheme starts with.
pub(crate) const SCHEME: &str = "v1,";
/// Bytes of an HMAC-SHA256.
pub(crate) const MAC_BYTES: usize = 32;

/// The text of one signature, with a space.
const TOKEN_BYTES: usize = SCHEME.len() + MAC_BYTES.div_ceil(3) * 4 + 1;

/// A secret that is ready to sign: what hashing begins with is calculated once, which spares two of the
/// eighteen blocks that a message of 1 KiB takes.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// Makes a secret ready.
    pub fn new(secret: &Secret) -> Self {
        Self(keyed(secret.as_bytes()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// What hashing begins with.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(
        clippy::expect_used,
        reason = "HMAC hashes or pads keys to its block: any length fits"
    )]
    Hmac::new_from_slice(key).expect("a key of any length")
}

/// The value of `webhook-signature` for a message: one signature per secret, in their order.
///
/// Give several secrets while one is being rotated out. `timestamp` is that of the attempt, in Unix
/// seconds. `id` must hold no `.`, because a receiver could not tell where it ends.
/// No secrets make an empty value, which no receiver accepts.
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let signers: Vec<_> = secrets.into_iter().map(Signer::new).collect();
    sign_by(&signers, id, timestamp, body)
}

/// The same as [`sign`], by secrets that are ready.
pub fn sign_by<'a>(
    signers: impl IntoIterator<Item = &'a Signer>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let timestamp = timestamp.to_string();
    let mut value = String::with_capacity(TOKEN_BYTES);
    for signer in signers {
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(SCHEME);
        STANDARD.encode_string(mac(signer.clone(), id, &timestamp, body), &mut value);
    }
    value
}

/// HMAC-SHA256 over `{id}.{timestamp}.{body}`. The timestamp is text, so that a receiver signs the
/// very characters of the header.
pub(crate) fn mac(signer: Signer, id: &str, timestamp: &str, body: &[u8]) -> [u8; MAC_BYTES] {
    let Signer(mut mac) = signer;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
