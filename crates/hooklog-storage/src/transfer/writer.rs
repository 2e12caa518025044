//! Writing rows into a new database.
//!
//! **Invariant:** the state is the last row; a database without it is no copy. No more than
//! `COMMIT_BYTES_MAX` go into it between two barriers, for the reason that `apply.rs` gives.
//! **Next:** `compact.rs`.

use std::path::Path;

use crate::codec;
use crate::engine::{COMMIT_BYTES_MAX, Engine, EngineError, Op, Sizes};
use crate::keys::{self, Family};
use crate::recovery::{OpenErrorKind, open_patiently};
use crate::state::State;

/// Most rows of a transaction: sled keeps each in a table of its own until it commits.
const COMMIT_ROWS: usize = 8 << 10;

/// A database while it is filled.
#[derive(Debug)]
pub(crate) struct Writer {
    engine: Engine,
    ops: Vec<Op>,
    bytes: usize,
}

impl Writer {
    /// Creates a database in a directory that does not exist or is empty, with batches where the log
    /// will put them: retention gives space back by whole files.
    pub(crate) fn create(sled: &Path, sizes: Sizes) -> Result<Self, EngineError> {
        Ok(Self {
            engine: open_patiently(sled, sizes)?,
            ops: Vec::new(),
            bytes: 0,
        })
    }

    /// Adds a row.
    pub(crate) fn put(
        &mut self,
        family: Family,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<(), EngineError> {
        let op = Op {
            family,
            key,
            value: Some(value),
        };
        if self.bytes + op.bytes() > COMMIT_BYTES_MAX || self.ops.len() >= COMMIT_ROWS {
            self.flush()?;
        }
        self.bytes += op.bytes();
        self.ops.push(op);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        if !self.ops.is_empty() {
            self.engine.commit(&self.ops)?;
            self.engine.barrier()?;
        }
        self.ops.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Writes the state and closes the database.
    pub(crate) fn finish(mut self, state: &State) -> Result<(), OpenErrorKind> {
        self.put(Family::State, keys::STATE.to_vec(), codec::encode(state)?)?;
        Ok(self.flush()?)
    }
}
