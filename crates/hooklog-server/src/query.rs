//! The query string: pairs, looked up by name.
//!
//! **Invariant:** a parameter that is known but not acted upon is refused by name, never ignored,
//! since ignoring a filter answers a different question.
//! **Next:** `page.rs`.

use std::str::FromStr;

use hooklog_storage::{NameError, Timestamp};
use url::form_urlencoded;

use crate::error::ApiError;
use crate::wire::Issue;

/// Most parameters of one request; the largest lists of event types are sent with commas.
const PARAMETERS_MAX: usize = 256;

/// The parameters of one request.
#[derive(Debug)]
pub(crate) enum Query {
    /// As they came, for in most queries there is nothing to decode: copied once and not twice for each.
    Plain(Box<str>),
    Decoded(Vec<(String, String)>),
}

impl Default for Query {
    fn default() -> Self {
        Self::Plain(Box::default())
    }
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let query = if text.is_ascii() && !text.contains(['%', '+']) {
            Self::Plain(text.into())
        } else {
            let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
            Self::Decoded(pairs.take(PARAMETERS_MAX + 1).collect())
        };
        // What the decoder puts for bytes that are not UTF-8.
        let is_bad = |(_, value): (&str, &str)| value.contains(char::REPLACEMENT_CHARACTER);
        if matches!(query, Self::Decoded(_)) && query.pairs().take(PARAMETERS_MAX).any(is_bad) {
            return Err(ApiError::Query("The query is not UTF-8"));
        }
        if query.pairs().count() > PARAMETERS_MAX {
            return Err(ApiError::Query("The query has more than 256 parameters"));
        }
        Ok(query)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let (text, pairs): (&str, &[_]) = match self {
            Self::Plain(text) => (text, &[]),
            Self::Decoded(pairs) => ("", pairs),
        };
        let plain = text.split('&').filter(|pair| !pair.is_empty());
        let plain = plain.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let decoded = pairs.iter();
        plain.chain(decoded.map(|(name, value): &(String, String)| (name.as_str(), value.as_str())))
    }

    /// The first value of `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).next()
    }

    /// Every value of `name`, be it empty.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.pairs().filter(move |(key, _)| *key == name);
        found.map(|(_, value)| value)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, ApiError> {
        self.parsed(name, "must be `true` or `false`")
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &'static str) -> Result<Option<u16>, ApiError> {
        self.parsed(name, "must be a whole number")
    }

    /// A time as of RFC 3339.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
        let time: Option<jiff::Timestamp> =
            self.parsed(name, "must be a time as 2026-01-31T12:00:00Z")?;
        Ok(time.map(|time| Timestamp::from_millis(time.as_millisecond())))
    }

    /// One name.
    pub(crate) fn name<T>(&self, name: &'static str) -> Result<Option<T>, ApiError>
    where
        T: FromStr<Err = NameError>,
    {
        self.text(name)
            .map(|text| parse_name(name, text))
            .transpose()
    }

    /// Names as `a,b`, as repeated parameters or with `[]` behind the name; `None` if none.
    pub(crate) fn names<T>(&self, name: &'static str) -> Result<Option<Vec<T>>, ApiError>
    where
        T: FromStr<Err = NameError>,
    {
        let same = |key: &str| key.strip_suffix("[]").unwrap_or(key) == name;
        let values = self.pairs().filter(|(key, _)| same(key));
        let values = values.map(|(_, value)| value);
        let texts = values
            .flat_map(|value| value.split(','))
            .filter(|text| !text.is_empty());
        let names = texts
            .map(|text| parse_name(name, text))
            .collect::<Result<Vec<T>, _>>()?;
        Ok(Some(names).filter(|names| !names.is_empty()))
    }

    /// Refuses parameters that would have no effect.
    pub(crate) fn refuse(&self, names: &[&str]) -> Result<(), ApiError> {
        let idle = |value: &str| matches!(value, "" | "false");
        let mut pairs = self.pairs();
        match pairs.find(|(key, value)| names.contains(key) && !idle(value)) {
            Some((key, _)) => Err(ApiError::NotImplemented(format!(
                "the query parameter `{key}`"
            ))),
            None => Ok(()),
        }
    }

    fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        message: &'static str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| Issue::query(name, message).into())
    }
}

fn parse_name<T: FromStr<Err = NameError>>(name: &'static str, text: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|error: NameError| Issue::query(name, error.to_string()).into())
}

#[cfg(test)]
mod tests {
    use hooklog_storage::Channel;

    use super::*;

    #[test]
    fn lists_come_in_three_spellings() {
        for text in [
            "t=a,b",
            "t=a&t=b",
            "t[]=a&t[]=b",
            "t%5B%5D=a&x=1&t=b",
            "t=a%2Cb,",
        ] {
            let query = Query::parse(text).expect("parses");
            let names: Vec<Channel> = query.names("t").expect("names").expect("some");
            assert_eq!(
                names.iter().map(Channel::as_str).collect::<Vec<_>>(),
                ["a", "b"],
                "{text}"
            );
        }
        assert_eq!(
            Query::default()
                .names::<Channel>("t")
                .expect("none is fine"),
            None
        );
    }

    #[test]
    fn bad_values_are_named() {
        let query = Query::parse("limit=x&after=yesterday&flag=1&tag=a&off=false").expect("parses");
        assert!(matches!(query.number("limit"), Err(ApiError::Invalid(_))));
        assert!(matches!(query.time("after"), Err(ApiError::Invalid(_))));
        assert!(matches!(query.flag("flag"), Err(ApiError::Invalid(_))));
        assert!(matches!(
            query.refuse(&["tag"]),
            Err(ApiError::NotImplemented(_))
        ));
        assert!(query.refuse(&["off", "absent"]).is_ok());
        assert!(matches!(Query::parse("a=%ff"), Err(ApiError::Query(_))));
        assert!(matches!(
            Query::parse(&"a=1&".repeat(257)),
            Err(ApiError::Query(_))
        ));
    }

    #[test]
    fn what_needs_no_decoding_is_read_as_what_does() {
        for text in [
            "a",
            "a=",
            "=",
            "a=b=c",
            "a=b&&c=d&",
            "a=1&a=2",
            "&",
            "a[]=x",
        ] {
            let query = Query::parse(text).expect("parses");
            let decoded: Vec<_> = form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect();
            let decoded = Query::Decoded(decoded);
            assert!(query.pairs().eq(decoded.pairs()), "{text}");
            assert!(matches!(query, Query::Plain(_)), "{text}");
        }
        assert!(Query::parse("a=\u{fffd}").is_err());
    }

    #[test]
    fn times_have_a_zone() {
        let query =
            Query::parse("a=2026-01-31T12:00:00.5%2B01:00&b=2026-01-31T12:00:00").expect("");
        assert_eq!(
            query.time("a").expect("a time").map(Timestamp::as_millis),
            Some(1_769_857_200_500)
        );
        assert!(query.time("b").is_err());
    }
}
