//! The head of an answer over HTTP/1: its status, the few headers that matter here, and where its body
//! ends.
//!
//! **Invariant:** a body is framed as RFC 9112 section 6.3 has it; a head that leaves any doubt about
//! that is an error, and never the start of a body.
//! **Next:** `body.rs`, which follows.

use std::mem::MaybeUninit;

use http::StatusCode;
use httparse::{Header, ParserConfig, Status};

use super::Http1Error;
use crate::retry_after::RetryAfter;

/// Most headers of an answer (the default of hyper, which reads what comes over HTTP/2).
const HEADERS_MAX: usize = 100;
/// A length that nobody can mean.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// What a head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// Where a redirect leads.
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<RetryAfter>,
    pub(super) framing: Framing,
    /// Whether another request may follow.
    pub(super) is_kept: bool,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// What the bytes that were read so far begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// The beginning of a head.
    Partial,
    /// So many bytes of an interim answer (1xx); the answer follows.
    Interim(usize),
    /// So many bytes of head.
    Whole(usize, Head),
}

/// Reads what there is of a head.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Http1Error> {
    let mut space = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut space);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(error.into()),
    };
    let code = answer.code.ok_or(Http1Error::Status)?;
    let status = StatusCode::from_u16(code).map_err(|_| Http1Error::Status)?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Parsed::Interim(length));
    }
    let fields = Fields::of(answer.headers);
    let head = Head {
        status,
        location: fields.location.filter(|_| status.is_redirection()),
        retry_after: fields.retry_after,
        framing: fields.lengths.framing(status, answer.version == Some(1))?,
        // One that speaks HTTP/1.0 says so if it does not close.
        is_kept: (answer.version == Some(1) || fields.keeps)
            && !fields.closes
            && status != StatusCode::SWITCHING_PROTOCOLS,
    };
    Ok(Parsed::Whole(length, head))
}

/// The headers that matter.
#[derive(Default)]
struct Fields {
    lengths: Lengths,
    closes: bool,
    keeps: bool,
    location: Option<String>,
    retry_after: Option<RetryAfter>,
}

/// What headers say about the body's end.
#[derive(Default)]
struct Lengths {
    /// `Err` if they contradict each other, or are none.
    content: Option<Result<u64, Http1Error>>,
    /// Whether the last coding is `chunked`.
    transfer: Option<bool>,
}

impl Fields {
    fn of(headers: &[Header<'_>]) -> Self {
        let mut fields = Self::default();
        let (mut has_location, mut has_retry_after) = (false, false);
        for Header { name, value } in headers {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            // By length first: most headers are none of these.
            match name.len() {
                8 if is("location") && !has_location => {
                    has_location = true;
                    fields.location = Some(String::from_utf8_lossy(value).into_owned());
                }
                10 if is("connection") => {
                    let has =
                        |wanted| tokens(value).any(|token| token.eq_ignore_ascii_case(wanted));
                    fields.closes |= has("close");
                    fields.keeps |= has("keep-alive");
                }
                11 if is("retry-after") && !has_retry_after => {
                    has_retry_after = true;
                    fields.retry_after = visible(value).and_then(RetryAfter::parse);
                }
                14 if is("content-length") => fields.lengths.content(value),
                17 if is("transfer-encoding") => {
                    let last = visible(value).and_then(|text| text.rsplit(',').next());
                    let last = last.is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
                    fields.lengths.transfer = Some(last);
                }
                _ => {}
            }
        }
        fields
    }
}

impl Lengths {
    /// Several are one if they are equal.
    fn content(&mut self, value: &[u8]) {
        let Some(text) = visible(value) else {
            self.content = Some(Err(Http1Error::Length));
            return;
        };
        for number in text.split(',') {
            let number = digits(number.trim()).ok_or(Http1Error::Length);
            self.content = Some(match (self.content.take(), number) {
                (None, number) => number,
                (Some(Ok(old)), Ok(new)) if old == new => Ok(old),
                (Some(_), _) => Err(Http1Error::Length),
            });
        }
    }

    fn framing(self, status: StatusCode, is_1_1: bool) -> Result<Framing, Http1Error> {
        let has_none = matches!(
            status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        if has_none {
            return Ok(Framing::Length(0));
        }
        match (self.transfer, self.content) {
            (Some(_), _) if !is_1_1 => Err(Http1Error::Transfer),
            (Some(true), _) => Ok(Framing::Chunked),
            (None, Some(Ok(length))) if length > LENGTH_MAX => Err(Http1Error::TooLarge),
            (None, Some(Ok(length))) => Ok(Framing::Length(length)),
            (None, Some(Err(error))) => Err(error),
            (Some(false), _) | (None, None) => Ok(Framing::Close),
        }
    }
}

/// A value as text, if it is visible ASCII.
fn visible(value: &[u8]) -> Option<&str> {
    let is_visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    let text = std::str::from_utf8(value).ok()?;
    value.iter().all(is_visible).then_some(text)
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &str> {
    visible(value)
        .into_iter()
        .flat_map(|text| text.split(',').map(str::trim))
}

/// Digits alone: what parses numbers takes a sign, too.
fn digits(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests;
