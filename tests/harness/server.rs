//! `hooklog serve`, started and stopped.
//!
//! **Invariant:** a started server listens, and has a token that works.
//! **Next:** `http.rs`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::BINARY;
use super::api::Api;
use super::process::{Ended, Process};

/// Small journals: creating, copying and filling them is most of the time of these tests. A
/// segment must hold two of the largest payloads. Three of them are less than what is applied
/// between two barriers, so that a segment could be recycled too early.
pub(crate) const SEGMENT_BYTES: u64 = (4 << 20) + (256 << 10);

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    directory: PathBuf,
    wrapper: Vec<OsString>,
    options: Vec<String>,
    retry_schedule: String,
    listen: String,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    /// When its line with the address came.
    pub(crate) listening: Instant,
}

/// The binary with an environment of its own.
pub(crate) fn hooklog(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    settle(&mut command);
    command
}

fn settle(command: &mut Command) {
    let own = std::env::vars_os().map(|(key, _)| key);
    for key in own.filter(|key| key.to_string_lossy().starts_with("HOOKLOG_")) {
        command.env_remove(key);
    }
    command.env("HOOKLOG_JOURNAL_SEGMENT", SEGMENT_BYTES.to_string());
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
}

impl Setup {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            wrapper: Vec::new(),
            options: Vec::new(),
            // So short that nothing of a test waits for it.
            listen: "127.0.0.1:0".to_owned(),
            retry_schedule: "0s,100ms,200ms,500ms,1s,1s,1s,1s,1s,1s".to_owned(),
        }
    }

    /// Runs below another program.
    pub(crate) fn under(mut self, wrapper: impl IntoIterator<Item = OsString>) -> Self {
        self.wrapper = wrapper.into_iter().collect();
        self
    }

    /// With further options of `serve`.
    pub(crate) fn with(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self
    }

    pub(crate) fn retry_schedule(mut self, delays: &str) -> Self {
        delays.clone_into(&mut self.retry_schedule);
        self
    }

    /// Where another one listened before.
    pub(crate) fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address.to_string();
        self
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn spawn(&self) -> Process {
        let mut command = match self.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(BINARY);
                command
            }
            None => Command::new(BINARY),
        };
        settle(&mut command);
        command.args(["serve", "--listen", &self.listen, "--data-dir"]);
        command.arg(&self.directory);
        command.args(["--allow-network", "127.0.0.0/8", "--retry-jitter", "0"]);
        command.args(["--retry-schedule", &self.retry_schedule]);
        command.args(&self.options);
        Process::spawn(&mut command)
    }

    /// Starts; an early end is the error.
    #[track_caller]
    pub(crate) fn try_start(&self) -> Result<Server, Ended> {
        let mut process = self.spawn();
        let (listening, address) = process.line("listening on http://")?;
        let address = address.parse().unwrap();
        let mut token = Process::run(hooklog(&["token", "--data-dir"]).arg(&self.directory));
        assert_eq!(token.code, Some(0), "{}", token.stderr);
        token.stdout.truncate(token.stdout.trim_end().len());
        Ok(Server {
            process,
            address,
            token: token.stdout,
            listening,
        })
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        let started = self.try_start();
        started.unwrap_or_else(|ended| panic!("the server ended: {}", ended.stderr))
    }
}

impl Server {
    #[track_caller]
    pub(crate) fn start(directory: &Path) -> Self {
        Setup::new(directory).start()
    }

    /// A new client.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.address, &self.token)
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.process.terminate();
        let ended = self.process.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

/// Bytes of a journal segment of a directory, as it says itself.
pub(crate) fn segment_bytes(directory: &Path) -> u64 {
    let manifest = std::fs::read_to_string(directory.join("MANIFEST")).unwrap();
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("journal_segment_bytes "));
    line.unwrap().parse().unwrap()
}
