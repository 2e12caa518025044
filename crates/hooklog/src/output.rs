//! The one place that writes to stdout and stderr: results go to stdout, everything else to stderr.
//!
//! **Invariant:** a line is out when the call returns, so that a program that reads our stdout
//! through a pipe sees it at once; a closed pipe is an error, never a panic.
//! **Next:** `config.rs`.

use std::fmt;
use std::io::{self, Write as _};

use anyhow::Context as _;

/// Writes one line of result.
pub(crate) fn line(text: impl fmt::Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("cannot write to stdout")
}

/// Tells a person something. That nobody listens is no reason to fail.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says why the program ends.
pub(crate) fn error(error: &anyhow::Error) {
    note(format_args!("error: {error:#}"));
}
