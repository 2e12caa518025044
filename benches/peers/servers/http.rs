//! Requests and answers of HTTP/1.1 that say their length.
//!
//! **Invariant:** a body is there as a whole or not at all; one that comes in chunks is an error.
//! **Next:** `sink.rs`, which takes requests.

use std::io::{Error, Result};

use crate::wire::{find, shown};

/// A request or an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    head: &'a str,
    pub body: &'a [u8],
    /// Of both.
    pub length: usize,
}

impl<'a> Message<'a> {
    /// The first one, if all of it has come.
    pub fn parse(read: &'a [u8]) -> Result<Option<Self>> {
        let Some(end) = find(read, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&read[..end]).map_err(Error::other)?;
        let mut message = Self {
            head,
            body: &[],
            length: end + 4,
        };
        if message.header("transfer-encoding").is_some() {
            let head = shown(head.as_bytes());
            return Err(Error::other(format!("a body in chunks: {head}")));
        }
        let bytes = message.header("content-length").unwrap_or("0");
        message.length += bytes.parse::<usize>().map_err(Error::other)?;
        let body = read.get(end + 4..message.length);
        Ok(body.map(|body| Self { body, ..message }))
    }

    pub fn is_success(&self) -> bool {
        self.head.starts_with("HTTP/1.1 2")
    }

    pub fn header(&self, name: &str) -> Option<&'a str> {
        let fields = self.head.lines().skip(1);
        let mut fields = fields.filter_map(|line| line.split_once(':'));
        fields
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_there_once_its_body_is() {
        let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}HTTP";
        let whole = Message::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((whole.body, whole.length), (&b"{}"[..], text.len() - 4));
        assert_eq!((whole.header("host"), whole.header("b")), (Some("a"), None));
        assert!(!whole.is_success());
        for end in 0..text.len() - 4 {
            assert_eq!(Message::parse(&text.as_bytes()[..end]).unwrap(), None);
        }
        let empty = Message::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert!(empty.is_some_and(|empty| empty.is_success() && empty.body.is_empty()));
        for wrong in ["Transfer-Encoding: chunked", "content-length: many"] {
            let text = format!("HTTP/1.1 200 OK\r\n{wrong}\r\n\r\n");
            assert!(Message::parse(text.as_bytes()).is_err(), "{wrong}");
        }
    }
}
