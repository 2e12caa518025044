//! What children do that are no server: the limits, and the work that a program with the log in it does.
//!
//! **Invariant:** a part is told everything by its one argument, says what it reached as lines of JSON, and
//! ends with whoever started it.
//! **Next:** `append.rs` and `prepare.rs`, the parts with a log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::append::{self, Append};
use super::child::{Child, Starter, end_with_stdin};
use super::count::{self, Function};
use super::grow::{self, Grow, Look};
use super::limit::client;
use super::limit::http::{Limit, Store};
use super::payload::Payload;
use super::prepare::{self, Prepare};

/// Longest silence of a part beside the time that it is told to run: opening, filling and closing a log.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);
/// The command that runs one.
pub const COMMAND: &str = "bench-part";

/// A part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
pub(crate) enum Part {
    /// A bare server; says [`Listening`] and serves until it is killed.
    Http {
        /// What it does with bodies.
        store: Store,
    },
    /// Raw connections that sign and send; says [`Sent`].
    Client {
        address: SocketAddr,
        connections: usize,
        payload: Payload,
        time: Duration,
    },
    /// Durable appends; says [`append::Appended`].
    Append(Append),
    /// Writes a log; says [`prepare::Prepared`].
    Prepare(Prepare),
    /// Writes a log until it is large; says [`grow::Grown`].
    Grow(Grow),
    /// Opens a log and reads it; says [`grow::Looked`] and writes on until it is killed, if so told.
    Look(Look),
    /// Calls a function, and says how often.
    Count { function: Function, times: u64 },
}

/// Where a part listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
}

/// What raw connections reached.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) count: u64,
    pub(crate) per_second: f64,
}

/// Runs the part that the argument tells of; `say` writes a line.
pub fn run(
    argument: &str,
    say: &mut dyn FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    end_with_stdin()?;
    let part = serde_json::from_str(argument).context("no part of a benchmark")?;
    // A runtime has threads, whose instructions would count.
    if let Part::Count { function, times } = part {
        count::run(function, times)?;
        return say(times.to_string());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    match part {
        Part::Http { store } => {
            let limit = runtime.block_on(Limit::start(store))?;
            let address = limit.address;
            say(serde_json::to_string(&Listening { address })?)?;
            runtime.block_on(std::future::pending::<()>());
        }
        Part::Client {
            address,
            connections,
            payload,
            time,
        } => {
            let payloads = payload.json()?;
            let sent = client::run(address, connections, payloads, time);
            let (count, per_second) = runtime.block_on(sent)?;
            say(serde_json::to_string(&Sent { count, per_second })?)?;
        }
        Part::Append(append) => say(serde_json::to_string(&append::run(&append)?)?)?,
        Part::Prepare(prepare) => {
            let prepared = prepare::run(&runtime, &prepare)?;
            say(serde_json::to_string(&prepared)?)?;
        }
        Part::Grow(part) => say(serde_json::to_string(&grow::grow(&part)?)?)?,
        Part::Look(part) => grow::look(&part, &mut |looked| say(serde_json::to_string(&looked)?))?,
        Part::Count { .. } => {}
    }
    Ok(())
}

impl Starter {
    /// Starts a part.
    pub(crate) fn part(&self, part: &Part) -> anyhow::Result<Child> {
        let arguments = [COMMAND.into(), serde_json::to_string(part)?.into()];
        self.start(COMMAND, &arguments, &[])
    }

    /// Starts a bare server, and waits until it listens.
    pub(crate) async fn http(&self, store: Store) -> anyhow::Result<(Child, SocketAddr)> {
        let mut child = self.part(&Part::Http { store })?;
        let listening: Listening = serde_json::from_str(&child.line(PATIENCE).await?)?;
        Ok((child, listening.address))
    }

    /// Runs a part to its end, and gives what it says then.
    pub(crate) async fn result<T>(&self, part: &Part) -> anyhow::Result<T>
    where
        T: for<'de> Deserialize<'de>,
    {
        let mut child = self.part(part)?;
        Ok(serde_json::from_str(&child.line(PATIENCE).await?)?)
    }

    /// A directory of its own below the scratch directory, empty.
    pub(crate) fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        super::child::fresh(&self.scratch, name)
    }
}
