//! How an event is published to each kind of server, and how its answer is known: HTTP/1.1, the protocol
//! of Redis, the protocol of NATS.
//!
//! **Invariant:** an answer counts only if it says that the event was taken; anything else is an error
//! that stops the run. A request is a few bytes of text around the payload, ready before the clock runs.
//! **Next:** `load.rs`, which sends them.

use crate::http::Message;
use crate::wire::{line, shown};

/// What has been read of a connection so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// More is to come.
    Partial,
    /// So many bytes are something else, to be answered with these.
    Aside(usize, &'static [u8]),
    /// So many bytes say that the event was taken.
    Taken(usize),
    /// It was not taken.
    Refused(String),
}

/// A kind of server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `POST` to a path, with a bearer token and a body around the payload.
    Http {
        path: String,
        token: String,
        is_bare: bool,
    },
    /// `XADD` to a stream.
    Redis,
    /// `PUB` to a subject of a stream, with an inbox for the ack.
    Nats,
}

/// Where events go at Redis and NATS.
pub const STREAM: &str = "events";

impl Protocol {
    /// What is sent first on a connection, and how its answers end; nothing for most.
    pub fn greeting(&self, connection: u16) -> Option<(String, &'static str)> {
        (*self == Self::Nats).then(|| {
            let hello = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
            (
                format!("{hello}SUB inbox.{connection} 1\r\nPING\r\n"),
                "PONG\r\n",
            )
        })
    }

    /// One event as it is sent.
    pub fn request(&self, connection: u16, payload: &str) -> Vec<u8> {
        let length = payload.len();
        match self {
            Self::Http { path, token, is_bare } => {
                let body = if *is_bare {
                    payload.to_owned()
                } else {
                    format!("{{\"eventType\":\"bench.made\",\"payload\":{payload}}}")
                };
                format!(
                    "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\
                     content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            Self::Redis => format!(
                "*5\r\n$4\r\nXADD\r\n${}\r\n{STREAM}\r\n$1\r\n*\r\n$1\r\np\r\n${length}\r\n{payload}\r\n",
                STREAM.len()
            ),
            Self::Nats => format!("PUB {STREAM} inbox.{connection} {length}\r\n{payload}\r\n"),
        }
        .into_bytes()
    }

    /// What the bytes that were read say.
    pub fn answer(&self, read: &[u8]) -> Answer {
        let refused = || Answer::Refused(shown(read));
        let Some(line) = line(read) else {
            return Answer::Partial;
        };
        let rest = &read[line.len() + 2..];
        match self {
            Self::Http { .. } if !line.starts_with("HTTP/1.1 2") => refused(),
            Self::Http { .. } => match Message::parse(read) {
                Ok(Some(answer)) => Answer::Taken(answer.length),
                Ok(None) => Answer::Partial,
                Err(_) => refused(),
            },
            Self::Redis => match line
                .strip_prefix('$')
                .and_then(|length| length.parse::<usize>().ok())
            {
                Some(length) if rest.len() >= length + 2 => {
                    Answer::Taken(line.len() + 2 + length + 2)
                }
                Some(_) => Answer::Partial,
                None => refused(),
            },
            Self::Nats => {
                let first = line.split(' ').next().unwrap_or_default();
                let length = line
                    .rsplit(' ')
                    .next()
                    .and_then(|length| length.parse::<usize>().ok());
                match (first, length) {
                    ("PING", _) => Answer::Aside(line.len() + 2, b"PONG\r\n"),
                    ("INFO" | "PONG" | "+OK", _) => Answer::Aside(line.len() + 2, b""),
                    ("MSG", Some(length)) if rest.len() < length + 2 => Answer::Partial,
                    ("MSG", Some(length)) => {
                        let ack = String::from_utf8_lossy(&rest[..length]);
                        if ack.contains("\"seq\":") && !ack.contains("\"error\"") {
                            Answer::Taken(line.len() + 2 + length + 2)
                        } else {
                            refused()
                        }
                    }
                    // HMSG with a status is "no responders": nothing stores the subject.
                    _ => refused(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> Protocol {
        Protocol::Http {
            path: "/p".to_owned(),
            token: "t".to_owned(),
            is_bare: false,
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let taken = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}";
        let cases: [(Protocol, &str, Answer); 15] = [
            (http(), taken, Answer::Taken(taken.len())),
            (http(), &taken[..taken.len() - 1], Answer::Partial),
            (http(), "HTTP/1.1 202 Accepted\r\n\r\n", Answer::Taken(25)),
            (http(), "HTTP/1.1 202 Acc", Answer::Partial),
            (
                http(),
                "HTTP/1.1 429 \r\n",
                Answer::Refused("HTTP/1.1 429 \r\n".to_owned()),
            ),
            (Protocol::Redis, "$3\r\n1-0\r\n", Answer::Taken(9)),
            (Protocol::Redis, "$3\r\n1-0\r", Answer::Partial),
            (Protocol::Redis, "$3", Answer::Partial),
            (
                Protocol::Redis,
                "-ERR no\r\n",
                Answer::Refused("-ERR no\r\n".to_owned()),
            ),
            (Protocol::Nats, "INFO {}\r\n", Answer::Aside(9, b"")),
            (Protocol::Nats, "PING\r\nMSG", Answer::Aside(6, b"PONG\r\n")),
            (
                Protocol::Nats,
                "MSG inbox.1 1 9\r\n{\"seq\":1}\r\n",
                Answer::Taken(28),
            ),
            (
                Protocol::Nats,
                "MSG inbox.1 1 9\r\n{\"seq\":1}",
                Answer::Partial,
            ),
            (
                Protocol::Nats,
                "MSG i 1 2\r\n{}\r\n",
                Answer::Refused("MSG i 1 2\r\n{}\r\n".to_owned()),
            ),
            (
                Protocol::Nats,
                "-ERR 'x'\r\n",
                Answer::Refused("-ERR 'x'\r\n".to_owned()),
            ),
        ];
        for (protocol, read, expected) in cases {
            assert_eq!(protocol.answer(read.as_bytes()), expected, "{read:?}");
        }
    }

    #[test]
    fn requests_carry_the_payload_and_its_length() {
        let text =
            |protocol: Protocol| String::from_utf8(protocol.request(7, "{\"a\":1}")).unwrap();
        assert!(text(http()).ends_with(
            "content-length: 44\r\n\r\n{\"eventType\":\"bench.made\",\"payload\":{\"a\":1}}"
        ));
        assert!(text(Protocol::Redis).ends_with("$1\r\np\r\n$7\r\n{\"a\":1}\r\n"));
        assert_eq!(
            text(Protocol::Nats),
            "PUB events inbox.7 7\r\n{\"a\":1}\r\n"
        );
    }
}
