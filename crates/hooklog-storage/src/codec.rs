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
const VALUE_BYTES_MAX: u64 = 4 << 20;

/// A value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[error("codec: {0}")]
pub(crate) struct CodecError(#[from] bincode::Error);

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_limit(VALUE_BYTES_MAX)
        .with_fixint_encoding()
        .with_big_endian()
        .reject_trailing_bytes()
}

/// The bytes of a value.
pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    Ok(options().serialize(value)?)
}

/// Appends the bytes of a value.
pub(crate) fn encode_into(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    Ok(options().serialize_into(out, value)?)
}

/// The value of exactly these bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    Ok(options().deserialize(bytes)?)
}
