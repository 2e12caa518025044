//! The `Retry-After` of an answer: seconds, or any of the three forms of an HTTP date (RFC 9110,
//! 10.2.3 and 5.6.7).
//!
//! **Invariant:** whatever a receiver writes, the wait is at most [`WAIT_MAX`]; what cannot be read is
//! as if it were not there.
//! **Next:** `lane/judge.rs`, which honours it.

use std::time::{Duration, SystemTime};

use hooklog_storage::Timestamp;

/// Longest wait that a receiver can ask for: the longest step of the default schedule. A receiver
/// that means more is better disabled; one that means nothing by it must not be lost for a year.
pub(crate) const WAIT_MAX: Duration = Duration::from_hours(24);

/// When a receiver wants to hear from us again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    /// So long after its answer.
    Wait(Duration),
    /// At this time.
    At(Timestamp),
}

impl RetryAfter {
    /// Reads the field's value.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than fit are more than the bound in any case.
            let seconds = value.parse().unwrap_or(u64::MAX);
            return Some(Self::Wait(Duration::from_secs(seconds).min(WAIT_MAX)));
        }
        let at: SystemTime = httpdate::parse_http_date(value).ok()?;
        Some(Self::At(at.into()))
    }

    /// The time that is meant by an answer that came at `now`; `None` if it has passed.
    pub(crate) fn until(self, now: Timestamp) -> Option<Timestamp> {
        let wait = match self {
            Self::Wait(wait) => wait,
            Self::At(at) => at.since(now),
        };
        (!wait.is_zero()).then(|| now.plus(wait.min(WAIT_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT: the example of the RFC.
    const DATE: i64 = 784_111_777_000;

    #[test]
    fn every_form_is_read_and_bounded() {
        let now = Timestamp::from_millis(DATE - 60_000);
        let later = |seconds| Some(now.plus(Duration::from_secs(seconds)));
        let cases = [
            ("120", later(120)),
            (" 7 ", later(7)),
            ("0", None),
            ("86400", later(86_400)),
            ("86401", later(86_400)),
            ("99999999999999999999999999", later(86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", later(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", later(60)),
            ("Sun Nov  6 08:49:37 1994", later(60)),
            // Passed already.
            ("Sun, 06 Nov 1994 08:40:37 GMT", None),
            // Too far away.
            ("Mon, 06 Nov 1995 08:49:37 GMT", later(86_400)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", later(86_400)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("06 Nov 1994", None),
        ];
        for (text, expected) in cases {
            let found = RetryAfter::parse(text).and_then(|hint| hint.until(now));
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
