//! The binary `hooklog`: reads the command line, runs one command, says how it ended.
//!
//! **Invariant:** exit code 0 is success, 2 is wrong usage, 141 a stdout that nobody reads, 1 is
//! everything else; results are on stdout, all else on stderr.
//! **Next:** `cli.rs`, the commands and their help.

mod backup;
mod bar;
mod bench_options;
mod check;
mod cli;
mod client;
mod compact;
mod config;
mod door_options;
mod jwt_secret;
mod logging;
mod open_files;
mod output;
mod publish;
mod receive;
mod restore;
mod serve;
mod signals;
mod storage_options;
mod tail;
mod token;
mod token_keys;
mod units;

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

/// An event is allocated by the thread of its connection and freed by the log's, which glibc's arenas
/// make dear: a seventh of a publish went into `malloc` and `free`. Only the binary chooses; a program
/// that embeds the crates keeps its own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<output::Closed>() => ExitCode::from(output::Closed::EXIT_CODE),
        Err(error) => {
            output::error(&error);
            ExitCode::from(if error.is::<cli::Usage>() { 2 } else { 1 })
        }
    }
}
