//! The sender's side: the content of the `webhook-signature` header.
//!
//! **Invariant:** only well-formed `v1,<base64>` tokens come out, separated by one space: some
//! receivers give up on the whole header at the first token they cannot split.
//! **Next:** `verify.rs`, the receiver's side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::secret::Secret;

/// What a token of the scheme starts with.
pub(crate) const SCHEME: &str = "v1,";
/// Bytes of an HMAC-SHA256.
pub(crate) const MAC_BYTES: usize = 32;

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
    let timestamp = timestamp.to_string();
    let mut value = String::new();
    for secret in secrets {
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(SCHEME);
        STANDARD.encode_string(mac(secret, id, &timestamp, body), &mut value);
    }
    value
}

/// HMAC-SHA256 over `{id}.{timestamp}.{body}`. The timestamp is text, so that a receiver signs the
/// very characters of the header.
pub(crate) fn mac(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> [u8; MAC_BYTES] {
    #[expect(
        clippy::expect_used,
        reason = "HMAC hashes or pads keys to its block: any length fits"
    )]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
