//! The id of a request: the client's or a proxy's if it is sane, else a new one.
//!
//! **Invariant:** an id is 1 to 128 visible ASCII characters, so it can stand in any header and any
//! line of a log; those made here sort by time and never repeat.
//! **Next:** `visit.rs`, which says it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use hooklog_storage::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that proxies and clients use for it, in requests and answers.
pub(crate) const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over: ids of tracing systems and two UUIDs fit twice.
const BYTES_MAX: usize = 128;
/// Characters of a new one: 48 bits of time, 40 of the process, 40 of a counter, as a ULID has them.
const CHARS: usize = 26;
/// Crockford's base 32, in the order of ASCII.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of 40 bits.
const CHARS_OF_40: usize = 8;
const MASK_40: u64 = (1 << 40) - 1;

/// Makes ids.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Tells this process from others.
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self {
            // The standard library's own random keys; an id is no secret.
            process: RandomState::new().build_hasher().finish() & MASK_40,
            next: AtomicU64::new(0),
        }
    }

    /// The id of the request with these headers.
    pub(crate) fn of(&self, headers: &HeaderMap, now: Timestamp) -> HeaderValue {
        let given = headers.get(NAME).filter(|id| is_sane(id.as_bytes()));
        given.cloned().unwrap_or_else(|| self.make(now))
    }

    fn make(&self, now: Timestamp) -> HeaderValue {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0) & ((1 << 48) - 1);
        let count = self.next.fetch_add(1, Ordering::Relaxed) & MASK_40;
        let mut text = [b'0'; CHARS];
        let (time, rest) = text.split_at_mut(CHARS - 2 * CHARS_OF_40);
        let (process, counter) = rest.split_at_mut(CHARS_OF_40);
        for (digits, bits) in [(time, millis), (process, self.process), (counter, count)] {
            write(digits, bits);
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Writes the lowest bits of a number as digits. In parts of 64 bits, because shifts of 128 cost twice.
fn write(digits: &mut [u8], mut bits: u64) {
    for digit in digits.iter_mut().rev() {
        let [.., low] = bits.to_be_bytes();
        *digit = ALPHABET.get(usize::from(low & 31)).copied().unwrap_or(b'0');
        bits >>= 5;
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_ids_are_taken_over_and_others_replaced() {
        let ids = RequestIds::new();
        let (longest, longer) = ("x".repeat(128), "x".repeat(129));
        let cases = [
            ("7b0c1f6e-8a64-4f5c-9d2e-0a1b2c3d4e5f", true),
            ("!~", true),
            (&longest, true),
            (&longer, false),
            ("", false),
            ("a b", false),
            ("a\tb", false),
            ("ä", false),
        ];
        for (given, is_taken) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(
                NAME,
                HeaderValue::from_bytes(given.as_bytes()).expect(given),
            );
            let id = ids.of(&headers, Timestamp::from_millis(1));
            assert_eq!(id.as_bytes() == given.as_bytes(), is_taken, "{given:?}");
            assert!(is_sane(id.as_bytes()), "{id:?}");
        }
    }

    #[test]
    fn new_ids_sort_by_time_and_do_not_repeat() {
        let ids = RequestIds::new();
        let times = [
            0,
            1,
            1,
            1,
            1_790_000_000_000,
            1_790_000_000_001,
            i64::MAX >> 16,
        ];
        let made = times.map(|millis| ids.make(Timestamp::from_millis(millis)));
        assert!(
            made.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()),
            "{made:?}"
        );
        assert!(made.iter().all(|id| id.len() == CHARS));
        let other = RequestIds::new().make(Timestamp::from_millis(0));
        assert_ne!(made.first(), Some(&other), "another process");
    }
}
