//! The proofs against the real binary, as one test program; this file is its table of contents.
//!
//! What needs more than a Rust toolchain (strace, Python, Node, mount) is left out of a plain
//! `cargo test`, which says so; `tests/run` sets it all up and leaves nothing out.
//!
//! **Invariant:** free ports, scratch directories, deadlines instead of sleeps, and no process
//! outlives its test.
//! **Next:** `harness.rs`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are no test functions, so .clippy.toml does not cover them"
)]

/// Starts and kills the real binary, speaks HTTP to it, and receives what it delivers.
mod harness;

/// The README's tour: real payloads from `publish` through `serve` to `receive`; usage errors.
mod tour;

/// A stdout that nobody reads: servers go on, other commands end quietly.
mod pipes;

/// HTTPS and Unix sockets, with curl as the client.
mod door;

/// Foreign SDKs as clients and receivers; payload bytes from end to end.
mod sdk;

/// The description of the API: others validate it, and test the real server by it.
mod describe;

/// Asking instead of being told: what waiting costs, and a tail that outlives the server.
mod ask;

/// `kill -9` in the middle of a load: nothing acked is lost, duplicates are bounded, retries go on.
mod crash;

/// What the kernel was asked, by strace: fdatasync before each 202, no early recycling.
mod syscalls;

/// Damaged and foreign data directories, a full disk, a second process.
mod damage;

/// A disk that fills up: refused in time, room by retention, and how much space an open needs.
mod full_disk;

/// The examples of the library, run to their end.
mod examples;
/// Backup of a running server, restore, check, repair, compact.
mod operate;
/// Power cuts on a disk that forgets what was not synced: nothing acked is lost, the log opens.
mod power;

/// `hooklog bench`: every target gives figures, foreign servers too, and nothing stays behind.
mod bench;

/// House rules over the sources: sizes, headers, import arrows, the top level.
mod tidy;
