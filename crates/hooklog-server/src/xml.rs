//! Answers as XML: a small vocabulary of our own for what our routes say, and the W3C's for whatever
//! JSON users put in (what `json-to-xml` gives), which loses nothing of it: order, duplicate
//! keys and all digits of numbers stay.
//!
//! An object is an element with one for each field, a list an element with one for each item, null
//! is `xsi:nil`. A payload that is XML is text in here (`<string key="text">`), not elements: it must
//! come out as the bytes that it went in with, for its signature.
//!
//! **Invariant:** what comes out is well-formed, whatever the JSON holds: texts with characters that XML
//! cannot hold stay as JSON escapes, marked `escaped="true"`. One pass, no recursion.
//! **Next:** `xml/tokens.rs`, which reads the JSON.

use std::borrow::Cow;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use self::tokens::{Token, Tokens};

mod tokens;

/// Namespace of our own vocabulary.
const OURS: &str = "urn:hooklog:v1";
/// Namespace of problem details (RFC 9457, appendix B).
const PROBLEM: &str = "urn:ietf:rfc:7807";
/// Namespace of the W3C's vocabulary for JSON ("Functions and Operators 3.1", 17.5.3).
const JSON: &str = "http://www.w3.org/2005/xpath-functions";
/// Where `nil` is from.
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Fields whose content is the users': their keys are no names of ours.
const OPAQUE: &[&str] = &["payload", "schemas", "metadata", "headers"];

/// Most bytes of an answer: eight of the largest pages, as many times as common JSON grows; a list of
/// nothing but digits would grow more.
const XML_BYTES_MAX: usize = 64 << 20;

/// Why there is no XML.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XmlError {
    /// It would be too large.
    #[error("over {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// Never, in memory.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What elements are called that have no name in the JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    namespace: &'static str,
    /// The outermost element, and the items of a page.
    resource: &'static str,
    /// Items of any other list.
    item: &'static str,
}

impl Names {
    /// For problem details.
    pub(crate) const PROBLEM: Self = Self {
        namespace: PROBLEM,
        resource: "problem",
        item: "i",
    };

    /// For what the route of a pattern answers.
    pub(crate) fn of_route(pattern: &str) -> Self {
        let parts = || pattern.split('/').filter(|part| !part.starts_with('{'));
        let resource = if parts().any(|part| part == "attempt") {
            "attempt"
        } else {
            match parts().next_back() {
                Some("app") => "application",
                Some("event-type") => "eventType",
                Some("msg" | "event" | "send-example") => "message",
                Some("batch") => "result",
                Some("endpoint") => "endpoint",
                Some("secret" | "rotate") => "secret",
                Some("background-task") => "task",
                _ => "answer",
            }
        };
        Self {
            namespace: OURS,
            resource,
            item: "item",
        }
    }
}

/// The XML for a JSON text, which must be valid.
pub(crate) fn of_json(json: &str, names: Names) -> Result<Vec<u8>, XmlError> {
    let mut printer = Printer {
        out: Writer::new(Vec::with_capacity(json.len() * 2)),
        open: Vec::new(),
        names,
    };
    let declaration = BytesDecl::new("1.0", Some("UTF-8"), None);
    printer.out.write_event(Event::Decl(declaration))?;
    let mut key = None;
    let mut tokens = Tokens::new(json).peekable();
    while let Some(token) = tokens.next() {
        match token {
            Token::Key(name) => key = Some(name),
            Token::End => printer.end()?,
            token => {
                let is_page = printer.open.is_empty()
                    && names.namespace == OURS
                    && tokens.peek() == Some(&Token::Key("data"));
                printer.value(token, key.take(), is_page)?;
                if printer.out.get_ref().len() > XML_BYTES_MAX {
                    let limit = XML_BYTES_MAX;
                    return Err(XmlError::TooLarge { limit });
                }
            }
        }
    }
    while !printer.open.is_empty() {
        printer.end()?;
    }
    Ok(printer.out.into_inner())
}

/// Whose words an element's children are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Ours; of a list the items' name.
    Ours(&'static str),
    /// The W3C's.
    Json,
}

/// An element whose end is to be written.
struct Open<'a> {
    tag: Cow<'a, str>,
    scope: Scope,
    /// It ends with its only child.
    wraps: bool,
}

struct Printer<'a> {
    out: Writer<Vec<u8>>,
    open: Vec<Open<'a>>,
    names: Names,
}

