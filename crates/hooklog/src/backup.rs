//! `hooklog backup`: a backup into a file, from a stopped log or from a running server.
//!
//! **Invariant:** the file appears under its name only when its end was read back and every checksum
//! in it holds; until then it is called `<name>.part`.
//! **Next:** `restore.rs`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hooklog::storage::{
    self, BackupPoint, BackupSummary, DirectoryError, EventLog, OpenError, OpenErrorKind, Stage,
    Transferred,
};
use http_body_util::BodyExt as _;
use serde::Serialize;
use url::Url;

use crate::bar::{Bar, human};
use crate::client::Client;
use crate::compact::log_config;
use crate::config::Settings;
use crate::{output, token};

/// Longest wait for the next piece of a running server's answer: longer than it takes to apply what
/// was acked.
const PIECE_TIMEOUT: Duration = Duration::from_mins(1);

/// Save everything into a file, while the server runs or not.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// File to write.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) to: PathBuf,
    /// An older backup: save only what came after it.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) since: Option<PathBuf>,
    /// Data directory to back up; its secret also makes the token for a running server [default:
    /// ./hooklog-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Ask this server, whatever the data directory here [default: the directory, or if a server has
    /// it open, `http://127.0.0.1:8071`].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Url>,
    /// Operator's token, from `hooklog token --operator` [default: one is made with the secret of
    /// the data directory].
    #[arg(long, value_name = "TOKEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

const HELP: &str = "\
A backup is the log at one moment: events, attempts, applications, endpoints with their secrets, and
where each endpoint stands. Publishing goes on meanwhile. Everything acknowledged before it began is
in it. The JWT secret is not: keep `jwt-secret` of the data directory too.

Examples:
  hooklog backup --to monday.hlb                       # all
  hooklog backup --to tuesday.hlb --since monday.hlb   # what came after monday's
  hooklog backup --to all.hlb --server https://hooks.example.com --token \"$OPERATOR_TOKEN\"
  hooklog restore monday.hlb tuesday.hlb --data-dir restored";

/// Writes the backup and says what is in it.
pub(crate) fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<()> {
    let target = flags.to.as_path();
    anyhow::ensure!(
        !target.try_exists()?,
        "{} exists; a backup never replaces a file",
        target.display()
    );
    let since = match &flags.since {
        Some(path) => Some(storage::backup_end(path)?),
        None => None,
    };
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let mut file = File::create(&part).with_context(|| cannot_write(&part))?;
    let mut bar = Bar::new("saving");
    let saved = save(settings, flags, since, &mut file, &mut bar)
        .and_then(|()| file.sync_all().with_context(|| cannot_write(&part)))
        .and_then(|()| Ok(storage::inspect_backup(&part, |step| bar.update(step))?));
    bar.finish();
    let summary = saved.inspect_err(|_| {
        // What is there is of no use; the error that is told is the first.
        let _outcome = fs::remove_file(&part);
    })?;
    fs::rename(&part, target).with_context(|| cannot_write(target))?;
    let parent = target.parent().filter(|path| *path != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .with_context(|| cannot_write(target))?;
    output::line(describe(target, &summary))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn describe(path: &Path, summary: &BackupSummary) -> String {
    let from = summary.since.map_or(0, |point| point.events.get());
    format!(
        "saved {}: events {from}..{}, {} rows, {}",
        path.display(),
        summary.end.events,
        summary.rows,
        human(summary.bytes)
    )
}

/// From the directory, or from the server that has it open.
fn save(
    settings: &Settings,
    flags: &Flags,
    since: Option<BackupPoint>,
    file: &mut File,
    bar: &mut Bar,
) -> anyhow::Result<()> {
    if flags.server.is_some() {
        return download(settings, since, file, bar);
    }
    let directory = &settings.data_dir;
    anyhow::ensure!(
        directory.join("MANIFEST").is_file(),
        "{} holds no log; name another --data-dir, or a --server",
        directory.display()
    );
    match EventLog::open(log_config(settings)) {
        Ok(log) => {
            let backup = log.backup(since)?;
            let (total, mut bytes) = (backup.total_bytes(), 0);
            for piece in backup {
                write(file, &piece?, &mut bytes, total, bar)?;
            }
            Ok(log.close()?)
        }
        Err(OpenError {
            kind: OpenErrorKind::Directory(DirectoryError::InUse { .. }),
            ..
        }) => download(settings, since, file, bar),
        Err(error) => Err(error.into()),
    }
}

fn download(
    settings: &Settings,
    since: Option<BackupPoint>,
    file: &mut File,
    bar: &mut Bar,
) -> anyhow::Result<()> {
    let client = Client::new(&settings.server, &token::for_operator(settings)?)?;
    let query = since.map(|point| format!("since={point}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let path = ["operator", "backup"];
        let response = client.stream(&path, query.as_deref()).await?;
        let total = response.headers().get("hooklog-backup-bytes");
        let total = total.and_then(|value| value.to_str().ok()?.parse().ok());
        let (mut body, mut bytes) = (response.into_body(), 0);
        loop {
            let next = tokio::time::timeout(PIECE_TIMEOUT, body.frame()).await;
            let next = next.context("the server sent nothing for a minute")?;
            let Some(frame) = next else { return Ok(()) };
            let frame = frame.context("the backup broke off")?;
            if let Some(piece) = frame.data_ref() {
                write(file, piece, &mut bytes, total.unwrap_or(0), bar)?;
            }
        }
    })
}

fn write(
    file: &mut File,
    piece: &[u8],
    bytes: &mut u64,
    total: u64,
    bar: &mut Bar,
) -> anyhow::Result<()> {
    file.write_all(piece).context("cannot write the backup")?;
    *bytes += u64::try_from(piece.len())?;
    bar.update(Transferred {
        stage: Stage::Copy,
        bytes: *bytes,
        total,
    });
    Ok(())
}
