//! Places in the log as clients name them: what to go on from.
//!
//! **Invariant:** a place that we handed out is understood wherever one is taken, by polls and
//! streams alike; the id of a message means "behind that message".
//! **Next:** `feed.rs`.

use std::fmt;
use std::str::FromStr;

use hooklog_storage::{EventId, EventLog, Offset};

/// What the text of a place begins with if it is no message's id.
const PREFIX: &str = "pos_";

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) Offset);

/// Why a text is not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("must be an iterator or a message's id that this server gave")]
    Form,
    #[error("is behind the end of the log: it is another server's, or the log lost its end")]
    PastEnd,
}

impl Place {
    /// The place that `text` names in this log.
    pub(crate) fn parse(text: &str, log: &EventLog) -> Result<Self, PlaceError> {
        let place: Self = text.parse()?;
        // Who went on from there would miss what gets these offsets next.
        if place.0 > log.end() {
            return Err(PlaceError::PastEnd);
        }
        Ok(place)
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Ok(id) = text.parse::<EventId>() {
            return Ok(Self(id.offset().next()));
        }
        let number = text.strip_prefix(PREFIX).ok_or(PlaceError::Form)?;
        // As we write it: `parse` alone would take a sign.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PlaceError::Form);
        }
        let number = number.parse().map_err(|_| PlaceError::Form)?;
        Ok(Self(Offset::new(number)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use hooklog_storage::Timestamp;

    use super::*;

    #[test]
    fn places_are_offsets_or_what_lies_behind_a_message() {
        let id = EventId::at(
            Timestamp::from_millis(1_800_000_000_000),
            Offset::new(41),
            [7; 7],
        );
        for (text, expected) in [
            ("pos_0", Ok(0)),
            ("pos_18446744073709551615", Ok(u64::MAX)),
            (id.to_string().as_str(), Ok(42)),
            ("pos_", Err(PlaceError::Form)),
            ("pos_+1", Err(PlaceError::Form)),
            ("pos_18446744073709551616", Err(PlaceError::Form)),
            ("41", Err(PlaceError::Form)),
            ("", Err(PlaceError::Form)),
            ("msg_short", Err(PlaceError::Form)),
        ] {
            let place = text.parse::<Place>();
            assert_eq!(place.map(|place| place.0.get()), expected, "{text:?}");
        }
        assert_eq!(Place(Offset::new(42)).to_string(), "pos_42");
    }
}
