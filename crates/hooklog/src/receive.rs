//! `hooklog receive`: a receiver that verifies webhooks and prints one line for each.
//!
//! **Invariant:** a webhook is answered only after its line was handed to the writer; bodies,
//! header reads, connections and waiting lines are bounded, so a sender cannot exhaust it.
//! **Next:** `receive/webhook.rs`, what happens to one webhook.

mod webhook;
mod writer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hooklog_signature::Secret;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::Settings;
use crate::output;
use crate::signals::Signals;

use self::webhook::{BUFFERED_BYTES_MAX, Receiver};
use self::writer::Writer;

/// Most connections at once: a dispatcher keeps a few dozen to one host.
const CONNECTIONS_MAX: usize = 256;
/// Longest time for the head of a request, and so for an idle connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest time at the end for lines that wait for a slow terminal.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Receive webhooks on this machine: verify them and print one line for each.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Address and port to listen on; port 0 picks a free one [default: 127.0.0.1:9000].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(rename = "receive_listen", skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Secret of the endpoint, `whsec_…`; several while one is rotated. Without one nothing is
    /// verified.
    #[arg(long, value_name = "SECRET")]
    #[serde(rename = "receive_secret", skip_serializing_if = "Vec::is_empty")]
    secret: Vec<String>,
    /// Answer this instead of 204, as 503 to see retries.
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    #[serde(rename = "receive_status", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Append each webhook to this file as one line `{"id":…,"verified":…,"body":…}`, the body as
    /// text.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "receive_output", skip_serializing_if = "Option::is_none")]
    output: Option<PathBuf>,
}

const HELP: &str = "\
Verified webhooks are answered 204, others 401, bodies above 16 MiB 413. A line reads: time, verified
or UNVERIFIED and why, id, bytes, the start of the body.

Examples:
  hooklog receive --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
  hooklog receive --status 503                   # fail on purpose and watch the retries

The server refuses private addresses unless they are allowed: hooklog serve --allow-network
127.0.0.0/8.";

/// Runs until a signal or a dead stdout ends it.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let secrets = settings
        .receive_secret
        .iter()
        .map(|text| Secret::parse(text))
        .collect::<Result<Vec<_>, _>>()
        .context("--secret")?;
    let status = hyper::StatusCode::from_u16(settings.receive_status)
        .context("receive_status is no HTTP status")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let (lines, mut writer) = Writer::start(settings.receive_output.as_deref())?;
        let listener = TcpListener::bind(settings.receive_listen)
            .await
            .with_context(|| format!("cannot listen on {}", settings.receive_listen))?;
        output::line(format_args!(
            "listening on http://{}",
            listener.local_addr()?
        ))?;
        let receiver = Arc::new(Receiver {
            secrets,
            status,
            lines,
            room: Arc::new(Semaphore::new(BUFFERED_BYTES_MAX)),
        });
        tokio::select! {
            _ = signals.next() => {}
            result = writer.ended() => return result,
            () = accept(&listener, &receiver) => {}
        }
        // The connections are gone with `accept`; what they handed over is still written.
        drop(receiver);
        tokio::time::timeout(WRITE_TIMEOUT, writer.ended())
            .await
            .unwrap_or(Ok(()))
    });
    // Connections that idle must not hold the end up.
    runtime.shutdown_background();
    result
}

async fn accept(listener: &TcpListener, receiver: &Arc<Receiver>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // Taken before the accept: connections beyond the bound wait in the kernel's queue.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let receiver = Arc::clone(receiver);
                connections.spawn(async move {
                    connection(stream, receiver).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // As a rule too many open files; the next accept would fail as fast.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, receiver: Arc<Receiver>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let receiver = Arc::clone(&receiver);
        async move { Ok::<_, Infallible>(receiver.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}
