//! Answers that a client may have already: their tags, and 304 instead of the same again.
//!
//! **Invariant:** an answer is said to be unchanged only when its bytes are those that the tag was
//! made of. No payload is said to be immutable: its content may be expunged or expire, so a copy is
//! good for [`MESSAGE_MAX_AGE`] and asked about after that.
//! **Next:** `reply.rs`.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::asked::Asked;
use crate::reply::{self, Response};

/// How long a single message may be shown from a cache without asking: short enough that one who
/// expunges content sees it gone soon, long enough for a page that shows it again and again.
const MESSAGE_MAX_AGE: Duration = Duration::from_mins(1);
/// Bytes of a tag's digest: two different answers meet with a probability of 2^-64.
const TAG_BYTES: usize = 16;

/// How an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Kept, and asked about each time: what a poll brought.
    Revalidate,
    /// Kept, and good for a while: one message.
    Message,
}

/// Adds the tag of `response` and how long it is good, and drops what the client has already.
///
/// That saves the way to the client and no work here: whether it cost nothing is for others to say.
pub(crate) fn tagged(asked: &Asked, keep: Keep, mut response: Response) -> Response {
    let tag = tag(response.body());
    let is_known = asked.has(&tag);
    if is_known && response.status() == StatusCode::OK {
        let mut headers = std::mem::take(response.headers_mut());
        headers.remove(header::CONTENT_TYPE);
        response = reply::empty(StatusCode::NOT_MODIFIED);
        *response.headers_mut() = headers;
    }
    let headers = response.headers_mut();
    let control = match keep {
        Keep::Revalidate => "private, no-cache".to_owned(),
        Keep::Message => format!("private, max-age={}", MESSAGE_MAX_AGE.as_secs()),
    };
    let visible = "etag, preference-applied, retry-after";
    let vary = "authorization, accept, prefer";
    for (name, value) in [
        (header::ETAG, HeaderValue::try_from(tag)),
        (header::CACHE_CONTROL, HeaderValue::try_from(control)),
        (header::VARY, HeaderValue::try_from(vary)),
        // What scripts of other origins may read.
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::try_from(visible),
        ),
    ] {
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    }
    response
}

/// A weak tag: the same content in another media type is as good.
fn tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex = digest.iter().take(TAG_BYTES).map(|b| format!("{b:02x}"));
    format!("W/\"{}\"", hex.collect::<String>())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn answer(body: &'static str) -> Response {
        let mut response = Response::new(Bytes::from_static(body.as_bytes()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }

    #[test]
    fn the_same_bytes_are_not_sent_twice() {
        let first = tagged(&Asked::default(), Keep::Revalidate, answer("{}"));
        assert_eq!(first.status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let asked = Asked::of(&headers);
        let same = tagged(&asked, Keep::Revalidate, answer("{}"));
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
        assert!(same.body().is_empty() && !same.headers().contains_key(header::CONTENT_TYPE));
        assert_eq!(same.headers()[header::ETAG], first.headers()[header::ETAG]);
        assert_eq!(same.headers()[header::CACHE_CONTROL], "private, no-cache");
        let other = tagged(&asked, Keep::Message, answer("{} "));
        assert_eq!(
            (other.status(), &other.body()[..]),
            (StatusCode::OK, &b"{} "[..])
        );
        assert_eq!(
            other.headers()[header::CACHE_CONTROL],
            "private, max-age=60"
        );
    }
}
