//! The header `Idempotency-Key`: a structured-field string (`"8e03978e"`, as the IETF draft wants it)
//! or the bare text that most clients send; both are the same key.
//!
//! **Invariant:** a key is 1 to 256 characters of printable ASCII; anything else is refused, so no key
//! is cut or changed without its sender knowing.
//! **Next:** `publish.rs`, whose events carry it; `repeat.rs` for every other POST.

use http::{HeaderName, HeaderValue};

use crate::error::ApiError;
use crate::wire::Issue;

/// The header's name.
pub(crate) const NAME: &str = "idempotency-key";
/// The same, ready for a look into a request's headers.
pub(crate) const HEADER: HeaderName = HeaderName::from_static(NAME);
/// As Stripe allows, 255 and one to spare; UUIDs have 36.
pub(crate) const CHARACTERS_MAX: usize = 256;

/// The refusal of a key that another request has; `what` names what that one made.
pub(crate) fn mismatch(what: &str) -> ApiError {
    let made = if what.is_empty() {
        String::new()
    } else {
        format!(", which published {what}")
    };
    let message = format!("belongs to another request{made}");
    let issue = Issue::header(NAME, message);
    issue.of_kind("idempotency_key_reused").into()
}

/// The key in the values of the header, if it was sent.
pub(crate) fn parse(values: &[HeaderValue]) -> Result<Option<String>, ApiError> {
    let value = match values {
        [] => return Ok(None),
        [value] => value,
        _ => return Err(ApiError::Header("idempotency-key must be sent once")),
    };
    let text = value.as_bytes().trim_ascii();
    if !text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(ApiError::Header("idempotency-key must be printable ASCII"));
    }
    let key = match text.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted).ok_or(ApiError::Header(
            "idempotency-key begins with a quote but is not a quoted string",
        ))?,
        None => String::from_utf8_lossy(text).into_owned(),
    };
    if key.is_empty() || key.len() > CHARACTERS_MAX {
        let detail = "idempotency-key must have 1 to 256 characters";
        return Err(ApiError::Header(detail));
    }
    Ok(Some(key))
}

/// The rest of a string behind its opening quote (RFC 8941, 4.2.5), which must end the value.
fn unquote(text: &[u8]) -> Option<String> {
    let mut key = String::new();
    let mut bytes = text.iter().copied();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => key.push(char::from(
                bytes.next().filter(|byte| matches!(byte, b'"' | b'\\'))?,
            )),
            byte => key.push(char::from(byte)),
        }
    }
    bytes.next().is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(values: &[&str]) -> String {
        let values: Vec<_> = values
            .iter()
            .map(|value| HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
            .collect();
        match parse(&values) {
            Ok(Some(key)) => format!("= {key}"),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn bare_and_quoted_keys_are_taken_and_others_refused() {
        let long = "k".repeat(256);
        let cases: [(&[&str], String); 12] = [
            (&[], "none".to_owned()),
            (&["8e03978e-40d5"], "= 8e03978e-40d5".to_owned()),
            (&["\"8e03978e-40d5\""], "= 8e03978e-40d5".to_owned()),
            (&["  a b  "], "= a b".to_owned()),
            (&[r#""a\"b\\c""#], r#"= a"b\c"#.to_owned()),
            (&[&long], format!("= {long}")),
            (&[&format!("{long}k")], length()),
            (&[""], length()),
            (&["\"\""], length()),
            (&["a", "a"], "idempotency-key must be sent once".to_owned()),
            (&["é"], "idempotency-key must be printable ASCII".to_owned()),
            (&[&format!("\"{long}\"")], format!("= {long}")),
        ];
        for (values, expected) in cases {
            assert_eq!(told(values), expected, "{values:?}");
        }
        for broken in ["\"", "\"a", "\"a\"b", "\"a\"; p=1", r#""a\b""#, r#""a\""#] {
            let expected = "idempotency-key begins with a quote but is not a quoted string";
            assert_eq!(told(&[broken]), expected, "{broken}");
        }
    }

    fn length() -> String {
        "idempotency-key must have 1 to 256 characters".to_owned()
    }
}
