//! What a request's headers ask beside what its path says: whether it would wait (RFC 7240), what it
//! has already (RFC 9110), where its stream broke off.
//!
//! **Invariant:** what cannot be understood of a preference or a condition is ignored, as the
//! standards say; only reads have them.
//! **Next:** `etag.rs`.

use std::time::Duration;

use http::header::{GetAll, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};

/// RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The standard of server-sent events.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Headers of a read that its handler looks at.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The longest that it would wait for something new.
    pub(crate) wait: Option<Duration>,
    /// Tags of what it has.
    pub(crate) if_none_match: Vec<HeaderValue>,
    /// What its stream had last.
    pub(crate) last_event_id: Option<HeaderValue>,
}

impl Asked {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            wait: wait(&headers.get_all(PREFER)),
            if_none_match: headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
            last_event_id: headers.get(LAST_EVENT_ID).cloned(),
        }
    }

    /// Whether it has the representation that `tag` names: by weak comparison, which is the one for
    /// `If-None-Match` (RFC 9110 §13.1.2).
    pub(crate) fn has(&self, tag: &str) -> bool {
        let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let wanted = bare(tag);
        self.has_whatever() || self.tags().any(|one| bare(one) == wanted)
    }

    /// Whether it says `*`: that it has something, whatever that is.
    pub(crate) fn has_whatever(&self) -> bool {
        self.tags().any(|one| one.trim() == "*")
    }

    fn tags(&self) -> impl Iterator<Item = &str> {
        let texts = self.if_none_match.iter().filter_map(|v| v.to_str().ok());
        texts.flat_map(|text| text.split(','))
    }
}

/// `wait=N` of the preferences, in whole seconds; the first counts.
fn wait(values: &GetAll<'_, HeaderValue>) -> Option<Duration> {
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    let mut preferences = texts.flat_map(|text| text.split(','));
    preferences.find_map(|preference| {
        // Parameters of a preference come behind a semicolon.
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("wait") {
            return None;
        }
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        Some(Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(HeaderName, &'static str)]) -> Asked {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        Asked::of(&map)
    }

    #[test]
    fn waits_are_whole_seconds() {
        for (value, expected) in [
            ("wait=10", Some(10)),
            ("respond-async, WAIT = \"7\" ; foo=bar", Some(7)),
            ("wait=0", Some(0)),
            ("wait=3, wait=5", Some(3)),
            ("wait", None),
            ("wait=soon", None),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("waiting=3", None),
        ] {
            let found = asked(&[(PREFER, value)]).wait;
            assert_eq!(found, expected.map(Duration::from_secs), "{value}");
        }
        let two = asked(&[(PREFER, "return=minimal"), (PREFER, "wait=4")]);
        assert_eq!(two.wait, Some(Duration::from_secs(4)));
        assert_eq!(asked(&[]).wait, None);
    }

    #[test]
    fn tags_are_compared_weakly() {
        for (value, expected) in [
            ("W/\"a\"", true),
            ("\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            let asked = asked(&[(IF_NONE_MATCH, value)]);
            assert_eq!(asked.has("W/\"a\""), expected, "{value}");
        }
        assert!(!asked(&[]).has("W/\"a\""));
    }
}
