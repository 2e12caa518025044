//! Times as texts: RFC 3339 in UTC.
//!
//! **Invariant:** always with milliseconds, so that texts sort as times.
//! **Next:** `message.rs`.

use hooklog_storage::Timestamp;
use jiff::tz::Offset;
use serde::{Serialize as _, Serializer};

/// What the digits are written into.
const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

/// Serializes as text.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
pub(super) fn time<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(text) = plain(*value) {
        return text.serialize(serializer);
    }
    let time =
        jiff::Timestamp::from_millisecond(value.as_millis()).map_err(serde::ser::Error::custom)?;
    serializer.collect_str(&format_args!("{time:.3}"))
}

/// The same, or null.
#[expect(clippy::ref_option, reason = "the form that serde calls")]
pub(super) fn some_time<S: Serializer>(
    value: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// The same, within a text.
pub(crate) fn time_text(value: Timestamp) -> String {
    if let Some(text) = plain(value) {
        return text;
    }
    match jiff::Timestamp::from_millisecond(value.as_millis()) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => format!("{} ms", value.as_millis()),
    }
}

/// A time whose year has four digits, as jiff would write it, for a third of the instructions: every
/// answer has one, and pages hundreds.
fn plain(value: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(value.as_millis()).ok()?;
    let civil = Offset::UTC.to_datetime(time);
    let mut text = *FORM;
    let small = [
        (5..7, civil.month()),
        (8..10, civil.day()),
        (11..13, civil.hour()),
        (14..16, civil.minute()),
        (17..19, civil.second()),
    ];
    write(text.get_mut(..4)?, civil.year())?;
    for (place, number) in small {
        write(text.get_mut(place)?, number.into())?;
    }
    write(text.get_mut(20..23)?, civil.millisecond())?;
    std::str::from_utf8(&text).ok().map(str::to_owned)
}

/// Writes the digits of a number; `None` if it is less than nothing.
fn write(digits: &mut [u8], number: i16) -> Option<()> {
    let mut rest = u16::try_from(number).ok()?;
    for digit in digits.iter_mut().rev() {
        let [_, low] = (rest % 10).to_be_bytes();
        *digit = b'0' + low;
        rest /= 10;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_jiff(millis: i64) -> Option<String> {
        let time = jiff::Timestamp::from_millisecond(millis).ok()?;
        Some(format!("{time:.3}"))
    }

    #[test]
    fn the_ends_of_years_and_of_time_are_as_jiff_writes_them() {
        for millis in [
            0,
            -1,
            951_782_400_000,
            1_709_251_199_999,
            253_402_207_200_000,
            -62_167_219_200_000,
            -62_167_219_200_001,
        ] {
            assert_eq!(
                by_jiff(millis),
                Some(time_text(Timestamp::from_millis(millis)))
            );
        }
        let never = Timestamp::from_millis(i64::MAX);
        assert_eq!(time_text(never), format!("{} ms", i64::MAX));
    }

    #[test]
    fn any_time_is_as_jiff_writes_it() {
        // Some ten thousand times from the first to the last year, at all times of the day.
        for millis in (-377_705_023_201_000_i64..253_402_207_200_999).step_by(63_115_201_337) {
            assert_eq!(
                by_jiff(millis),
                Some(time_text(Timestamp::from_millis(millis)))
            );
        }
    }
}
