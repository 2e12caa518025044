//! What tells that a request to publish is one that was here before.
//!
//! **Invariant:** the key's text is never stored, only its hash. Hash and fingerprint are on disk:
//! how they are made changes only with the format.
//! **Next:** `event_keys.rs`, which looks keys up.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is hashed first, so that no other use of the hash gives the same values.
const DOMAIN: &[u8] = b"hooklog idempotency 1";

/// The key that a publisher gave to a request, with a fingerprint of that request.
///
/// Two keys are the same if scope and text are; then the fingerprints say whether the requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    hash: [u8; Self::HASH_BYTES],
    fingerprint: u64,
}

impl IdempotencyKey {
    /// Of 2^64 keys two are expected to share a hash; a log indexes 50 million.
    const HASH_BYTES: usize = 16;
    /// Bytes in a record.
    pub(crate) const BYTES: usize = Self::HASH_BYTES + 8;

    /// The key `text` within `scope`, for a request of these bytes. The scope is whatever keeps the
    /// keys of one publisher from meaning anything to another: tenant, application, route.
    pub fn new(scope: &[&[u8]], text: &str, request: &[u8]) -> Self {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        // With their lengths: ("ab", "c") is another scope than ("a", "bc").
        for part in scope.iter().copied().chain([text.as_bytes()]) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self {
            hash: head(&hash.finalize()),
            fingerprint: u64::from_be_bytes(head(&Sha256::digest(request))),
        }
    }

    /// Of scope and text.
    pub(crate) fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// The key `text` within `scope`, for a request that is told by several texts and bytes.
    pub fn of_parts<'a>(
        scope: &[&[u8]],
        text: &str,
        request: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let mut fingerprint = Sha256::new();
        for part in request {
            fingerprint.update((part.len() as u64).to_be_bytes());
            fingerprint.update(part);
        }
        Self {
            fingerprint: u64::from_be_bytes(head(&fingerprint.finalize())),
            ..Self::new(scope, text, b"")
        }
    }

    /// Of scope and text alone: two keys are the same if these are.
    pub fn hash_bytes(&self) -> [u8; Self::HASH_BYTES] {
        self.hash
    }

    /// Whether both are about the same key.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    /// Of the request.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// The first bytes of a digest, which has 32.
pub(crate) fn head<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut head = [0; N];
    for (to, from) in head.iter_mut().zip(digest) {
        *to = *from;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_and_text_make_the_key_and_the_request_its_fingerprint() {
        let key = IdempotencyKey::new(&[b"ab", b"c"], "text", b"{}");
        assert_eq!(key, IdempotencyKey::new(&[b"ab", b"c"], "text", b"{}"));
        let other_request = IdempotencyKey::new(&[b"ab", b"c"], "text", b"{ }");
        assert!(key.is_same_key(&other_request));
        assert_ne!(key.fingerprint(), other_request.fingerprint());
        let scopes: [&[&[u8]]; 4] = [&[b"a", b"bc"], &[b"abc"], &[b"ab", b"c", b""], &[]];
        for scope in scopes {
            assert!(!key.is_same_key(&IdempotencyKey::new(scope, "text", b"{}")));
        }
        assert!(!key.is_same_key(&IdempotencyKey::new(&[b"ab"], "ctext", b"{}")));
        let parts = |parts: [&'static [u8]; 2]| IdempotencyKey::of_parts(&[b"ab"], "t", parts);
        assert_eq!(parts([b"a", b"bc"]), parts([b"a", b"bc"]));
        assert_ne!(parts([b"a", b"bc"]), parts([b"ab", b"c"]));
        assert!(parts([b"", b"x"]).is_same_key(&IdempotencyKey::new(&[b"ab"], "t", b"{}")));
    }

    /// The log's records carry these: a key must be known after an upgrade.
    #[test]
    fn the_bytes_never_change() {
        let key = IdempotencyKey::new(&[b"scope"], "key", b"{}");
        assert_eq!(
            u128::from_be_bytes(key.hash),
            0x3f92_ddfe_e8b5_f7cc_b0ed_d186_2cf5_415b
        );
        assert_eq!(key.fingerprint, 0x4413_6fa3_55b3_678a);
    }
}
