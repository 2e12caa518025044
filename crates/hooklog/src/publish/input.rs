//! Files into messages: NDJSON line by line, or one JSON document over many lines.
//!
//! **Invariant:** payload bytes pass through unchanged; what cannot be read becomes one item that
//! names file and line, and the lines after it are still read.
//! **Next:** `progress.rs`, how far the reading is.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest line and largest document: 8 times the server's default limit for a body.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// Where a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    /// Counted from 1; 0 is the file as a whole.
    pub(super) line: u64,
    /// Bytes of input that this item took up.
    pub(super) bytes: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A message's body for the server, or why there is none.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) message: Result<Bytes, String>,
}

/// How documents that are payloads become messages.
#[derive(Clone, Debug)]
pub(super) struct Wrap {
    pub(super) event_type: String,
    pub(super) deliver_at: Option<String>,
}

/// Reads a file (`-` is stdin) and hands each item to `take`, until that returns false. Returns
/// whether there may be more to read in other files.
pub(super) fn read(path: &Path, wrap: Option<&Wrap>, take: &mut dyn FnMut(Item) -> bool) -> bool {
    if path == Path::new("-") {
        return Reader::new("stdin".into(), io::stdin().lock(), wrap).run(take);
    }
    let name: Arc<str> = path.display().to_string().into();
    match File::open(path) {
        Ok(file) => Reader::new(name, BufReader::new(file), wrap).run(take),
        Err(error) => {
            let place = Place {
                file: name,
                line: 0,
                bytes: 0,
            };
            take(Item {
                place,
                message: Err(format!("cannot open: {error}")),
            })
        }
    }
}

/// What one read of a line found.
enum Found {
    Line,
    TooLong,
    End,
}

struct Reader<'a, R> {
    name: Arc<str>,
    input: R,
    wrap: Option<&'a Wrap>,
    line: u64,
}

impl<'a, R: BufRead> Reader<'a, R> {
    fn new(name: Arc<str>, input: R, wrap: Option<&'a Wrap>) -> Self {
        Self {
            name,
            input,
            wrap,
            line: 0,
        }
    }

    fn run(mut self, take: &mut dyn FnMut(Item) -> bool) -> bool {
        let mut buffer = Vec::new();
        let mut first = true;
        loop {
            buffer.clear();
            let message = match self.read_line(&mut buffer) {
                Ok(Found::End) => return true,
                Ok(Found::TooLong) => Err(too_long()),
                Ok(Found::Line) if buffer.trim_ascii().is_empty() => continue,
                // A first line that only begins a document: the whole file is that document.
                Ok(Found::Line) if first && is_unfinished(&buffer) => self.document(&mut buffer),
                Ok(Found::Line) => message(&buffer, self.wrap),
                Err(error) => {
                    // The rest is out of reach, not only this line.
                    let message = Err(format!("cannot read: {error}"));
                    return take(Item {
                        place: self.place(0),
                        message,
                    });
                }
            };
            first = false;
            if !take(Item {
                place: self.place(buffer.len()),
                message,
            }) {
                return false;
            }
        }
    }

    fn place(&self, bytes: usize) -> Place {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Place {
            file: Arc::clone(&self.name),
            line: self.line,
            bytes,
        }
    }

    /// Reads up to and with the next line feed. The rest of a line that is too long is skipped.
    fn read_line(&mut self, buffer: &mut Vec<u8>) -> io::Result<Found> {
        let limit = u64::try_from(DOCUMENT_BYTES_MAX + 1).unwrap_or(u64::MAX);
        if self.input.by_ref().take(limit).read_until(b'\n', buffer)? == 0 {
            return Ok(Found::End);
        }
        self.line += 1;
        if buffer.len() <= DOCUMENT_BYTES_MAX || buffer.ends_with(b"\n") {
            return Ok(Found::Line);
        }
        self.input.skip_until(b'\n')?;
        Ok(Found::TooLong)
    }

    /// Reads all that is left of the one document that `buffer` holds the start of.
    fn document(&mut self, buffer: &mut Vec<u8>) -> Result<Bytes, String> {
        let room = (DOCUMENT_BYTES_MAX + 1).saturating_sub(buffer.len());
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let rest = self.input.by_ref().take(room).read_to_end(buffer);
        rest.map_err(|error| format!("cannot read: {error}"))?;
        if buffer.len() > DOCUMENT_BYTES_MAX {
            // Nothing of it can be read as lines either.
            io::copy(&mut self.input, &mut io::sink())
                .map_err(|error| format!("cannot read: {error}"))?;
            return Err(too_long());
        }
        message(buffer, self.wrap)
    }
}

fn too_long() -> String {
    format!("the document has more than the limit of {DOCUMENT_BYTES_MAX} bytes")
}

/// Whether a line is the start of a document that goes on.
fn is_unfinished(line: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(line).is_err_and(|error| error.is_eof())
}

/// A document as the body of a message: a payload to be wrapped, or a message already.
pub(super) fn message(document: &[u8], wrap: Option<&Wrap>) -> Result<Bytes, String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wrapped<'a> {
        event_type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        deliver_at: Option<&'a str>,
        payload: &'a RawValue,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        event_type: Option<serde_json::Value>,
        #[serde(borrow)]
        payload: Option<&'a RawValue>,
    }
    let json = |error: serde_json::Error| format!("not a JSON document: {error}");
    let raw: &RawValue = serde_json::from_slice(document).map_err(json)?;
    if let Some(wrap) = wrap {
        let wrapped = Wrapped {
            event_type: &wrap.event_type,
            deliver_at: wrap.deliver_at.as_deref(),
            payload: raw,
        };
        return serde_json::to_vec(&wrapped).map(Bytes::from).map_err(json);
    }
    let whole = serde_json::from_str::<Whole<'_>>(raw.get());
    match whole {
        Ok(Whole {
            event_type: Some(_),
            payload: Some(_),
        }) => Ok(Bytes::copy_from_slice(raw.get().as_bytes())),
        _ => Err(
            "no `eventType` and `payload` in the document: give --event-type to send it as a \
                  payload"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
