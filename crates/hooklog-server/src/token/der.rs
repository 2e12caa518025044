//! As much of DER as a public key takes (RFC 5280 §4.1.2.7, RFC 8017 A.1.1, RFC 8410).
//!
//! **Invariant:** what is not exactly such a key is `None`; nothing is skipped or guessed.
//! **Next:** `backend.rs`.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// 1.2.840.113549.1.1.1, rsaEncryption.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The parameters of RSA.
const NULL: &[u8] = &[0x05, 0x00];
/// 1.3.101.112, id-Ed25519.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// RFC 8032 §5.1.5.
const ED25519_BYTES: usize = 32;

/// A public key in the form that its algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublicKey<'a> {
    /// An `RSAPublicKey`.
    Rsa(&'a [u8]),
    /// The point.
    Ed25519(&'a [u8]),
}

impl<'a> PublicKey<'a> {
    /// Reads a `SubjectPublicKeyInfo`.
    pub(super) fn parse(info: &'a [u8]) -> Option<Self> {
        let info = whole(SEQUENCE, info)?;
        let (algorithm, rest) = next(SEQUENCE, info)?;
        let (oid, parameters) = next(OID, algorithm)?;
        // The first byte of a bit string is how many bits of the last are unused.
        let key = whole(BIT_STRING, rest)?.strip_prefix(&[0])?;
        match (oid, parameters) {
            (RSA, NULL) => Some(Self::Rsa(key)),
            (ED25519, []) if key.len() == ED25519_BYTES => Some(Self::Ed25519(key)),
            _ => None,
        }
    }
}

/// How many bits the modulus of an `RSAPublicKey` has.
pub(super) fn modulus_bits(key: &[u8]) -> Option<usize> {
    let (modulus, exponent) = next(INTEGER, whole(SEQUENCE, key)?)?;
    whole(INTEGER, exponent)?;
    // A zero byte in front keeps it positive.
    let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let zeros = usize::try_from(digits.first()?.leading_zeros()).ok()?;
    Some(digits.len() * 8 - zeros)
}

/// The contents of the one value that `bytes` are.
fn whole(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    next(tag, bytes).and_then(|(contents, rest)| rest.is_empty().then_some(contents))
}

/// The contents of the first value, and what follows it.
fn next(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (length, rest) = length(rest)?;
    if *found != tag {
        return None;
    }
    rest.split_at_checked(length)
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let first = usize::from(*first);
    if first < 0x80 {
        return Some((first, rest));
    }
    // No key takes more than two bytes of length.
    let count = first - 0x80;
    let (digits, rest) = rest.split_at_checked(count)?;
    if !(1..=2).contains(&count) {
        return None;
    }
    let length = digits
        .iter()
        .fold(0, |length, digit| length << 8 | usize::from(*digit));
    // DER has one way to write a length: the shortest.
    let shortest = if count == 1 { 0x80 } else { 0x100 };
    (length >= shortest).then_some((length, rest))
}
