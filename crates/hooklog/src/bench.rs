//! Honest numbers: the work of a webhook server, beside the least that this machine needs for it.
//!
//! Behind `hooklog bench`; `cargo bench` uses the same load generator, sink and limits. It is public for
//! these two and promises nothing to others.
//!
//! ```text
//! this process                        child processes, each alone
//! scenario ─► load ──── publishes ──► server.rs: hooklog serve, or a limit of limit/http.rs
//!             sink ◄─── deliveries ── the same server, or limit/client.rs
//!          └► report ◄─ results ───── part.rs: append.rs (log or plain file), prepare.rs
//! ```
//!
//! **Invariant:** a figure counts as a ratio against its limit in the same run; what the server used is
//! told by the kernel of its process alone.
//! **Next:** `bench/options.rs`, then `bench/scenario.rs`.

pub mod against;
pub mod along;
mod api;
mod append;
mod child;
mod count;
mod grow;
pub mod latency;
mod left;
pub mod limit;
pub mod load;
pub mod machine;
pub mod measure;
pub mod options;
pub mod part;
pub mod payload;
mod prepare;
pub mod report;
mod scenario;
mod server;
pub mod sink;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use child::end_with_stdin;

use self::child::Starter;
use self::left::Left;
use self::machine::Machine;
use self::options::Options;
use self::report::Report;
use self::scenario::{Limits, Run};

/// How many measurements a run makes.
pub fn steps(options: &Options) -> u64 {
    scenario::steps(options)
}

/// Measures in this empty directory, with this binary for the children; `step` is told of each
/// measurement before it begins, `started` is the time of day, `stop` ends it early with what it says.
///
/// # Cancel safety
/// Dropping it ends all children, but what was made on a foreign server stays: let `stop` end it.
pub async fn run(
    options: Options,
    executable: PathBuf,
    scratch: &Path,
    started: String,
    step: &dyn Fn(&str),
    stop: impl Future<Output = String>,
) -> anyhow::Result<Report> {
    options.check()?;
    let machine = Machine::this();
    let mut warnings = machine.warnings(scratch);
    let begun = Instant::now();
    let mut run = Run {
        options: &options,
        starter: Starter {
            executable,
            scratch: scratch.to_owned(),
        },
        step,
        limits: Limits::default(),
        rows: Vec::new(),
        warnings: Vec::new(),
        left: Left::default(),
    };
    let ended = tokio::select! {
        done = run.all() => done,
        why = stop => Err(anyhow::anyhow!("{why}")),
    };
    match (ended, run.left.clear().await) {
        (Ok(()), None) => {}
        (Ok(()), Some(left)) => warnings.push(left),
        (Err(error), None) => return Err(error),
        (Err(error), Some(left)) => return Err(error.context(left)),
    }
    let rows = std::mem::take(&mut run.rows);
    warnings.append(&mut run.warnings);
    Ok(Report {
        hooklog: env!("CARGO_PKG_VERSION").to_owned(),
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .to_owned(),
        started,
        seconds: begun.elapsed().as_secs_f64(),
        machine,
        warnings,
        options,
        rows,
        against: None,
    })
}
