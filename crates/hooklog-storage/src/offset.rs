//! Positions: of an event in the log, of a frame in the journal, of an attempt among the attempts.
//!
//! **Invariant:** each is dense, starts at 0, and is assigned by `commit.rs` alone; arithmetic on
//! positions happens in this file and nowhere else.
//! **Next:** `id.rs`, which puts positions into public ids.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(u64);

        impl $name {
            /// The first position.
            pub const ZERO: Self = Self(0);
            /// Above every position that can be assigned.
            pub const MAX: Self = Self(u64::MAX);

            /// The position `value`.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The position as a number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The position right after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The position `count` after this one.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// How many positions lie in `lower..self` (0 if `lower` is not below).
            pub const fn since(self, lower: Self) -> u64 {
                self.0.saturating_sub(lower.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position! {
    /// Where an event stands in the log. Dense over all applications.
    Offset
}
position! {
    /// Number of a journal frame (one group commit).
    Sequence
}
position! {
    /// Where an attempt stands among all attempts ever recorded.
    AttemptSeq
}

/// `lower..upper`, half-open; what every range in this workspace looks like.
pub type OffsetRange = Range<Offset>;
