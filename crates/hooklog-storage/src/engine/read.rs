//! Reading rows, and the batches that they point to.
//!
//! **Invariant:** a reader gets a batch whether it lies in sled or in an extent, and cannot tell.
//! **Next:** `extents.rs`.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::error::{failed, guarded, no_row};
use super::extents::{Mark, Place, Row};
use super::{Engine, EngineError, PUMP_VALUE_BYTES};
use crate::keys::Family;

/// Which end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {
    First,
    Last,
}

impl Engine {
    /// The value of a key.
    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let action = "read";
        guarded(action, || {
            let value = self.tree(family)?.get(key).map_err(failed(action))?;
            value
                .map(|value| self.share(family, key, value))
                .transpose()
        })
    }

    /// What can be known of a batch's value without reading it.
    pub(crate) fn mark<T>(
        &self,
        family: Family,
        key: &[u8],
        look: impl FnOnce(Mark<'_>) -> T,
    ) -> Result<Option<T>, EngineError> {
        let action = "read";
        guarded(action, || {
            let value = self.tree(family)?.get(key).map_err(failed(action))?;
            value
                .map(|value| Ok(look(Row::decode(&value).ok_or_else(no_row)?.mark())))
                .transpose()
        })
    }

    /// Hands what can be known of each batch's value without reading it, ascending, to `visit`.
    pub(crate) fn scan_marks<E: From<EngineError>>(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], Mark<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let action = "read";
        let mut pairs = self.tree(family)?.range::<&[u8], _>(bounds);
        let mut passed = 0;
        while let Some((key, value)) =
            guarded(action, || pairs.next().transpose().map_err(failed(action)))?
        {
            self.pass(family, &key, value.len(), &mut passed);
            visit(&key, Row::decode(&value).ok_or_else(no_row)?.mark())?;
        }
        Ok(())
    }

    /// Whether an extent has at least the bytes that a place in it needs.
    pub(crate) fn holds(&self, family: Family, place: Place) -> Result<bool, EngineError> {
        let Some(extents) = self.extents(family) else {
            return Ok(false);
        };
        let found = extents.bytes_of(place.extent)?;
        Ok(found >= place.position + u64::from(place.bytes))
    }

    /// The first (or last) pair whose key lies within the bounds.
    pub(crate) fn edge(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        edge: Edge,
    ) -> Result<Option<(Vec<u8>, Bytes)>, EngineError> {
        let action = "read";
        guarded(action, || {
            let mut pairs = self.tree(family)?.range::<&[u8], _>(bounds);
            let pair = match edge {
                Edge::First => pairs.next(),
                Edge::Last => pairs.next_back(),
            };
            let pair = pair.transpose().map_err(failed(action))?;
            pair.map(|(key, value)| {
                let value = self.share(family, &key, value)?;
                Ok((key.to_vec(), value))
            })
            .transpose()
        })
    }

    /// Hands each pair within the bounds, ascending, to `visit`.
    pub(crate) fn scan<E: From<EngineError>>(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.scan_until(family, bounds, |key, value| {
            visit(key, value).map(ControlFlow::Continue)
        })
    }

    /// The same until `visit` breaks off.
    pub(crate) fn scan_until<E: From<EngineError>>(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let action = "read";
        let mut pairs = self.tree(family)?.range::<&[u8], _>(bounds);
        let mut passed = 0;
        while let Some((key, value)) =
            guarded(action, || pairs.next().transpose().map_err(failed(action)))?
        {
            self.pass(family, &key, value.len(), &mut passed);
            let value = self.share(family, &key, value)?;
            if visit(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// A scan has come past a small value. It looks at each page once, so sled would notice only at its
    /// end how much it has read (100,000 rows of 340 bytes left 35 MB in memory, or holes of that size).
    fn pass(&self, family: Family, key: &[u8], bytes: usize, passed: &mut usize) {
        if bytes <= PUMP_VALUE_BYTES {
            *passed += bytes;
        }
        if *passed > PUMP_VALUE_BYTES {
            *passed = 0;
            self.pump(family, key);
        }
    }

    /// A value as its reader knows it.
    fn share(&self, family: Family, key: &[u8], value: sled::IVec) -> Result<Bytes, EngineError> {
        if value.len() > PUMP_VALUE_BYTES {
            self.pump(family, key);
        }
        let Some(extents) = self.extents(family) else {
            return Ok(Bytes::from_owner(value));
        };
        match Row::decode(&value) {
            Some(Row::Inline(_)) => Ok(Bytes::from_owner(value).slice(1..)),
            Some(Row::Elsewhere(place, _)) => Ok(extents.read(place)?),
            None => Err(no_row()),
        }
    }
}
