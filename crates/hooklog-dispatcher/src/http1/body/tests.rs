//! Tests of bodies: however they are cut into pieces, the same content comes out.

use proptest::prelude::*;

use super::*;

/// Content, how it ended, and what is left over, of bytes that come in pieces of this size.
fn read(framing: Framing, bytes: &[u8], piece: usize) -> (Vec<u8>, Step, Vec<u8>) {
    let mut decoder = Decoder::new(framing);
    let (mut content, mut buffer) = (Vec::new(), Vec::new());
    let mut pieces = bytes.chunks(piece);
    loop {
        match decoder.step(&buffer) {
            Step::Content(length) => content.extend(buffer.drain(..length)),
            Step::Skip(length) => drop(buffer.drain(..length)),
            Step::More => match pieces.next() {
                Some(more) => buffer.extend_from_slice(more),
                None => return (content, Step::More, buffer),
            },
            end => {
                buffer.extend(pieces.flatten());
                return (content, end, buffer);
            }
        }
    }
}

#[test]
fn bodies_end_where_they_say_and_no_byte_later() {
    use Framing::{Chunked, Close, Length};
    for (framing, bytes, content, end, rest) in [
        (Length(0), "abc", "", Step::End, "abc"),
        (Length(3), "abcd", "abc", Step::End, "d"),
        (Length(5), "abc", "abc", Step::More, ""),
        (Close, "abc", "abc", Step::More, ""),
        (
            Chunked,
            "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nf",
            "abcde",
            Step::End,
            "f",
        ),
        (Chunked, "0\r\na: b\r\nc: d\r\n\r\nf", "", Step::End, "f"),
        (
            Chunked,
            "A\r\n0123456789\r\n0\r\n\r\n",
            "0123456789",
            Step::End,
            "",
        ),
        (Chunked, "3\r\nabc\r\n", "abc", Step::More, ""),
    ] {
        for piece in 1..=bytes.len() {
            let (found, how, left) = read(framing, bytes.as_bytes(), piece);
            let found = (String::from_utf8(found).unwrap(), how);
            assert_eq!(found, (content.to_owned(), end), "{bytes:?} by {piece}");
            assert_eq!(left, rest.as_bytes(), "{bytes:?} by {piece}");
        }
    }
    for bytes in [
        "x\r\n",
        "3\r\nabcd\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
        "0\r\na b\r\n\r\n",
    ] {
        let (_, how, _) = read(Chunked, bytes.as_bytes(), bytes.len());
        assert_eq!(how, Step::Broken, "{bytes:?}");
    }
}

#[test]
fn lines_of_chunks_and_trailers_are_bounded() {
    let long = format!("1;{}", "x".repeat(SIZE_LINE_BYTES_MAX));
    assert_eq!(read(Framing::Chunked, long.as_bytes(), 100).1, Step::Broken);
    let many = format!("0\r\na: {}", "x".repeat(TRAILERS_BYTES_MAX));
    assert_eq!(read(Framing::Chunked, many.as_bytes(), 100).1, Step::Broken);
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILERS_MAX + 1));
    assert_eq!(read(Framing::Chunked, many.as_bytes(), 100).1, Step::Broken);
}

proptest! {
    /// Whatever the chunks and the pieces, the content is what was sent; garbage never panics.
    #[test]
    fn chunks_are_joined(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), piece in 1_usize..50, garbage in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        let (content, how, rest) = read(Framing::Chunked, &bytes, piece);
        prop_assert_eq!((content, how, rest), (chunks.concat(), Step::End, Vec::new()));
        let (_, how, _) = read(Framing::Chunked, &garbage, piece);
        prop_assert!(matches!(how, Step::End | Step::More | Step::Broken));
    }
}
