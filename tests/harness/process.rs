//! A child process whose output is kept and that does not outlive its guard.
//!
//! **Invariant:** `drop` kills the process group and reaps the process.
//! **Next:** `server.rs`.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::{PATIENCE, wait_for};

/// Lines of one output, as they come.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<(Vec<(Instant, String)>, bool)>,
    changed: Condvar,
}

impl Lines {
    fn follow(stream: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let writer = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream
                .read_until(b'\n', &mut line)
                .is_ok_and(|bytes| bytes > 0)
            {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.state.lock().0.push((Instant::now(), text));
                writer.changed.notify_all();
                line.clear();
            }
            writer.state.lock().1 = true;
            writer.changed.notify_all();
        });
        lines
    }

    fn text(&self) -> String {
        let state = self.state.lock();
        let lines = state.0.iter().flat_map(|(_, line)| [line.as_str(), "\n"]);
        lines.collect()
    }

    /// Everything, once the other end is closed.
    fn whole_text(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        while !state.1 && !self.changed.wait_until(&mut state, deadline).timed_out() {}
        drop(state);
        self.text()
    }
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::spawn_with(command, Stdio::piped())
    }

    /// With a stdout whose reader is gone already.
    pub(crate) fn spawn_unread(command: &mut Command) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Self::spawn_with(command, writer.into())
    }

    fn spawn_with(command: &mut Command, stdout: Stdio) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        // A group of its own, so that what it starts (under strace) dies with it.
        let command = command.process_group(0).stdin(Stdio::null());
        let mut child = command
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = match child.stdout.take() {
            Some(stdout) => Lines::follow(stdout),
            None => Lines::follow(std::io::empty()),
        };
        let stderr = Lines::follow(child.stderr.take().unwrap());
        Self {
            child,
            name,
            stdout,
            stderr,
        }
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(command: &mut Command) -> Ended {
        Self::spawn(command).wait()
    }

    /// The rest of the first line of stdout with this start, and when it came; the end of the
    /// process if that came first.
    #[track_caller]
    pub(crate) fn line(&mut self, start: &str) -> Result<(Instant, String), Ended> {
        let deadline = Instant::now() + PATIENCE;
        let lines = Arc::clone(&self.stdout);
        let mut state = lines.state.lock();
        loop {
            let found = state
                .0
                .iter()
                .find_map(|(at, line)| Some((*at, line.strip_prefix(start)?)));
            if let Some((at, rest)) = found {
                return Ok((at, rest.to_owned()));
            }
            if state.1 {
                break;
            }
            let late = lines.changed.wait_until(&mut state, deadline).timed_out();
            assert!(
                !late,
                "{}: no line {start:?}; stderr:\n{}",
                self.name,
                self.stderr.text()
            );
        }
        drop(state);
        Err(self.wait())
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// What the kernel knows it by.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        signal_group("KILL", self.child.id());
        let status = self.child.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "{} had ended before: {status}",
            self.name
        );
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        signal_group("TERM", self.child.id());
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Ended {
        let what = format!("end of {}", self.name);
        let status: ExitStatus = wait_for(&what, || self.child.try_wait().unwrap());
        let (stdout, stderr) = (self.stdout.whole_text(), self.stderr.whole_text());
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it is reaped its id may belong to another.
        if let Ok(None) = self.child.try_wait() {
            signal_group("KILL", self.child.id());
            let _ = self.child.wait();
        }
    }
}

/// The standard library cannot send SIGTERM, nor anything to a group; every shell can.
fn signal_group(signal: &str, group: u32) {
    let script = format!("kill -s {signal} -- -{group}");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
