//! Writes the log that a server then finds: applications, subscriptions, events that wait for them.
//!
//! **Invariant:** nothing of it is measured, so it need not be durable before the log is closed.
//! **Next:** `server.rs`, which starts on it.

use std::path::PathBuf;

use anyhow::Context as _;
use hooklog_storage::{
    ApplicationId, Config, DEFAULT_ORGANISATION, Durability, Endpoint, EventLog, Filter,
    NewApplication, NewSubscription, SecretKey,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::append::Events;
use super::limit::client::KEY;
use super::payload::Payload;

/// Events of one append: as large as one may be with payloads of 1 KiB, and some more.
const BATCH: usize = 1024;
/// Payload bytes of one append, whatever their number: below the limit of an append.
const BATCH_BYTES: usize = 1 << 20;
/// Subscriptions of one application, as a server of many customers has them.
const PER_APPLICATION: u64 = 1000;
/// Commands in flight: they share commits.
const IN_FLIGHT: usize = 256;

/// What is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prepare {
    pub(crate) directory: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) payload: Payload,
    /// URLs of endpoints of the application `bench`, each for all of its events.
    pub(crate) endpoints: Vec<String>,
    /// Events that wait for them.
    pub(crate) backlog: u64,
    /// Subscriptions that no event is for: to a type that never comes, up to a thousand an application.
    pub(crate) idle: u64,
    /// Where those would be sent.
    pub(crate) idle_url: String,
}

/// What there is then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// The application `bench`.
    pub(crate) application: String,
    /// Payload bytes of the backlog.
    pub(crate) bytes: u64,
}

pub(crate) fn run(runtime: &Runtime, prepare: &Prepare) -> anyhow::Result<Prepared> {
    let mut config = Config::new(&prepare.directory);
    config.durability = Durability::None;
    config.journal_segment_bytes = prepare.segment_bytes;
    let log = EventLog::open(config)?;
    let prepared = runtime.block_on(async {
        let application = application(&log, "bench").await?;
        for url in &prepare.endpoints {
            let endpoint = Endpoint::new(url.as_str(), SecretKey::new(KEY.to_vec()));
            log.create_subscription(NewSubscription::new(application, endpoint))
                .await?;
        }
        idle(&log, application, prepare).await?;
        anyhow::Ok(Prepared {
            application: application.to_string(),
            bytes: backlog(&log, application, prepare).await?,
        })
    });
    log.close()?;
    prepared
}

async fn application(log: &EventLog, name: &str) -> anyhow::Result<ApplicationId> {
    let organisation = DEFAULT_ORGANISATION.parse()?;
    let mut new = NewApplication::new(organisation, name);
    new.uid = Some(name.parse()?);
    Ok(log.create_application(new).await?.id)
}

async fn idle(log: &EventLog, first: ApplicationId, prepare: &Prepare) -> anyhow::Result<()> {
    let filter = Filter {
        event_types: Some(vec!["bench.never".parse()?]),
        ..Filter::default()
    };
    let mut owner = first;
    let mut creating = JoinSet::new();
    for number in 0..prepare.idle {
        if number > 0 && number % PER_APPLICATION == 0 {
            let name = format!("idle-{}", number / PER_APPLICATION);
            owner = application(log, &name).await?;
        }
        let endpoint = Endpoint::new(prepare.idle_url.as_str(), SecretKey::new(KEY.to_vec()));
        let mut new = NewSubscription::new(owner, endpoint);
        new.filter = filter.clone();
        let log = log.clone();
        creating.spawn(async move { log.create_subscription(new).await });
        if creating.len() >= IN_FLIGHT {
            creating
                .join_next()
                .await
                .context("nothing in flight")???;
        }
    }
    while let Some(created) = creating.join_next().await {
        created??;
    }
    Ok(())
}

async fn backlog(
    log: &EventLog,
    application: ApplicationId,
    prepare: &Prepare,
) -> anyhow::Result<u64> {
    let payloads = prepare.payload.json()?;
    let largest = payloads.iter().map(bytes::Bytes::len).max().unwrap_or(1);
    let batch = (BATCH_BYTES / largest.max(1)).clamp(1, BATCH);
    let mut events = Events::of(application, payloads)?;
    let (mut left, mut total) = (prepare.backlog, 0);
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(batch);
        let (taken, bytes) = events.take(count);
        log.append(taken).await?;
        left -= count as u64;
        total += bytes as u64;
    }
    Ok(total)
}
