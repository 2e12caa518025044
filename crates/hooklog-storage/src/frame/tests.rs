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