impl<'a> Printer<'a> {
    /// A value, or the start of one.
    fn value(&mut self, token: Token<'a>, key: Option<&'a str>, is_page: bool) -> io::Result<()> {
        let outer = self.open.last().map(|open| open.scope);
        let Some(outer) = outer else {
            let name = if is_page { "list" } else { self.names.resource };
            let mut start = BytesStart::new(name);
            start.push_attribute(("xmlns", self.names.namespace));
            if self.names.namespace == OURS {
                start.push_attribute(("xmlns:xsi", INSTANCE));
            }
            return self.ours(start, name.into(), token, self.names.item);
        };
        match outer {
            Scope::Json => self.json(token, key, None),
            Scope::Ours(item) => {
                let tag = key.unwrap_or(item);
                let mut start = BytesStart::new(tag);
                let mut tag = Cow::Borrowed(tag);
                if !is_name(&tag) {
                    start = BytesStart::new("field");
                    start.push_attribute(("name", tag.as_ref()));
                    tag = "field".into();
                }
                let is_opaque = key.is_some_and(|key| OPAQUE.contains(&key));
                if is_opaque && !matches!(token, Token::Word("null")) {
                    self.out.write_event(Event::Start(start))?;
                    self.open.push(Open {
                        tag,
                        scope: Scope::Json,
                        wraps: true,
                    });
                    return self.json(token, None, Some(JSON));
                }
                // Items of a problem's lists are all called `i` (RFC 9457, appendix B).
                let is_ours = self.names.namespace == OURS;
                let is_rows = is_ours && key == Some("data") && self.open.len() == 1;
                let items = if is_rows {
                    self.names.resource
                } else {
                    self.names.item
                };
                self.ours(start, tag, token, items)
            }
        }
    }

    /// A value in our own words.
    fn ours(
        &mut self,
        mut start: BytesStart<'a>,
        tag: Cow<'a, str>,
        token: Token<'a>,
        items: &'static str,
    ) -> io::Result<()> {
        let text = match token {
            Token::Map | Token::List => {
                self.out.write_event(Event::Start(start))?;
                let scope = Scope::Ours(items);
                self.open.push(Open {
                    tag,
                    scope,
                    wraps: false,
                });
                return Ok(());
            }
            Token::Word("null") if self.names.namespace == OURS => {
                start.push_attribute(("xsi:nil", "true"));
                return self.out.write_event(Event::Empty(start));
            }
            Token::Text(raw) => {
                let (text, escaped) = text(raw);
                if escaped {
                    start.push_attribute(("escaped", "true"));
                }
                text
            }
            Token::Word(text) | Token::Number(text) | Token::Key(text) => text.into(),
            Token::End => return Ok(()),
        };
        self.element(start, &tag, &text)
    }

    /// A value in the W3C's words.
    fn json(
        &mut self,
        token: Token<'a>,
        key: Option<&'a str>,
        namespace: Option<&str>,
    ) -> io::Result<()> {
        let (tag, value) = match token {
            Token::Map => ("map", None),
            Token::List => ("array", None),
            Token::Text(raw) => ("string", Some(text(raw))),
            Token::Number(digits) => ("number", Some((digits.into(), false))),
            Token::Word("null") => ("null", Some(("".into(), false))),
            Token::Word(word) => ("boolean", Some((word.into(), false))),
            Token::Key(_) | Token::End => return Ok(()),
        };
        let mut start = BytesStart::new(tag);
        if let Some(namespace) = namespace {
            start.push_attribute(("xmlns", namespace));
        }
        if let Some(raw) = key {
            let (key, escaped) = text(raw);
            if escaped {
                start.push_attribute(("escaped-key", "true"));
            }
            start.push_attribute(("key", key.as_ref()));
        }
        let Some((text, escaped)) = value else {
            self.out.write_event(Event::Start(start))?;
            self.open.push(Open {
                tag: tag.into(),
                scope: Scope::Json,
                wraps: false,
            });
            return Ok(());
        };
        if escaped {
            start.push_attribute(("escaped", "true"));
        }
        self.element(start, tag, &text)?;
        self.end_wrapper()
    }

    /// An element with a text in it.
    fn element(&mut self, start: BytesStart<'_>, tag: &str, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return self.out.write_event(Event::Empty(start));
        }
        self.out.write_event(Event::Start(start))?;
        self.out.write_event(Event::Text(BytesText::new(text)))?;
        self.out.write_event(Event::End(BytesEnd::new(tag)))
    }

    /// Ends the innermost element, and what wraps it.
    fn end(&mut self) -> io::Result<()> {
        if let Some(open) = self.open.pop() {
            self.out.write_event(Event::End(BytesEnd::new(open.tag)))?;
        }
        self.end_wrapper()
    }

    fn end_wrapper(&mut self) -> io::Result<()> {
        match self.open.pop_if(|open| open.wraps) {
            Some(open) => self.out.write_event(Event::End(BytesEnd::new(open.tag))),
            None => Ok(()),
        }
    }
}

/// The text that a JSON string (without its quotes) stands for; or, where XML cannot hold that, the
/// string with its escapes, and `true`.
fn text(raw: &str) -> (Cow<'_, str>, bool) {
    if !raw.contains('\\') && raw.chars().all(is_legal) {
        return (raw.into(), false);
    }
    // Fails for halves of surrogate pairs only, since the JSON is valid.
    match serde_json::from_str::<String>(&format!("\"{raw}\"")) {
        Ok(text) if text.chars().all(is_legal) => (text.into(), false),
        Ok(_) | Err(_) => {
            let escaped = raw.chars().map(|c| match c {
                c if is_legal(c) => c.to_string(),
                c => format!("\\u{:04x}", u32::from(c)),
            });
            (escaped.collect::<String>().into(), true)
        }
    }
}

/// Whether XML 1.0 can hold a character (production 2).
fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether a text can name an element; those of our own fields all can.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests;
