//! A value that few have: eight bytes where it is empty.
//!
//! **Invariant:** it is read, compared and stored as the value itself.
//! **Next:** `subscription.rs`: there may be 100,000.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text, list or map that is empty in most; then it takes eight bytes. Read it as what it holds, and make it with
/// `into`.
#[derive(Clone)]
pub struct Rare<T>(Option<Box<T>>);

/// What can be empty.
pub trait Empty: Default + 'static {
    /// One that is.
    const EMPTY: &'static Self;

    /// Whether this one is.
    fn is_empty(&self) -> bool;
}

impl Empty for String {
    const EMPTY: &'static Self = &Self::new();

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<T: 'static> Empty for Vec<T> {
    const EMPTY: &'static Self = &Self::new();

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<K: 'static, V: 'static> Empty for BTreeMap<K, V> {
    const EMPTY: &'static Self = &Self::new();

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<T: Empty> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self((!value.is_empty()).then(|| Box::new(value)))
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Empty> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Empty + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Empty + Eq> Eq for Rare<T> {}

impl<T: Empty + std::fmt::Debug> std::fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Empty + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Empty + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn it_is_what_it_holds_in_bytes_too() {
        for text in ["", "text"] {
            let mut rare = Rare::from(text.to_owned());
            assert_eq!(*rare, text);
            assert_eq!(format!("{rare:?}"), format!("{text:?}"));
            let bytes = codec::encode(&rare).unwrap();
            assert_eq!(bytes, codec::encode(&text).unwrap());
            assert_eq!(codec::decode::<Rare<String>>(&bytes).unwrap(), rare);
            rare.push('!');
            assert_eq!(*rare, format!("{text}!"));
            rare.clear();
            // An empty one is equal to one that never was anything else.
            assert_eq!(rare, Rare::default());
        }
        assert_eq!(size_of::<Rare<BTreeMap<String, String>>>(), 8);
    }
}
