//! The progress bar of commands that move a whole log; on stderr, drawn only on a terminal.
//!
//! **Invariant:** it says what is being done and how far it is, and never mixes with results.
//! **Next:** `compact.rs`, the first command with one.

use hooklog::storage::{Stage, Transferred};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Shows how far a transfer is.
pub(crate) struct Bar {
    drawn: ProgressBar,
    stage: Option<Stage>,
    copying: &'static str,
}

impl Bar {
    /// A bar; `copying` is the verb for the stage in which rows move.
    pub(crate) fn new(copying: &'static str) -> Self {
        let bar = ProgressBar::new(0);
        let template = "{msg:>9} {wide_bar} {bytes}/{total_bytes} ({elapsed}, {eta} left)";
        // The template is constant and sound; were it not, the default style would do.
        let style = ProgressStyle::with_template(template);
        Self {
            drawn: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            stage: None,
            copying,
        }
    }

    /// Shows a step.
    pub(crate) fn update(&mut self, step: Transferred) {
        if self.stage != Some(step.stage) {
            self.stage = Some(step.stage);
            self.drawn.reset();
            self.drawn.set_message(match step.stage {
                Stage::Open => "opening",
                Stage::Copy => self.copying,
                Stage::Verify => "verifying",
            });
        }
        self.drawn.set_length(step.total.max(step.bytes));
        self.drawn.set_position(step.bytes);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.drawn.finish_and_clear();
    }
}

/// A bar of steps that take about the same time each; a step is counted when it begins.
pub(crate) fn steps(count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} ({elapsed}) {msg:50}");
    let bar = ProgressBar::new(count);
    // The time goes on although a step is long.
    bar.enable_steady_tick(std::time::Duration::from_millis(500));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A number of bytes for people.
pub(crate) fn human(bytes: u64) -> HumanBytes {
    HumanBytes(bytes)
}
