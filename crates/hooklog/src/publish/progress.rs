//! The progress bar on stderr; nothing is drawn when stderr is no terminal.
//!
//! **Invariant:** what must be read by a person (a failure) is printed whether there is a terminal
//! or not, and never mixes with the bar.
//! **Next:** the end of the command; `crate::client` sends.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::input::Place;
use crate::output;

/// Bytes of input done, out of those of all files (unknown with stdin).
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(files: &[PathBuf]) -> Self {
        let sizes: Option<Vec<u64>> = files.iter().map(|path| size(path)).collect();
        let (bar, template) = match sizes {
            Some(sizes) => (
                ProgressBar::new(sizes.iter().sum()),
                "{wide_bar} {bytes}/{total_bytes} {msg} ({elapsed}, {eta} left)",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{spinner} {bytes} {msg} ({elapsed})",
            ),
        };
        // The templates are constant and sound; were one not, the default style would do.
        let style = ProgressStyle::with_template(template);
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    pub(super) fn advance(&self, place: &Place, published: u64) {
        self.0.set_message(format!("{published} published"));
        self.0.inc(place.bytes);
    }

    pub(super) fn print(&self, text: &str) {
        self.0.suspend(|| output::note(text));
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn size(path: &Path) -> Option<u64> {
    let data = path.metadata().ok()?;
    data.is_file().then_some(data.len())
}
