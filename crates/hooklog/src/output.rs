//! The one place that writes to stdout and stderr: results go to stdout, everything else to stderr.
//!
//! **Invariant:** a line is out when the call returns, so that a program that reads our stdout
//! through a pipe sees it at once; a closed pipe is an error of its own, never a panic.
//! **Next:** `config.rs`.

use std::fmt;
use std::io::{self, Write as _};

use anyhow::Context as _;

/// Whoever read our stdout has gone, as `head -1` does: a reason to end, and nothing to tell.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads stdout any more")]
pub(crate) struct Closed;

impl Closed {
    /// What a shell shows of a program that ended by SIGPIPE, which is 13. Not 0: the result of a
    /// `check` was not told.
    pub(crate) const EXIT_CODE: u8 = 128 + 13;
}

/// Writes one line of result.
pub(crate) fn line(text: impl fmt::Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// What became of a write to stdout.
pub(crate) fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        result => result.context("cannot write to stdout"),
    }
}

/// Tells a person something. That nobody listens is no reason to fail.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says why the program ends.
pub(crate) fn error(error: &anyhow::Error) {
    note(format_args!("error: {error:#}"));
}
