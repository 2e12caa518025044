//! CloudEvents in binary mode: attributes are headers, the body is the data.
//!
//! **Invariant:** a value is decoded once and only once, and what is not UTF-8 then is refused, as the
//! HTTP binding says (section 3.1.3.2).
//! **Next:** `structured.rs`.

use bytes::Bytes;
use http::HeaderMap;

use super::cloudevents::{CloudEvent, PREFIX, check_name, check_value};
use super::{OCTETS, content_type};
use crate::error::ApiError;
use crate::wire::Issue;

pub(super) fn parse(headers: &HeaderMap, body: Bytes) -> Result<CloudEvent, ApiError> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        check_name(name)?;
        if name == "datacontenttype" {
            let message = "is the header content-type in binary mode";
            return Err(Issue::attribute("datacontenttype", message).into());
        }
        if attributes.iter().any(|(own, _)| own == name) {
            let message = format!("{name}: is given twice");
            return Err(Issue::attribute("attributes", message).into());
        }
        let Some(text) = decode(value.as_bytes()) else {
            let message = format!("{name}: is not percent-encoded UTF-8");
            return Err(Issue::attribute("attributes", message).into());
        };
        check_value(name, &text)?;
        attributes.push((name.to_owned(), text));
    }
    Ok(CloudEvent {
        attributes,
        content_type: content_type(headers)?.unwrap_or(OCTETS).to_owned(),
        data: body,
    })
}

/// The text that a header's value stands for.
fn decode(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let unquoted = match value.strip_prefix(b"\"") {
        Some(rest) => unquote(rest)?,
        None => value.to_vec(),
    };
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = after.split_first_chunk::<2>()?;
            let digits = std::str::from_utf8(digits).ok()?;
            // A sign would pass for a number.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The rest of a quoted string, which must end the value.
fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => out.push(bytes.next()?),
            byte => out.push(byte),
        }
    }
    bytes.next().is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::cloudevents::encode;
    use super::*;

    #[test]
    fn values_are_decoded_once() {
        let cases: [(&str, Option<&str>); 13] = [
            ("plain", Some("plain")),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀")),
            ("%e2%82%ac", Some("€")),
            ("%2520", Some("%20")),
            ("\"quoted \\\"text\\\"\"", Some("quoted \"text\"")),
            ("\"a%20b\"", Some("a b")),
            ("\"open", None),
            ("\"a\"b", None),
            ("%C0%A0", None),
            ("%ED%A0%80", None),
            ("%", None),
            ("%4", None),
            ("%+1", None),
        ];
        for (value, expected) in cases {
            assert_eq!(decode(value.as_bytes()).as_deref(), expected, "{value}");
        }
        for text in ["Euro € 😀", "100% \"sure\"", "a/b?c=d#e", "\u{7f}"] {
            let encoded = encode(text);
            assert!(encoded.bytes().all(|byte| matches!(byte, b'!'..=b'~')));
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(text));
        }
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
    }
}
