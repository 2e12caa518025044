//! Names that users choose: validated once at the edge, cheap to clone afterwards.
//!
//! **Invariant:** a value of these types obeys the pattern `[a-zA-Z0-9\-_.]+` (ordering keys: any
//! text without control characters) and its length limit (those of the Svix-compatible
//! API), so nothing below the edge checks again.
//! **Next:** `event.rs`.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character at all.
    #[error("must not be empty")]
    Empty,
    /// Too long.
    #[error("has {found} characters, more than the limit of {limit}")]
    TooLong {
        /// Characters found.
        found: usize,
        /// The limit of this kind of name.
        limit: usize,
    },
    /// `.` or `..`: clients and proxies resolve them as steps in a path, away from what was meant.
    #[error("must not be `.` or `..`")]
    Dots,
    /// A control character.
    #[error("must not hold control characters, but holds {found:?}")]
    Control {
        /// The first one.
        found: char,
    },
    /// A character outside the pattern.
    #[error("may hold only letters, digits, `-`, `_` and `.`, but holds {found:?}")]
    Character {
        /// The first character that is not allowed.
        found: char,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $limit:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most characters it may have.
            pub const LIMIT: usize = $limit;

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $limit)?;
                Ok(Self(text.into()))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// Name of an event type, as `invoice.paid`.
    EventTypeName, 256
}
name! {
    /// A channel: a second, free dimension to filter by.
    Channel, 128
}
name! {
    /// A user's own id of an application, a subscription or an event.
    Uid, 256
}
name! {
    /// A word to find events by.
    Tag, 128
}
name! {
    /// Name of a consumer, unique within its scope.
    ConsumerName, 128
}

/// What an event belongs to, as `customer/17`: events with equal keys are delivered in order. Any
/// text without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct OrderingKey(Arc<str>);

impl OrderingKey {
    /// The most bytes it may have, as of a uid.
    pub const LIMIT: usize = 256;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrderingKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(NameError::Control { found });
        }
        if text.len() > Self::LIMIT {
            let (found, limit) = (text.len(), Self::LIMIT);
            return Err(NameError::TooLong { found, limit });
        }
        Ok(Self(text.into()))
    }
}

fn check(text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if matches!(text, "." | "..") {
        return Err(NameError::Dots);
    }
    // Allowed characters are ASCII, so bytes are characters unless the text is refused anyway.
    if let Some(found) = text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))
    {
        return Err(NameError::Character { found });
    }
    if text.len() > limit {
        return Err(NameError::TooLong {
            found: text.len(),
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_edge() {
        let long = "x".repeat(129);
        let cases = [
            ("user.created", Ok(())),
            ("A-b_9.", Ok(())),
            ("", Err(NameError::Empty)),
            (".", Err(NameError::Dots)),
            ("..", Err(NameError::Dots)),
            ("...", Ok(())),
            ("a b", Err(NameError::Character { found: ' ' })),
            ("ä", Err(NameError::Character { found: 'ä' })),
            (
                &long,
                Err(NameError::TooLong {
                    found: 129,
                    limit: 128,
                }),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Channel>().map(|_| ()), expected, "{text:?}");
        }
    }
}
