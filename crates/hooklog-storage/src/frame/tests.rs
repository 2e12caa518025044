use proptest::prelude::*;

use super::*;
use crate::testing::assert_golden;

fn header() -> Header {
    Header {
        kind: Kind::Events,
        base: 0x0102_0304_0506_0708,
        count: 3,
        first: Timestamp::from_millis(1_700_000_000_000),
        last: Timestamp::from_millis(1_700_000_000_123),
        previous_crc: 0xdead_beef,
    }
}

#[test]
fn the_bytes_of_a_batch_are_golden() {
    let body = b"hooklog hooklog hooklog hooklog hooklog hooklog";
    let (plain, _) = encode(&header(), body, Compression::None);
    assert_golden("record_batch_plain.hex", &plain);
    let (lz4, _) = encode(&header(), body, Compression::Lz4);
    assert_golden("record_batch_lz4.hex", &lz4);
    assert!(lz4.len() < plain.len());
}

#[test]
fn a_length_that_lies_is_refused_before_memory_is_taken() {
    let (mut bytes, _) = encode(&header(), &[0; 1000], Compression::Lz4);
    bytes[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[..48]);
    bytes[48..52].copy_from_slice(&crc.to_be_bytes());
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(decode(&bytes.into()).unwrap_err(), FrameError::Compression);
}

proptest! {
    #[test]
    fn batches_round_trip(body: Vec<u8>, lz4: bool, count: u32) {
        let compression = if lz4 { Compression::Lz4 } else { Compression::None };
        let header = Header { count, ..header() };
        let (bytes, crc) = encode(&header, &body, compression);
        let batch = decode(&bytes.into()).unwrap();
        prop_assert_eq!(batch.header, header);
        prop_assert_eq!(&batch.body[..], &body[..]);
        prop_assert_eq!(batch.crc, crc);
    }

    #[test]
    fn every_flipped_bit_is_noticed(body in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8_u32) {
        let (mut bytes, _) = encode(&header(), &body, Compression::Lz4);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes.into()).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(decode(&bytes.into()).is_err());
    }
}

proptest! {
    #[test]
    fn every_changed_byte_and_every_cut_is_refused(
        body in prop::collection::vec(0_u8..4, 0..400),
        lz4: bool,
        at: prop::sample::Index,
        change in 1_u8..,
        more in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let compression = if lz4 { Compression::Lz4 } else { Compression::None };
        let (bytes, _) = encode(&header(), &body, compression);
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= change;
        prop_assert!(decode(&changed.into()).is_err());
        prop_assert!(decode(&bytes[..at].to_vec().into()).is_err());
        prop_assert!(decode(&[bytes, more].concat().into()).is_err());
    }

    /// The length is known from any first chunk that holds the header, and from no shorter one.
    #[test]
    fn the_first_chunk_tells_the_length(body in prop::collection::vec(any::<u8>(), 0..400), at: prop::sample::Index) {
        let (bytes, _) = encode(&header(), &body, Compression::None);
        let chunk = at.index(bytes.len() + 1);
        let expected = if chunk < HEADER_BYTES { Err(FrameError::Short) } else { Ok(bytes.len()) };
        prop_assert_eq!(total_bytes(&bytes[..chunk]), expected);
    }
}
