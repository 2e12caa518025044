//! Instructions of the functions that every event needs, as callgrind counts them.
//!
//! **Invariant:** of two runs that differ in nothing but the number of calls the difference counts, so
//! start and set-up do not.
//! **Next:** `../count.rs`, the functions.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::child::Starter;
use crate::bench::count::Function;
use crate::bench::latency::float;
use crate::bench::options::Work;
use crate::bench::part::{COMMAND, Part};
use crate::bench::report::Row;

use super::Run;

/// Calls of the two runs.
const CALLS: [u64; 2] = [100, 600];
/// The tool, and its package in Debian.
const TOOL: &str = "valgrind";
/// Longest that one run may take: some seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    if !is_there() {
        run.warnings.push(format!(
            "{TOOL} is not installed (Debian's package of that name): no instructions were counted"
        ));
        return Ok(());
    }
    for function in Function::ALL {
        run.begin(Work::Instructions, &function.name());
        let [few, many] = CALLS;
        let base = count(&run.starter, function, few).await?;
        let all = count(&run.starter, function, many).await?;
        let each = float(all.saturating_sub(base)) / float(many - few);
        let mut row = Row::new(
            Work::Instructions.id(),
            function.name(),
            "instructions",
            each,
        );
        row.count = many - few;
        run.rows.push(row);
    }
    Ok(())
}

fn is_there() -> bool {
    let version = Command::new(TOOL)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Instructions of a whole process that calls the function so often.
async fn count(starter: &Starter, function: Function, times: u64) -> anyhow::Result<u64> {
    let directory = starter.fresh("callgrind")?;
    let out = directory.join("out");
    let mut under = starter.clone();
    under.executable = TOOL.into();
    let part = serde_json::to_string(&Part::Count { function, times })?;
    let arguments = [
        "--tool=callgrind".into(),
        format!("--callgrind-out-file={}", out.display()).into(),
        starter.executable.clone().into(),
        COMMAND.into(),
        part.into(),
    ];
    let mut child = under.start(COMMAND, &arguments, &[])?;
    // It says when it is done; the figures are written when it has ended.
    let _done = child.line(PATIENCE).await?;
    let ended = async {
        while !child.has_ended()? {
            tokio::time::sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    ended.context("it does not end")??;
    let text = std::fs::read_to_string(&out).context("no figures of callgrind")?;
    total(&text).context("figures of callgrind without a total")
}

/// What its file says at its end.
fn total(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_off_the_file() {
        let text =
            "# callgrind format\nevents: Ir\nsummary: 7\n\nfn=(1) a\n1 2\n\ntotals: 123456\n";
        assert_eq!(total(text), Some(123_456));
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(total("totals: many\n"), None);
    }
}
