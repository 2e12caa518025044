//! What form of answer a client wants, by its `Accept` (RFC 9110, 12.5.1).
//!
//! **Invariant:** JSON unless something else is preferred: a client that accepts none of our forms gets
//! JSON too, since an answer in the wrong form helps more than a 406. Problem details (RFC 9457) go
//! only to clients that name them, for SDKs of this API family read its own error bodies.
//! **Next:** `xml.rs`, `problem.rs`.

use http::{HeaderMap, HeaderValue, header};

/// Most media ranges that are looked at; browsers send eight.
const RANGES_MAX: usize = 32;
/// Qualities are counted in thousandths.
const QUALITY_MAX: u16 = 1000;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Json,
    Xml,
}

/// The form of an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ErrorForm {
    /// As SDKs of this API family know them.
    #[default]
    Json,
    ProblemJson,
    ProblemXml,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) answer: Form,
    pub(crate) error: ErrorForm,
}

impl Wanted {
    /// As the headers of a request say.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::ACCEPT).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::default(),
            // What nearly all clients send.
            (Some(one), None) if matches!(one.as_bytes(), b"*/*" | b"application/json") => {
                Self::default()
            }
            _ => Self::choose(&ranges(headers.get_all(header::ACCEPT).iter())),
        }
    }

    fn choose(ranges: &[Range<'_>]) -> Self {
        let json = quality(ranges, "application", "json");
        let xml = quality(ranges, "application", "xml").max(quality(ranges, "text", "xml"));
        let answer = if xml > json { Form::Xml } else { Form::Json };
        let [json, xml] = ["problem+json", "problem+xml"].map(|subtype| named(ranges, subtype));
        let error = match (json, xml, answer) {
            (0, 0, Form::Json) => ErrorForm::Json,
            (0, 0, Form::Xml) => ErrorForm::ProblemXml,
            (json, xml, _) if json > xml => ErrorForm::ProblemJson,
            (json, xml, _) if xml > json => ErrorForm::ProblemXml,
            (_, _, Form::Json) => ErrorForm::ProblemJson,
            (_, _, Form::Xml) => ErrorForm::ProblemXml,
        };
        Self { answer, error }
    }
}

/// One element of `Accept`.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: u16,
}

impl Range<'_> {
    /// How exactly it names a type; `None` if it does not cover it.
    fn covers(&self, kind: &str, subtype: &str) -> Option<u8> {
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (own, "*") if own.eq_ignore_ascii_case(kind) => Some(1),
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => {
                Some(2)
            }
            _ => None,
        }
    }
}

/// The quality of a type: that of the most exact range that covers it.
fn quality(ranges: &[Range<'_>], kind: &str, subtype: &str) -> u16 {
    ranges
        .iter()
        .filter_map(|range| Some((range.covers(kind, subtype)?, range.quality)))
        .max()
        .map_or(0, |(_, quality)| quality)
}

/// The quality of a type that is named in full.
fn named(ranges: &[Range<'_>], subtype: &str) -> u16 {
    let exact = ranges
        .iter()
        .filter(|range| range.covers("application", subtype) == Some(2));
    exact.map(|range| range.quality).max().unwrap_or(0)
}

fn ranges<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Vec<Range<'a>> {
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split(value, ','))
        .filter_map(parse)
        .take(RANGES_MAX)
        .collect()
}

/// One range; `None` for what is none, which is ignored.
fn parse(text: &str) -> Option<Range<'_>> {
    let mut parts = split(text, ';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let mut quality = QUALITY_MAX;
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("q") {
            quality = thousandths(value.trim())?;
        }
    }
    let (kind, subtype) = (kind.trim(), subtype.trim());
    Some(Range {
        kind,
        subtype,
        quality,
    })
}

/// `qvalue`: 0 to 1 with at most three digits.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = format!("{rest:0<3}").parse::<u16>().ok()?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(QUALITY_MAX),
        _ => None,
    }
}

/// Splits at a separator that is not inside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.find(|c: char| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                c if c == separator && !quoted => return true,
                _ => {}
            }
            false
        });
        let (part, after) = match end {
            Some(end) => (text.get(..end), text.get(end + separator.len_utf8()..)),
            None => (Some(text), None),
        };
        rest = after;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_form_is_chosen() {
        use {ErrorForm as E, Form as F};
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let cases: [(&[&str], F, E); 22] = [
            (&[], F::Json, E::Json),
            (&["*/*"], F::Json, E::Json),
            (&["application/json"], F::Json, E::Json),
            (&["application/xml"], F::Xml, E::ProblemXml),
            (&["text/xml"], F::Xml, E::ProblemXml),
            (&["APPLICATION/XML; charset=utf-8"], F::Xml, E::ProblemXml),
            (&["application/xml, application/json"], F::Json, E::Json),
            (
                &["application/xml, application/json;q=0.9"],
                F::Xml,
                E::ProblemXml,
            ),
            (
                &["application/xml;q=0.5, application/json;q=0.9"],
                F::Json,
                E::Json,
            ),
            (
                &["application/xml;q=0.5", "*/*;q=0.4"],
                F::Xml,
                E::ProblemXml,
            ),
            (
                &["application/*, application/json;q=0.1"],
                F::Xml,
                E::ProblemXml,
            ),
            (&["application/json;q=0, */*"], F::Xml, E::ProblemXml),
            (&["application/xml;q=0"], F::Json, E::Json),
            (&["text/html"], F::Json, E::Json),
            (&[browser], F::Xml, E::ProblemXml),
            (
                &["application/json, application/problem+json"],
                F::Json,
                E::ProblemJson,
            ),
            (
                &["application/xml, application/problem+json"],
                F::Xml,
                E::ProblemJson,
            ),
            (
                &["application/problem+xml, application/problem+json;q=0.2"],
                F::Json,
                E::ProblemXml,
            ),
            (&["application/problem+json;q=0, */*"], F::Json, E::Json),
            (
                &["a/b;x=\"c,application/xml\", application/json"],
                F::Json,
                E::Json,
            ),
            // What is no quality makes its range none.
            (
                &["application/xml;q=1.5, application/json;q=0.1"],
                F::Json,
                E::Json,
            ),
            (
                &["nonsense, ;;, application/xml;q=0.001"],
                F::Xml,
                E::ProblemXml,
            ),
        ];
        for (values, answer, error) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT, value.parse().expect("a value"));
            }
            assert_eq!(Wanted::of(&headers), Wanted { answer, error }, "{values:?}");
        }
    }
}
