//! Takes a body apart into the texts of its messages, whatever pieces it comes in.
//!
//! What comes first tells the form: `[` a JSON array, anything else one message a line. An array is
//! split at its commas by counting brackets outside of strings; whether an item is valid JSON is for
//! its parser to say, so a bad one ends where the next begins.
//!
//! **Invariant:** an item is copied once, and never grows over the limit: the rest of one that is too
//! long is skipped.
//! **Next:** `intake.rs`.

use bytes::Bytes;

use crate::error::ApiError;

/// One item.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Item(Bytes),
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Unknown,
    Lines,
    Array,
    /// The array has ended.
    Ended,
}

#[derive(Debug)]
pub(super) struct Splitter {
    form: Form,
    limit: usize,
    /// What came of the item so far.
    item: Vec<u8>,
    is_too_long: bool,
    /// Items of the array that have ended.
    count: u64,
    /// Within an item of an array.
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    /// For items of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            form: Form::Unknown,
            limit,
            item: Vec::new(),
            is_too_long: false,
            count: 0,
            depth: 0,
            in_string: false,
            escaped: false,
        }
    }

    /// Bytes of the item that has begun.
    pub(super) fn held(&self) -> usize {
        self.item.len()
    }

    /// Takes in the next bytes; hands out the items that end in them.
    pub(super) fn push(&mut self, mut data: &[u8], out: &mut Vec<Piece>) -> Result<(), ApiError> {
        if self.form == Form::Unknown {
            data = data.trim_ascii_start();
            match data.split_first() {
                None => return Ok(()),
                Some((b'[', rest)) => (self.form, data) = (Form::Array, rest),
                Some(_) => self.form = Form::Lines,
            }
        }
        while !data.is_empty() {
            let end = match self.form {
                Form::Lines => data.iter().position(|byte| *byte == b'\n'),
                Form::Array => data.iter().position(|byte| self.ends_item(*byte)),
                Form::Ended | Form::Unknown if data.trim_ascii().is_empty() => return Ok(()),
                Form::Ended | Form::Unknown => return Err(bad("something follows the array")),
            };
            let (text, rest) = data.split_at(end.unwrap_or(data.len()));
            self.add(text);
            let Some((sign, rest)) = rest.split_first() else {
                return Ok(());
            };
            data = rest;
            match self.form {
                Form::Array if *sign == b']' => {
                    self.form = Form::Ended;
                    // `[]` has no item; `[1,]` has one that is empty.
                    let is_empty = self.item.trim_ascii().is_empty() && !self.is_too_long;
                    if !(is_empty && self.count == 0) {
                        self.end_item(out);
                    }
                }
                Form::Lines if self.item.trim_ascii().is_empty() && !self.is_too_long => {
                    self.item.clear();
                }
                Form::Array | Form::Lines | Form::Ended | Form::Unknown => self.end_item(out),
            }
        }
        Ok(())
    }

    /// The body has ended.
    pub(super) fn finish(&mut self, out: &mut Vec<Piece>) -> Result<(), ApiError> {
        match self.form {
            Form::Array => Err(bad("the array does not end")),
            Form::Lines if self.is_too_long || !self.item.trim_ascii().is_empty() => {
                self.end_item(out);
                Ok(())
            }
            Form::Lines | Form::Ended | Form::Unknown => Ok(()),
        }
    }

    /// Whether a byte ends an item of the array, or the array.
    fn ends_item(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b',' | b']' if self.depth == 0 => return true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }

    fn add(&mut self, text: &[u8]) {
        if self.is_too_long {
            return;
        }
        if self.item.len() + text.len() > self.limit {
            self.is_too_long = true;
            self.item = Vec::new();
            return;
        }
        self.item.extend_from_slice(text);
    }

    fn end_item(&mut self, out: &mut Vec<Piece>) {
        self.count += 1;
        let item = std::mem::take(&mut self.item);
        out.push(if std::mem::take(&mut self.is_too_long) {
            Piece::TooLong
        } else {
            Piece::Item(item.into())
        });
    }
}

fn bad(detail: &'static str) -> ApiError {
    ApiError::BadBatch(detail)
}
