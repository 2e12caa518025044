//! `hooklog publish`: sends the events of files to a running server.
//!
//! Events go in batches of what is read so far: one that comes alone is sent at once.
//!
//! **Invariant:** an event counts as published only after the server said so of it; at most
//! `concurrency` batches are in flight, and about one is read ahead, however large the files are.
//! **Next:** `publish/input.rs`, how a file becomes messages.

mod batch;
mod input;
mod progress;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::Url;

use crate::cli::Usage;
use crate::client::{CallError, Client};
use crate::config::Settings;
use crate::{output, token};

use self::batch::{Batch, ITEMS_MAX, Sent};
use self::input::{Item, Place, Wrap};
use self::progress::Progress;

/// Most in flight: as many connections as a server's default limit leaves room for others.
const CONCURRENCY_MAX: usize = 1024;

/// Publish JSON files or NDJSON to a running server.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Application to publish in, by uid or id; created if there is none with that uid.
    #[arg(long, value_name = "UID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    /// Event type. With it, each document is a payload; without it, each document is
    /// `{"eventType":…,"payload":…}`.
    #[arg(long, value_name = "TYPE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// Time before which the events are not pushed, as 2026-01-31T12:00:00Z; with --event-type only
    /// (other documents say it by `deliverAt`) [default: at once].
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<String>,
    /// URL of the server [default: `http://127.0.0.1:8071`].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Url>,
    /// Bearer token [default: one is made with the secret of the data directory].
    #[arg(long, value_name = "TOKEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Data directory whose secret makes the token [default: ./hooklog-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Batches of up to 200 events in flight at once; 1 keeps their order [default: 16].
    #[arg(long, value_name = "COUNT", value_parser = concurrency)]
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<usize>,
    /// Files of JSON (one document) or NDJSON (one document in each line); `-` is stdin.
    #[arg(required = true, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) files: Vec<PathBuf>,
}

const HELP: &str = "\
Payloads are sent byte for byte. A busy server (429, 503) is asked again for a while. The exit code
is 1 if any event failed; each failure is named as file:line.

Examples:
  hooklog publish --app demo --event-type user.created user.json
  hooklog publish --app demo data/events/github.ndjson
  generate-events | hooklog publish --app demo -";

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=CONCURRENCY_MAX).contains(&count) => Ok(count),
        _ => Err(format!("must be a number from 1 to {CONCURRENCY_MAX}")),
    }
}

/// Publishes all files and says how many events arrived.
pub(crate) fn run(settings: &Settings, files: Vec<PathBuf>) -> anyhow::Result<()> {
    let app = settings
        .app
        .clone()
        .ok_or(Usage("no application: name one with --app"))?;
    if settings.deliver_at.is_some() && settings.event_type.is_none() {
        let message = "--deliver-at needs --event-type: other documents say it by `deliverAt`";
        return Err(Usage(message).into());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(publish(settings, app, files));
    // A read of stdin cannot be cancelled; it must not hold the end up.
    runtime.shutdown_background();
    result
}

async fn publish(settings: &Settings, app: String, files: Vec<PathBuf>) -> anyhow::Result<()> {
    let bearer = token::for_client(settings)?;
    let client = Arc::new(Client::new(&settings.server, &bearer)?);
    let app = application(&client, &app)
        .await
        .with_context(|| format!("application {app:?}"))?;
    let concurrency = settings.concurrency.clamp(1, CONCURRENCY_MAX);
    let progress = Progress::new(&files);
    let wrap = settings.event_type.clone().map(|event_type| Wrap {
        event_type,
        deliver_at: settings.deliver_at.clone(),
    });
    let (sender, mut items) = mpsc::channel(ITEMS_MAX / 2);
    let mut keys = Keys::new()?;
    let reader = tokio::task::spawn_blocking(move || {
        for file in &files {
            if !input::read(file, wrap.as_ref(), &mut |item| {
                sender.blocking_send(item).is_ok()
            }) {
                return;
            }
        }
    });
    let started = Instant::now();
    let mut tally = Tally {
        progress,
        published: 0,
        failed: 0,
        given_up: None,
    };
    let mut in_flight = JoinSet::new();
    while tally.given_up.is_none() {
        tokio::select! {
            Some(sent) = in_flight.join_next() => tally.count(sent?),
            item = items.recv(), if in_flight.len() < concurrency => match item {
                Some(first) => {
                    let mut batch = Batch::default();
                    tally.take(first, &mut batch);
                    while !batch.is_full() && let Ok(next) = items.try_recv() {
                        tally.take(next, &mut batch);
                    }
                    if !batch.is_empty() {
                        let (client, app, key) = (Arc::clone(&client), Arc::clone(&app), keys.next());
                        in_flight.spawn(async move { batch.send(&client, &app, &key).await });
                    }
                }
                None => break,
            },
        }
    }
    // A closed channel ends the reader.
    drop(items);
    while let Some(sent) = in_flight.join_next().await {
        tally.count(sent?);
    }
    if tally.given_up.is_none() {
        reader.await?;
    }
    tally.finish(started)
}

/// Idempotency keys that no other run makes.
struct Keys {
    run: u128,
    next: u64,
}

impl Keys {
    fn new() -> anyhow::Result<Self> {
        let mut run = [0; 16];
        getrandom::fill(&mut run).context("no random bytes")?;
        Ok(Self {
            run: u128::from_be_bytes(run),
            next: 0,
        })
    }

    fn next(&mut self) -> String {
        self.next += 1;
        format!("publish-{:032x}-{}", self.run, self.next)
    }
}

/// Gets or creates the application, and returns what to call it by.
async fn application(client: &Client, app: &str) -> Result<Arc<str>, CallError> {
    if app.starts_with("app_") {
        client
            .call(Method::GET, &["app", app], None, Bytes::new())
            .await?;
    } else {
        let body = serde_json::json!({ "name": app, "uid": app }).to_string();
        client
            .call(
                Method::POST,
                &["app"],
                Some("get_if_exists=true"),
                body.into(),
            )
            .await?;
    }
    Ok(app.into())
}

/// Counts outcomes and names failures.
struct Tally {
    progress: Progress,
    published: u64,
    failed: u64,
    /// Why no further event is sent.
    given_up: Option<CallError>,
}

impl Tally {
    /// Puts what was read into a batch, unless it is no message.
    fn take(&mut self, item: Item, batch: &mut Batch) {
        match item.message {
            Ok(message) => batch.add(item.place, &message),
            Err(reason) => self.fail(&item.place, &reason),
        }
    }

    fn count(&mut self, sent: Sent) {
        for (place, reason) in sent.items {
            match reason {
                None => self.published += 1,
                Some(reason) => self.fail(&place, &reason),
            }
            self.progress.advance(&place, self.published);
        }
        if let Some(error) = sent.gave_up {
            self.given_up.get_or_insert(error);
        }
    }

    fn fail(&mut self, place: &Place, reason: &str) {
        self.failed += 1;
        self.progress.print(&format!("{place}: {reason}"));
    }

    fn finish(self, started: Instant) -> anyhow::Result<()> {
        self.progress.finish();
        let seconds = started.elapsed().as_secs_f64();
        let plural = if self.published == 1 { "" } else { "s" };
        // What failed is told whether or not somebody reads this.
        let said = output::line(format_args!(
            "published {} event{plural} in {seconds:.2} s",
            self.published
        ));
        if let Some(error) = self.given_up {
            return Err(anyhow::Error::new(error).context("gave up before the end of the input"));
        }
        anyhow::ensure!(self.failed == 0, "{} failed", self.failed);
        said
    }
}
