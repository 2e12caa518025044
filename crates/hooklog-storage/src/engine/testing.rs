//! sled without its fences: what it does of itself with a directory, for the tests that reproduce its
//! traps.
//!
//! **Invariant:** only compiled for tests, and only used on copies.
//! **Next:** `../log/trap_tests.rs`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::error::message;

/// What sled alone makes of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    /// It opened; rows by tree.
    Opened(BTreeMap<String, usize>),
    /// It returned an error when it opened, or when the rows were read.
    Refused(String),
    /// It panicked.
    Panicked(String),
}

impl Raw {
    /// Rows of a tree; none if it did not open.
    pub(crate) fn rows(&self, tree: &str) -> usize {
        match self {
            Self::Opened(rows) => rows.get(tree).copied().unwrap_or_default(),
            Self::Refused(_) | Self::Panicked(_) => 0,
        }
    }
}

fn config(directory: &Path, segment_bytes: u64) -> sled::Config {
    sled::Config::new()
        .path(directory)
        .segment_size(usize::try_from(segment_bytes).unwrap())
        .flush_every_ms(None)
}

/// Opens a directory with sled alone and counts all rows.
pub(crate) fn open(directory: &Path, segment_bytes: u64) -> Raw {
    let count = || -> Result<BTreeMap<String, usize>, sled::Error> {
        let database = config(directory, segment_bytes).open()?;
        let mut rows = BTreeMap::new();
        for name in database.tree_names() {
            let tree = database.open_tree(&name)?;
            let mut count = 0;
            for row in &tree {
                row?;
                count += 1;
            }
            rows.insert(String::from_utf8_lossy(&name).into_owned(), count);
        }
        Ok(rows)
    };
    match catch_unwind(AssertUnwindSafe(count)) {
        Ok(Ok(rows)) => Raw::Opened(rows),
        Ok(Err(error)) => Raw::Refused(error.to_string()),
        Err(panic) => Raw::Panicked(message(panic.as_ref()).to_owned()),
    }
}

/// Creates a database with sled alone and writes values of these sizes into a tree.
pub(crate) fn write(directory: &Path, segment_bytes: u64, values: &[usize]) {
    let database = config(directory, segment_bytes).open().unwrap();
    let tree = database.open_tree("log").unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    for (index, bytes) in (0_u64..).zip(values) {
        let value: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(*bytes).collect();
        tree.insert(index.to_be_bytes(), value).unwrap();
    }
    database.flush().unwrap();
}
