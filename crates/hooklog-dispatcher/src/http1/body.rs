//! The body of an answer over HTTP/1, as far as it was read.
//!
//! **Invariant:** nothing of what follows a body is taken for it; what is read ahead is bounded, be it
//! content, sizes of chunks or trailers.
//! **Next:** `../exchange.rs`, which both versions of HTTP have in common.

use super::head::Framing;

/// Most bytes of a line that says how long a chunk is, with its extensions (hyper's bound).
const SIZE_LINE_BYTES_MAX: usize = 16 << 10;
/// Most bytes of trailers (hyper's bound), and most of them.
const TRAILERS_BYTES_MAX: usize = 16 << 10;
const TRAILERS_MAX: usize = 100;

/// How far a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// So many bytes are to come.
    Length(u64),
    /// Until the connection is closed.
    Close,
    /// The size of a chunk comes next.
    Size,
    /// So many bytes of a chunk are to come, and the end of its line.
    Chunk(u64),
    Trailers,
    End,
}

/// What the bytes at hand begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes of content.
    Content(usize),
    /// So many bytes that are none.
    Skip(usize),
    /// More bytes are needed.
    More,
    /// The body is whole.
    End,
    /// This is no body.
    Broken,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::End,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Size,
            Framing::Close => Self::Close,
        }
    }

    /// Takes in what `bytes` begins with; it is then to be cut off.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        match *self {
            Self::End => Step::End,
            _ if bytes.is_empty() => Step::More,
            Self::Close => Step::Content(bytes.len()),
            Self::Length(left) => {
                let (taken, left) = take(bytes, left);
                *self = if left == 0 {
                    Self::End
                } else {
                    Self::Length(left)
                };
                Step::Content(taken)
            }
            Self::Chunk(0) => match bytes {
                [b'\r'] => Step::More,
                [b'\r', b'\n', ..] => {
                    *self = Self::Size;
                    Step::Skip(2)
                }
                _ => Step::Broken,
            },
            Self::Chunk(left) => {
                let (taken, left) = take(bytes, left);
                *self = Self::Chunk(left);
                Step::Content(taken)
            }
            Self::Size => match httparse::parse_chunk_size(bytes) {
                Ok(httparse::Status::Complete((length, size))) => {
                    *self = if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Chunk(size)
                    };
                    Step::Skip(length)
                }
                Ok(httparse::Status::Partial) if bytes.len() < SIZE_LINE_BYTES_MAX => Step::More,
                Ok(httparse::Status::Partial) | Err(_) => Step::Broken,
            },
            Self::Trailers => {
                let mut space = [httparse::EMPTY_HEADER; TRAILERS_MAX];
                match httparse::parse_headers(bytes, &mut space) {
                    Ok(httparse::Status::Complete((length, _))) => {
                        *self = Self::End;
                        Step::Skip(length)
                    }
                    Ok(httparse::Status::Partial) if bytes.len() < TRAILERS_BYTES_MAX => Step::More,
                    Ok(httparse::Status::Partial) | Err(_) => Step::Broken,
                }
            }
        }
    }
}

/// How much of what is left is at hand, and what is left then.
fn take(bytes: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (taken, left - taken as u64)
}

#[cfg(test)]
mod tests;
