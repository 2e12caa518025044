//! Metadata to bytes and back: the only file that imports bincode.
//!
//! bincode 1.3.3 with fixed-width integers, big endian, a size limit, and no trailing bytes. It is
//! used inside our own checksummed frames only; the frames own the versioning.
//!
//! **Invariant:** decoding never allocates more than the input justifies and never panics.
//! **Next:** `frame.rs`.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of one encoded value. A registry value is bounded by the HTTP body limit (2 MiB);
/// twice that leaves room for embedders.
const VALUE_BYTES_MAX: usize = 4 << 20;

/// A value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[error("codec: {0}")]
pub(crate) struct CodecError(#[from] bincode::Error);

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_big_endian()
        .reject_trailing_bytes()
}

/// The bytes of a value.
pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends the bytes of a value, or none of them.
pub(crate) fn encode_into(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    // With a limit bincode encodes everything twice, the first time to count.
    let encoded = options().serialize_into(&mut *out, value);
    let is_large = out.len() - start > VALUE_BYTES_MAX;
    if is_large || encoded.is_err() {
        out.truncate(start);
    }
    encoded?;
    if is_large {
        return Err(Box::new(bincode::ErrorKind::SizeLimit).into());
    }
    Ok(())
}

/// The value of exactly these bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let limit = u64::try_from(VALUE_BYTES_MAX).unwrap_or(u64::MAX);
    Ok(options().with_limit(limit).deserialize(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_leaves_nothing_behind() {
        // A length of eight bytes, then the text.
        for (extra, expected) in [(0, true), (1, false)] {
            let text = "x".repeat(VALUE_BYTES_MAX - 8 + extra);
            let mut out = vec![7];
            assert_eq!(encode_into(&text, &mut out).is_ok(), expected);
            assert_eq!(out.len(), 1 + if expected { VALUE_BYTES_MAX } else { 0 });
            let encoded = encode(&text);
            assert_eq!(encoded.is_ok(), expected);
            if let Ok(bytes) = encoded {
                assert_eq!(decode::<String>(&bytes).unwrap(), text);
            }
        }
    }
}
