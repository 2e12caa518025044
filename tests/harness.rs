//! What all proofs share.
//!
//! **Invariant:** every wait has a deadline, and its failure says what was waited for and what the
//! processes said.
//! **Next:** `harness/process.rs`.

pub(crate) mod api;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod sink;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde_json::value::RawValue;

/// Longest wait for anything that should take well below a second: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_hooklog");

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Tests that measure time run alone; all others that start processes run side by side.
static MACHINE: RwLock<()> = RwLock::new(());

/// Held by a test that starts processes.
pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read()
}

/// Held by a test that measures time or fills the machine.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write()
}

/// Asks `done` again and again until it has an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        pause(Duration::from_millis(5));
    }
}

/// Lets time pass where time itself is what is tested, or between two looks.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the tests that sleeps"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Whether a proof can run here. If not: a failure where everything was promised (`tests/run`),
/// else one line that nobody captures.
#[track_caller]
pub(crate) fn can_run(what: &str, ready: Result<(), String>) -> bool {
    let Err(why) = ready else { return true };
    assert!(
        std::env::var_os("HOOKLOG_TEST_ALL").is_none(),
        "{what} cannot run: {why}"
    );
    let line = format!("left out: {what}: {why}; run tests/run\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// Says something that is shown when the test fails, or with `--nocapture`.
#[expect(clippy::print_stdout, reason = "libtest captures it")]
pub(crate) fn note(text: &str) {
    println!("{text}");
}

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// A real event of the corpus.
#[derive(Clone, Debug)]
pub(crate) struct GithubEvent {
    /// Its line, which is the body of a message.
    pub(crate) line: String,
    /// The bytes of its payload.
    pub(crate) payload: String,
}

/// The corpus.
pub(crate) fn corpus_path() -> PathBuf {
    root().join("data/events/github.ndjson")
}

/// All events of the corpus, in order.
pub(crate) fn corpus() -> Vec<GithubEvent> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let text = std::fs::read_to_string(corpus_path()).unwrap();
    let events = text.lines().map(|line| {
        let payload = serde_json::from_str::<Line<'_>>(line).unwrap().payload;
        GithubEvent {
            line: line.to_owned(),
            payload: payload.get().to_owned(),
        }
    });
    events.collect()
}
