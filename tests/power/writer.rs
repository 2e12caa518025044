//! The writing program as a child process, and what it said.
//!
//! **Invariant:** what is in the list was acked before it was put there; the child is dead when its
//! guard is dropped.
//! **Next:** `../tidy.rs`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::acked::Acked;

/// Tells the program where to write, and makes it one.
pub(super) const DIRECTORY: &str = "HOOKLOG_POWER_DIRECTORY";
/// Tells it what to write.
pub(super) const SEED: &str = "HOOKLOG_POWER_SEED";
/// After how many milliseconds an ack is to be durable; without it, at once.
pub(super) const INTERVAL: &str = "HOOKLOG_POWER_SYNC_INTERVAL";
/// The name of its function, as the harness of the tests knows it.
const PROGRAM: &str = "power::program::writes_until_it_is_killed";

/// Everything that was acked, oldest first.
pub(super) type List = Arc<Mutex<Vec<Acked>>>;

pub(super) struct Writer {
    child: Child,
    reader: Option<JoinHandle<()>>,
    errors: Option<JoinHandle<String>>,
}

impl Writer {
    /// `interval`: how long a sync may be put off, in the mode that acks before it.
    pub(super) fn start(
        directory: &Path,
        seed: u64,
        interval: Option<Duration>,
        list: &List,
    ) -> Self {
        let interval = interval.map(|interval| (INTERVAL, interval.as_millis().to_string()));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([PROGRAM, "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .env(SEED, seed.to_string())
            .envs(interval)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let list = Arc::clone(list);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(acked) = line.parse() {
                    list.lock().push(acked);
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            child,
            reader: Some(reader),
            errors: Some(errors),
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it; returns what it had complained of.
    pub(super) fn stop(mut self) -> String {
        self.end();
        self.reader.take().unwrap().join().unwrap();
        self.errors.take().unwrap().join().unwrap()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}
