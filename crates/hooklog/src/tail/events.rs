//! Reads server-sent events, as the WHATWG's HTML standard says they are read.
//!
//! **Invariant:** however the text is cut into pieces, the same events come out; a line and an event
//! are bounded.
//! **Next:** `cli.rs`.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};

/// Most bytes of an event: eight times the largest payload that a server takes by itself.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Something that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its kind; empty for the usual one.
    pub(super) name: String,
    pub(super) data: String,
}

/// Why a text is not read on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    #[error("an event has more than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the stream of events is not UTF-8")]
    Encoding,
}

/// What was read, and what of it makes no event yet.
#[derive(Debug)]
pub(super) struct Parser {
    text: BytesMut,
    /// So much of `text` holds no end of a line.
    looked: usize,
    name: String,
    /// `None` before the first line of data.
    data: Option<String>,
    id: String,
    last_id: String,
    retry: Option<Duration>,
}

impl Parser {
    /// For a stream that goes on behind `last_id`.
    pub(super) fn new(last_id: &str) -> Self {
        Self {
            text: BytesMut::new(),
            looked: 0,
            name: String::new(),
            data: None,
            id: last_id.to_owned(),
            last_id: last_id.to_owned(),
            retry: None,
        }
    }

    /// The next piece of the text.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), ParseError> {
        let held = self.data.as_ref().map_or(0, String::len);
        if self.text.len() + piece.len() + held > EVENT_BYTES_MAX {
            return Err(ParseError::TooLarge);
        }
        self.text.extend_from_slice(piece);
        Ok(())
    }

    /// The next event that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Event>, ParseError> {
        while let Some(line) = self.line()? {
            if !line.is_empty() {
                self.field(&line);
                continue;
            }
            self.last_id.clone_from(&self.id);
            let name = std::mem::take(&mut self.name);
            if let Some(data) = self.data.take() {
                return Ok(Some(Event { name, data }));
            }
        }
        Ok(None)
    }

    /// Where to go on.
    pub(super) fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How soon to come again, if the server said so.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Result<Option<String>, ParseError> {
        let rest = self.text.get(self.looked..).unwrap_or_default();
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.looked = self.text.len();
            return Ok(None);
        };
        let at = self.looked + found;
        let end = match (self.text.get(at), self.text.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => at + 2,
            // Its other half may still come.
            (Some(b'\r'), None) => {
                self.looked = at;
                return Ok(None);
            }
            _ => at + 1,
        };
        let line = self.text.get(..at).unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| ParseError::Encoding)?;
        let line = line.to_owned();
        self.text.advance(end);
        self.looked = 0;
        Ok(Some(line))
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" => {
                if let Ok(millis) = value.parse() {
                    self.retry = Some(Duration::from_millis(millis));
                }
            }
            // A comment, or a field of a later standard.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
