//! Headers that travel with deliveries: those of an event, and those of an endpoint.
//!
//! **Invariant:** a value of [`Header`] can be sent as it is: its name is a token of RFC 9110, its
//! value visible ASCII with spaces inside. Nothing below the edge checks again. The case of the
//! name is kept for the wire; names are compared without it.
//! **Next:** `event.rs`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One header. `Debug` does not show the value, which may be a credential.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    name: Arc<str>,
    value: Arc<str>,
}

/// Names that nobody but the sender sets, in lower case: what describes the body or who sends it,
/// and what belongs to one connection (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2).
const RESERVED: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
/// What names of signature headers begin with, of either family.
const RESERVED_STARTS: [&str; 2] = ["webhook-", "svix-"];

/// Why a name and a value are no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is empty, too long, or has a character that no token has.
    #[error(
        "a header's name must have 1 to {} letters, digits or characters of `!#$%&'*+-.^_`|~`",
        Header::NAME_BYTES_MAX
    )]
    Name,
    /// The value is too long, or has a character that cannot be sent.
    #[error(
        "the value of {name:?} must have at most {} visible ASCII characters, with spaces inside only",
        Header::VALUE_BYTES_MAX
    )]
    Value {
        /// Whose value.
        name: String,
    },
}

impl Header {
    /// Longest name; the longest registered one has 35.
    pub const NAME_BYTES_MAX: usize = 128;
    /// Longest value: half of what common servers allow for one line (8 KiB).
    pub const VALUE_BYTES_MAX: usize = 4096;
    /// Most headers of one event or endpoint, and their bytes altogether: servers allow about 100
    /// headers and 8 KiB to 32 KiB, and ours are not the only ones of a request.
    pub const COUNT_MAX: usize = 40;
    /// See [`Header::COUNT_MAX`].
    pub const TOTAL_BYTES_MAX: usize = 8192;

    /// A checked header.
    pub fn new(name: &str, value: &str) -> Result<Self, HeaderError> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > Self::NAME_BYTES_MAX || !name.bytes().all(token) {
            return Err(HeaderError::Name);
        }
        let visible = |byte: u8| matches!(byte, 0x20..=0x7e);
        if value.len() > Self::VALUE_BYTES_MAX
            || !value.bytes().all(visible)
            || value.trim_ascii() != value
        {
            let name = name.to_owned();
            return Err(HeaderError::Value { name });
        }
        Ok(Self {
            name: name.into(),
            value: value.into(),
        })
    }

    /// The name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it has this name, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it is one that deliveries set themselves, which no event and no endpoint may: those
    /// of the signature, those that describe the body, and those of the connection.
    pub fn is_reserved(&self) -> bool {
        let starts = |start: &&str| {
            let head = self.name.as_bytes().get(..start.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
        };
        RESERVED.iter().any(|name| self.is(name)) || RESERVED_STARTS.iter().any(starts)
    }

    /// Bytes of name and value.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.value.len()
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({}: …)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_sent_is_a_header() {
        let long = "x".repeat(4097);
        let cases = [
            ("X-Api-Key", "s3cret", true),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                true,
            ),
            ("empty", "", true),
            ("inner", "a b", true),
            ("", "a", false),
            ("a b", "a", false),
            ("ä", "a", false),
            ("a", "ä", false),
            ("a", " a", false),
            ("a", "a\r\nb: c", false),
            ("a", &long, false),
            (&long[..129], "a", false),
        ];
        for (name, value, good) in cases {
            assert_eq!(
                Header::new(name, value).is_ok(),
                good,
                "{name:?}: {value:?}"
            );
        }
        let header = Header::new("X-Api-Key", "s3cret").expect("is one");
        assert!(header.is("x-api-key") && !header.is("x-api-ke"));
        assert!(!format!("{header:?}").contains("s3cret"));
    }

    #[test]
    fn what_deliveries_set_themselves_is_reserved() {
        let reserved = [
            "Webhook-Id",
            "webhook-signature",
            "SVIX-timestamp",
            "svix-",
            "Host",
            "CONTENT-LENGTH",
            "Content-Type",
            "content-encoding",
            "Transfer-Encoding",
            "connection",
            "Keep-Alive",
            "Upgrade",
            "TE",
            "Trailer",
            "Expect",
            "User-Agent",
            "Proxy-Authorization",
        ];
        let free = [
            "Authorization",
            "X-Webhook-Id",
            "webhook",
            "svi",
            "traceparent",
            "tracestate",
            "ce-id",
            "Accept",
            "hosts",
            "Cookie",
        ];
        for (names, expected) in [(reserved.as_slice(), true), (&free, false)] {
            for name in names {
                let header = Header::new(name, "x").unwrap();
                assert_eq!(header.is_reserved(), expected, "{name}");
            }
        }
    }
}
