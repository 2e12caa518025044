//! `hooklog tail`: follows the events of an application, line by line.
//!
//! **Invariant:** whatever breaks off, the next stream goes on behind the last event that was
//! printed, so no event is left out and none is printed twice; only what no further try can mend ends
//! the program.
//! **Next:** `tail/events.rs`, the text of the stream.

mod events;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::{Url, form_urlencoded};

use crate::cli::Usage;
use crate::client::{CallError, Client};
use crate::config::Settings;
use crate::signals::Signals;
use crate::{output, token};

use self::events::{Event, Parser};

/// Longest silence of a stream that lives: three of the server's heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How soon to come again, unless the server says otherwise; and the longest that is obeyed.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How much of a payload is shown on a line.
const PREVIEW_CHARS: usize = 60;

/// Follow the events of an application.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Application to follow, by uid or id.
    #[arg(long, value_name = "UID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    /// Only events of these types, as `a,b`.
    #[arg(long, value_name = "TYPES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// Only events on this channel.
    #[arg(long, value_name = "CHANNEL")]
    #[serde(skip)]
    pub(crate) channel: Option<String>,
    /// Begin with the oldest event that is kept, not with the next one.
    #[arg(long, conflicts_with_all = ["since", "last_event_id"])]
    #[serde(skip)]
    pub(crate) from_start: bool,
    /// Begin with the events since a time, as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "last_event_id")]
    #[serde(skip)]
    pub(crate) since: Option<String>,
    /// Begin behind this message.
    #[arg(long, value_name = "ID")]
    #[serde(skip)]
    pub(crate) last_event_id: Option<String>,
    /// Print payloads, one on each line, and nothing else.
    #[arg(long)]
    #[serde(skip)]
    pub(crate) json: bool,
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
}

const HELP: &str = "\
A line reads: time, id, event type, bytes of the payload, its start. When the server goes away it is
waited for, and the stream goes on where it broke off. Ctrl-C ends it.

Examples:
  hooklog tail --app demo
  hooklog tail --app demo --event-type invoice.paid,invoice.sent --from-start
  hooklog tail --app demo --json | jq .amount";

/// Follows until a signal or a dead stdout ends it.
pub(crate) fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<()> {
    let app = settings
        .app
        .clone()
        .ok_or(Usage("no application: name one with --app"))?;
    let client = Client::new(&settings.server, &token::for_client(settings)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut follower = Follower {
        client,
        app,
        event_types: settings.event_type.clone(),
        channel: flags.channel.clone(),
        begin: if flags.from_start {
            Some(("starting_position", "earliest".to_owned()))
        } else {
            flags.since.clone().map(|since| ("after", since))
        },
        last: flags.last_event_id.clone().unwrap_or_default(),
        json: flags.json,
        retry: RETRY,
    };
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            _ = signals.next() => Ok(()),
            result = follower.follow() => result,
        }
    })
}

struct Follower {
    client: Client,
    app: String,
    event_types: Option<String>,
    channel: Option<String>,
    /// Where to begin, as a parameter.
    begin: Option<(&'static str, String)>,
    /// Where to go on; empty before there was anything.
    last: String,
    json: bool,
    retry: Duration,
}

impl Follower {
    /// Stream by stream.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut is_first = true;
        loop {
            let query = self.query();
            let path = ["app", &self.app, "stream"];
            match self.client.stream(&path, Some(&query)).await {
                Ok(response) => {
                    is_first = false;
                    let reason = self.read(response.into_body()).await?;
                    output::note(format_args!("{reason}; coming again"));
                }
                // A server that was there may come back; one that never was is a wrong address.
                Err(error @ CallError::Unreachable { .. }) if !is_first => {
                    tracing::debug!(%error, "not back yet");
                }
                Err(error) if error.is_final() || is_wrong(&error) => return Err(error.into()),
                Err(error) => output::note(format_args!("{error}; coming again")),
            }
            tokio::time::sleep(self.retry).await;
        }
    }

    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(types) = &self.event_types {
            query.append_pair("event_types", types);
        }
        if let Some(channel) = &self.channel {
            query.append_pair("channel", channel);
        }
        if !self.last.is_empty() {
            query.append_pair("last_event_id", &self.last);
        } else if let Some((name, value)) = &self.begin {
            query.append_pair(name, value);
        }
        query.finish()
    }

    /// Prints what comes, until it ends; returns why it did.
    async fn read(&mut self, mut body: Incoming) -> anyhow::Result<String> {
        let mut parser = Parser::new(&self.last);
        loop {
            let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
                Err(_) => return Ok(format!("no sign of life for {} s", SILENCE_MAX.as_secs())),
                Ok(None) => return Ok("the server ended the stream".to_owned()),
                Ok(Some(Err(error))) => return Ok(format!("the stream broke off: {error}")),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            parser.feed(&bytes)?;
            while let Some(event) = parser.next()? {
                self.print(&event)?;
            }
            parser.last_id().clone_into(&mut self.last);
            self.retry = parser.retry().unwrap_or(RETRY).min(RETRY_MAX);
        }
    }

    fn print(&self, event: &Event) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Message<'a> {
            id: &'a str,
            event_type: &'a str,
            timestamp: &'a str,
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        if event.name == "expired" {
            let text = format!("some events expired before they were read: {}", event.data);
            output::note(printable(&text, usize::MAX));
            return Ok(());
        }
        let message: Message<'_> = serde_json::from_str(&event.data)
            .context("the server sent an event that is no message")?;
        let payload = message.payload.get();
        if self.json {
            // Outside of strings they mean nothing, and inside they cannot be.
            return output::line(payload.replace(['\n', '\r'], " "));
        }
        output::line(format_args!(
            "{} {} {} {} B {}",
            message.timestamp,
            message.id,
            message.event_type,
            payload.len(),
            printable(payload, PREVIEW_CHARS)
        ))
    }
}

/// Whether the server says that the request itself is wrong.
fn is_wrong(error: &CallError) -> bool {
    match error {
        CallError::Refused { status, later, .. } => status.is_client_error() && !later,
        CallError::Unreachable { .. } | CallError::NoAnswer { .. } => false,
    }
}

/// The first characters, without anything that a terminal would obey.
fn printable(text: &str, max: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { '·' } else { c });
    let mut shown: String = chars.by_ref().take(max).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
