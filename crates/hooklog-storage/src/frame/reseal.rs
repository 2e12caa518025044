//! Record batches for the fuzzer: any bytes, made to pass the checksums.
//!
//! **Invariant:** only compiled for tests and fuzzing. What a checksum cannot vouch for (counts,
//! lengths of what is inside, compressed bytes) stays as it is.
//! **Next:** `../fuzzing.rs`, which decodes them.

use super::{CODEC_BINCODE, HEADER_BYTES, MAGIC, VERSION, length};

/// Makes magic, version, codec, stored length and both checksums of a would-be batch hold, so that a
/// fuzzer gets past them to what lies behind.
pub(crate) fn reseal(bytes: &[u8]) -> Vec<u8> {
    let mut head = bytes.to_vec();
    head.resize(bytes.len().max(HEADER_BYTES), 0);
    let stored = head.split_off(HEADER_BYTES);
    let [_, _, _, _, _, _, compression, kind, fields @ ..] = head.as_slice() else {
        return head;
    };
    let mut out = [MAGIC.as_slice(), &[VERSION, CODEC_BINCODE]].concat();
    out.extend_from_slice(&[compression & 1, kind & 1]);
    out.extend_from_slice(fields.get(..36).unwrap_or_default());
    out.extend_from_slice(&length(&stored).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    out.extend_from_slice(&stored);
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    out
}
