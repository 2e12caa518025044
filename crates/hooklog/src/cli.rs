//! The command line: which commands there are, and their help.
//!
//! **Invariant:** every flag ends up as a layer of the settings, so a command reads `Settings` and
//! nothing else; only what is no setting (`--config`, file names) goes around it.
//! **Next:** `config.rs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::config::{Settings, given};
use crate::{
    backup, bench_options, check, compact, logging, publish, receive, restore, serve, tail, token,
};

/// Wrong usage that only shows once all settings are layered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) &'static str);

/// A webhook server in one binary: publish over HTTP, durable on disk, delivered signed.
#[derive(Parser)]
#[command(name = "hooklog", version, max_term_width = 100, after_help = SETTINGS_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const SETTINGS_HELP: &str = "\
Try it, in three terminals:
  1  hooklog serve --allow-network 127.0.0.0/8   # prints a curl line that creates `demo`: run it
  2  hooklog receive
  3  curl -X POST http://127.0.0.1:8071/api/v1/app/demo/endpoint \\
       -H \"authorization: Bearer $(hooklog token)\" -H 'content-type: application/json' \\
       -d '{\"url\":\"http://127.0.0.1:9000\"}'
     echo '{\"hello\":\"world\"}' | hooklog publish --app demo --event-type greeting -

Every option is also a variable and a key of the TOML file: --data-dir is HOOKLOG_DATA_DIR and
data_dir; those of `receive` carry its name (HOOKLOG_RECEIVE_LISTEN, receive_listen). A flag wins
over the variable, the variable over the file. The secret that signs tokens has no flag:
HOOKLOG_JWT_SECRET or jwt_secret, else one is generated into the data directory.";

#[derive(Args, Serialize)]
struct Common {
    /// TOML file with settings.
    #[arg(
        long,
        global = true,
        display_order = 900,
        value_name = "FILE",
        env = "HOOKLOG_CONFIG",
        hide_env_values = true
    )]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// What to log to stderr, as `warn` or `info,hooklog_dispatcher=debug` [default: `RUST_LOG`,
    /// or info].
    #[arg(long, global = true, display_order = 901, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    Serve(Box<serve::Flags>),
    Token(token::Flags),
    Publish(publish::Flags),
    Receive(receive::Flags),
    Tail(tail::Flags),
    Backup(backup::Flags),
    Restore(restore::Flags),
    Check(check::Flags),
    Compact(compact::Flags),
    Bench(Box<bench_options::Flags>),
    /// A part of `bench` in a process of its own.
    #[command(name = hooklog::bench::part::COMMAND, hide = true)]
    BenchPart(bench_options::PartFlags),
}

impl Cli {
    /// Layers the settings and runs the command.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let common = given(&self.common)?;
        let own = match &self.command {
            Command::Serve(flags) => given(flags)?,
            Command::Token(flags) => given(flags)?,
            Command::Publish(flags) => given(flags)?,
            Command::Receive(flags) => given(flags)?,
            Command::Tail(flags) => given(flags)?,
            Command::Backup(flags) => given(flags)?,
            Command::Restore(flags) => given(flags)?,
            Command::Check(flags) => given(flags)?,
            Command::Compact(flags) => given(flags)?,
            Command::Bench(flags) => given(flags)?,
            Command::BenchPart(flags) => given(flags)?,
        };
        // Variables that are not Unicode cannot be ours.
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let settings = Settings::load(self.common.config.as_deref(), environment, [common, own])?;
        logging::start(&settings)?;
        match self.command {
            Command::Serve(flags) => serve::run(&settings, &flags),
            Command::Token(flags) => token::run(&settings, flags.audience()),
            Command::Publish(flags) => publish::run(&settings, flags.files),
            Command::Receive(_) => receive::run(&settings),
            Command::Tail(flags) => tail::run(&settings, &flags),
            Command::Backup(flags) => backup::run(&settings, &flags),
            Command::Restore(flags) => restore::run(&settings, &flags.files),
            Command::Check(flags) => check::run(&settings, &flags),
            Command::Compact(_) => compact::run(&settings),
            Command::Bench(flags) => bench_options::run(&settings, &flags),
            Command::BenchPart(flags) => bench_options::part(&flags),
        }
    }
}

#[cfg(test)]
mod tests;
