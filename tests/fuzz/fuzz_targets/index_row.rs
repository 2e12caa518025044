//! Fuzz target `index_row`; the property and what it covers are in `fuzzing.rs` of `hooklog-storage`.
//!
//! **Invariant:** any input is taken, and none panics.
//! **Next:** `crates/hooklog-storage/src/fuzzing.rs`.
#![no_main]

use hooklog_storage::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::index_row(data));
