//! One thread that writes the lines of all connections to stdout and the output file.
//!
//! **Invariant:** lines come out whole and in the order they were accepted; whenever the queue is
//! empty everything is flushed.
//! **Next:** the end of the command; `token.rs` and `publish.rs` are the client's side.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use crate::output;

/// Most lines that wait for a slow terminal; beyond it the answers to senders wait.
const LINES_MAX: usize = 1024;

/// What is written for one webhook.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) id: String,
    pub(super) verified: bool,
    pub(super) body: Bytes,
    /// The room that the body takes, until the line is written.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// The output file's line.
#[derive(Serialize)]
struct Received<'a> {
    id: &'a str,
    verified: bool,
    body: &'a str,
}

/// The running thread.
pub(super) struct Writer(JoinHandle<anyhow::Result<()>>);

impl Writer {
    /// Opens the output file and starts the thread.
    pub(super) fn start(output: Option<&Path>) -> anyhow::Result<(mpsc::Sender<Line>, Self)> {
        let file = output
            .map(|path| {
                let file = OpenOptions::new().create(true).append(true).open(path);
                file.with_context(|| format!("cannot open {}", path.display()))
            })
            .transpose()?;
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        let thread = tokio::task::spawn_blocking(move || write(receiver, file));
        Ok((sender, Self(thread)))
    }

    /// Resolves when writing failed, or when all senders are gone and everything is written.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.0).await?
    }
}

fn write(mut lines: mpsc::Receiver<Line>, file: Option<File>) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(io::stdout());
    let mut file = file.map(BufWriter::new);
    while let Some(line) = lines.blocking_recv() {
        let mut next = Some(line);
        while let Some(line) = next {
            output::written(writeln!(stdout, "{}", line.text))?;
            if let Some(file) = &mut file {
                keep(file, &line).context("cannot write to the output file")?;
            }
            drop((line.body, line.room));
            next = lines.try_recv().ok();
        }
        if let Some(file) = &mut file {
            file.flush().context("cannot write to the output file")?;
        }
        output::written(stdout.flush())?;
    }
    Ok(())
}

fn keep(file: &mut impl io::Write, line: &Line) -> io::Result<()> {
    let body = String::from_utf8_lossy(&line.body);
    let received = Received {
        id: &line.id,
        verified: line.verified,
        body: &body,
    };
    serde_json::to_writer(&mut *file, &received)?;
    file.write_all(b"\n")
}
