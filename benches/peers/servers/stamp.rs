//! What each event carries, so that the one that comes is known to be one that was sent: a number of 16
//! hexadecimal digits, which is when it was sent and on which connection.
//!
//! **Invariant:** no two events of a run have the same stamp: a connection sends one after the other, so
//! the nanoseconds differ, and two connections differ in the low bits.
//! **Next:** `ledger.rs`, which looks for them.

use std::ops::Range;
use std::time::Duration;

/// What comes before the digits; letters of payloads have no quotes, so it is nowhere else.
pub const BEFORE: &str = "{\"n\":\"";
pub const DIGITS: usize = 16;
/// Low bits for the connection, which leaves 78 hours of nanoseconds.
const CONNECTION_BITS: u32 = u16::BITS;

/// Of an event that is sent so long after the run began.
pub fn stamp(after: Duration, connection: u16) -> u64 {
    let nanoseconds = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    nanoseconds << CONNECTION_BITS | u64::from(connection)
}

/// How long after the run began it was sent.
pub fn after(stamp: u64) -> Duration {
    Duration::from_nanos(stamp >> CONNECTION_BITS)
}

/// Where the digits are in a request.
pub fn place(request: &[u8]) -> Option<Range<usize>> {
    let start = crate::wire::find(request, BEFORE.as_bytes())? + BEFORE.len();
    (start + DIGITS <= request.len()).then_some(start..start + DIGITS)
}

/// Writes the digits.
pub fn put(digits: &mut [u8], stamp: u64) {
    for (at, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(stamp >> (4 * at) & 15) as usize];
    }
}

/// What the event says that is somewhere in these bytes.
pub fn read(event: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(&event[place(event)?]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_put() {
        for (nanoseconds, connection) in [(0, 0), (1, 63), (3_600_000_000_000, u16::MAX)] {
            let mut event = format!("POST\r\n\r\n{BEFORE}0000000000000000\",\"text\":\"\"}}");
            let at = Duration::from_nanos(nanoseconds);
            let expected = stamp(at, connection);
            let mut bytes = std::mem::take(&mut event).into_bytes();
            let place = place(&bytes).unwrap();
            put(&mut bytes[place], expected);
            assert_eq!(read(&bytes), Some(expected));
            assert_eq!(after(expected), at);
        }
        assert_eq!(read(b"{\"n\":\"0\"}"), None);
        assert_eq!(read(b"{\"n\":\"000000000000000g\"}"), None);
    }
}
