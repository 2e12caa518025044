//! The child processes of a benchmark: the server under test and the limits, each alone in a process, so
//! that what the kernel says of it is its alone.
//!
//! **Invariant:** a child does not outlive this process: dropping its guard kills and reaps it, and when
//! this process is killed the child's stdin ends, which ends the child.
//! **Next:** `part.rs`, what the children do that are no server.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::measure::{Memory, Usage};

/// Lines of a child that wait to be read; more stop it.
const LINES: usize = 64;
/// Most of what a child said on stderr that is shown when it fails.
const STDERR_BYTES_MAX: u64 = 4 << 10;
/// Variables that settings come from; those of the user are not the child's.
const PREFIX: &str = "HOOKLOG_";

/// A running child.
pub(crate) struct Child {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
    stderr: PathBuf,
    name: &'static str,
}

/// How to start children: the binary, and where what they say to stderr is kept.
#[derive(Clone, Debug)]
pub(crate) struct Starter {
    pub(crate) executable: PathBuf,
    pub(crate) scratch: PathBuf,
}

impl Starter {
    /// Starts the binary with arguments and with variables beside the environment.
    pub(crate) fn start(
        &self,
        name: &'static str,
        arguments: &[OsString],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Child> {
        let stderr = self.scratch.join(format!("{name}.stderr"));
        let mut command = Command::new(&self.executable);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).context("a scratch file")?)
            // Ctrl-C is for this process, which then ends its children in order.
            .process_group(0);
        let own = std::env::vars_os().map(|(key, _)| key);
        for key in own.filter(|key| key.to_string_lossy().starts_with(PREFIX)) {
            command.env_remove(key);
        }
        command.env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.envs(variables.iter().copied());
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.executable.display()))?;
        let stdout = process.stdout.take().context("a child without stdout")?;
        let (sender, lines) = mpsc::channel(LINES);
        let follow = move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in lines {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(follow)?;
        Ok(Child {
            process,
            lines,
            stderr,
            name,
        })
    }
}

impl Child {
    /// The next line that it says.
    pub(crate) async fn line(&mut self, patience: Duration) -> anyhow::Result<String> {
        let line = tokio::time::timeout(patience, self.lines.recv()).await;
        match line {
            Ok(Some(line)) => Ok(line),
            Ok(None) => anyhow::bail!("{} ended: {}", self.name, self.complaint()),
            Err(_) => anyhow::bail!("{} said nothing for {patience:?}", self.name),
        }
    }

    /// The last of what it said on stderr.
    fn complaint(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.stderr)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(STDERR_BYTES_MAX)))?;
            let mut bytes = Vec::new();
            file.take(STDERR_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        // Nothing to be had is nothing to be shown.
        let bytes = read().unwrap_or_default();
        match String::from_utf8_lossy(&bytes).trim() {
            "" => "it did not say why".to_owned(),
            text => text.to_owned(),
        }
    }

    /// What the kernel knows it by.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it used so far.
    pub(crate) fn usage(&self) -> Option<Usage> {
        Usage::of(self.process.id())
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> Option<Memory> {
        Memory::of(self.process.id())
    }

    /// Whether it has ended by itself, and well.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        let Some(status) = self.process.try_wait()? else {
            return Ok(false);
        };
        anyhow::ensure!(
            status.success(),
            "{} ended: {}",
            self.name,
            self.complaint()
        );
        Ok(true)
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Gone already is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends this process when its stdin ends, which it does when whoever started it is gone.
pub fn end_with_stdin() -> anyhow::Result<()> {
    #[expect(clippy::exit, reason = "whom it would be told is gone")]
    let watch = || {
        let mut rest = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut rest).is_ok_and(|bytes| bytes > 0) {}
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(watch)?;
    Ok(())
}

/// A new directory of this name below another.
pub(crate) fn fresh(scratch: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let directory = scratch.join(name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
