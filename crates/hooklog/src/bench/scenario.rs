//! The work of each target: what all of it shares.
//!
//! **Invariant:** sides of a comparison take turns, A B A B, each on a fresh directory; a server is asked
//! for what it used after its work and before it stops.
//! **Next:** `scenario/publish.rs`, the first of them.

mod append;
mod arrival;
mod both;
mod curve;
mod deliver;
mod disk;
mod instructions;
mod isolation;
mod memory;
mod publish;
mod soak;
mod subscriptions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;

use super::append::EVENT_TYPE;
use super::child::{Child, Starter};
use super::count::Function;
use super::latency::float;
use super::left::{Left, Made};
use super::limit::http::Store;
use super::load::{self, Done, Load, Target};
use super::measure::Usage;
use super::options::{Durability, Options, SOAK_PIECES, Work};
use super::part::{Part, Sent};
use super::payload::Payload;
use super::prepare::{Prepare, Prepared};
use super::report::{Cost, OverTime, Row};
use super::server::Server;
use super::sink::Sink;

/// Longest time for deliveries to arrive that have nothing to wait for.
const STALL: Duration = Duration::from_mins(2);
/// How often a count is looked at for a rate.
const LOOK: Duration = Duration::from_millis(100);

/// Random letters of an application's name.
const UID_LETTERS: usize = 16;

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) starter: Starter,
    /// Told of each measurement before it begins.
    pub(crate) step: &'a dyn Fn(&str),
    /// Rates of the limits so far, for what is held against both.
    pub(crate) limits: Limits,
    pub(crate) rows: Vec<Row>,
    /// Why figures may mislead or are absent.
    pub(crate) warnings: Vec<String>,
    /// What was made on a foreign server.
    pub(crate) left: Left,
}

/// Rates of limits, by round.
#[derive(Default)]
pub(crate) struct Limits {
    pub(crate) publish: Vec<f64>,
    pub(crate) deliver: Vec<f64>,
}

/// How many measurements a piece of work makes.
pub(crate) fn steps(options: &Options) -> u64 {
    let rounds = options.rounds as u64;
    let of = |work: &Work| match work {
        Work::Publish => 3 * rounds + 2,
        Work::Deliver | Work::Isolation => 2 * rounds,
        // Its limits are those of the first two, if they run.
        Work::Both => {
            let known = |work| options.only.contains(&work);
            let missing = u64::from(!known(Work::Publish)) + u64::from(!known(Work::Deliver));
            rounds * (1 + missing)
        }
        Work::Append => 4 * rounds,
        Work::Arrival => 2,
        Work::Subscriptions => 2 * rounds + subscriptions::between(options).len() as u64,
        Work::Memory => 2 + memory::needs_backlog(options, *work),
        Work::Restart => memory::needs_backlog(options, *work),
        Work::Disk => 1,
        Work::Soak => u64::from(SOAK_PIECES),
        Work::Instructions => Function::ALL.len() as u64,
        Work::Curve(along) => curve::steps(options, *along),
    };
    options.only.iter().map(of).sum()
}

impl Run<'_> {
    /// Does all that was asked for.
    pub(crate) async fn all(&mut self) -> anyhow::Result<()> {
        let mut is_restarted = false;
        for work in &self.options.only {
            let done = match work {
                Work::Publish => publish::run(self).await,
                Work::Deliver => deliver::run(self).await,
                Work::Both => both::run(self).await,
                Work::Append => append::run(self).await,
                Work::Arrival => arrival::run(self).await,
                Work::Subscriptions => subscriptions::run(self).await,
                Work::Isolation => isolation::run(self).await,
                Work::Memory => memory::run(self).await,
                Work::Restart if is_restarted => Ok(()),
                Work::Restart => memory::backlog(self).await,
                Work::Disk => disk::run(self).await,
                Work::Soak => soak::run(self).await,
                Work::Instructions => instructions::run(self).await,
                Work::Curve(along) => curve::run(self, *along).await,
            };
            is_restarted |= *work == Work::Memory;
            done.context(work.id())?;
        }
        Ok(())
    }

    /// Tells what begins now.
    pub(crate) fn begin(&self, work: Work, what: &str) {
        (self.step)(&format!("{} {what}", work.id()));
    }

    /// Publishing in a closed loop, or at a rate.
    pub(crate) fn load(&self, per_second: Option<f64>) -> Load {
        Load {
            connections: self.options.connections,
            time: self.options.duration,
            per_second,
        }
    }

    /// The limit of publishing on this work.
    pub(crate) async fn limit(
        &self,
        load: Load,
        payloads: &Arc<Vec<Bytes>>,
        is_stored: bool,
    ) -> anyhow::Result<Done> {
        let store = if is_stored {
            Store::File {
                directory: self.starter.fresh("limit")?,
                sync: self.options.durability == Durability::PowerSafe,
            }
        } else {
            Store::Nothing
        };
        let (child, address) = self.starter.http(store).await?;
        let target = Target {
            address,
            path: "/publish".to_owned(),
            token: "none".to_owned(),
            payloads: Arc::clone(payloads),
            event_types: vec![EVENT_TYPE.to_owned()],
            keys: false,
        };
        let done = load::run(load, target).await?;
        child.kill();
        Ok(done)
    }

    /// The limit of delivering: deliveries a second of raw connections.
    pub(crate) async fn raw_client(&self, payload: &Payload) -> anyhow::Result<Sent> {
        let sink = Sink::start(super::sink::Manner::Take).await?;
        let part = Part::Client {
            address: sink.address,
            connections: self.options.connections,
            payload: payload.clone(),
            time: self.options.duration,
        };
        self.starter.result(&part).await
    }

    /// A server with an application, as its id says.
    pub(crate) async fn serve(&self) -> anyhow::Result<(Server, String)> {
        let directory = self.starter.fresh("serve")?;
        let server = Server::open(&self.starter, self.options, &directory).await?;
        // Nobody else's: a foreign server may be asked by several at once.
        let random = std::iter::repeat_with(fastrand::alphanumeric).take(UID_LETTERS);
        let uid = format!("hooklog-bench-{}", random.collect::<String>());
        if server.child.is_none() {
            self.left.made(&server.api, Made::Application(uid.clone()));
        }
        let application = server.api.application(&uid).await?;
        Ok((server, application))
    }

    /// Ends the use of a server: a foreign one forgets what was made there, one of our own is killed.
    pub(crate) async fn finish(&self, server: Server) -> anyhow::Result<()> {
        match server.child {
            Some(child) => child.kill(),
            None => self.left.remove().await?,
        }
        Ok(())
    }

    /// A log that a server then finds, in the directory `serve`.
    pub(crate) async fn prepare(
        &self,
        fill: impl FnOnce(&mut Prepare),
    ) -> anyhow::Result<Prepared> {
        let mut prepare = Prepare {
            directory: self.starter.fresh("serve")?,
            segment_bytes: self.options.segment_bytes,
            payload: Payload::Bytes(64),
            endpoints: Vec::new(),
            backlog: 0,
            idle: 0,
            // Nobody listens there, and nothing is sent.
            idle_url: "http://127.0.0.1:9/".to_owned(),
        };
        fill(&mut prepare);
        self.starter.result(&Part::Prepare(prepare)).await
    }

    /// A server on what [`Run::prepare`] has written.
    pub(crate) async fn start(&self) -> anyhow::Result<Server> {
        let directory = self.starter.scratch.join("serve");
        Server::start(&self.starter, self.options, &directory, &[]).await
    }
}

/// What a server used since `before` for so many events with so many payload bytes.
pub(crate) fn cost(child: Option<&Child>, before: Option<&Usage>, count: u64, bytes: u64) -> Cost {
    let Some(child) = child else {
        return Cost::default();
    };
    let used = child
        .usage()
        .zip(before)
        .map(|(now, before)| now.since(before));
    let memory = child.memory();
    let each = |sum: f64, of: u64| (of > 0).then(|| sum / float(of));
    let disks = used.as_ref().and_then(|used| used.disks);
    Cost {
        cpu_us: used.as_ref().and_then(|used| each(used.cpu() * 1e6, count)),
        disk_per_byte: disks.and_then(|disks| each(float(disks), bytes)),
        handed_per_byte: None,
        rss: memory.map(|memory| memory.now),
        rss_peak: memory.map(|memory| memory.peak),
    }
}

/// Payload bytes of so many events that go round the pool.
pub(crate) fn bytes_of(payloads: &[Bytes], count: u64) -> u64 {
    let sum: usize = payloads.iter().map(Bytes::len).sum();
    let each = float(sum as u64) / float(payloads.len().max(1) as u64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a product of positive numbers"
    )]
    let bytes = (each * float(count)) as u64;
    bytes
}

/// The rates of a load beside those of its limit.
pub(crate) fn over_time(time: Duration, ours: Vec<f64>, limit: Vec<f64>) -> OverTime {
    OverTime {
        window_ms: time.as_secs_f64() * 1e3 / float(load::WINDOWS as u64),
        ours,
        limit,
    }
}

/// Waits until so many deliveries came; gives their rates while they came.
pub(crate) async fn arrive(sink: &Sink, count: u64) -> anyhow::Result<Vec<f64>> {
    let (mut rates, mut seen, mut from) = (Vec::new(), sink.count(), Instant::now());
    let mut changed = from;
    while sink.count() < count {
        // In time or not, the count is what is looked at.
        let _ = tokio::time::timeout(LOOK, sink.until(count)).await;
        let (now, at) = (sink.count(), Instant::now());
        rates.push(float(now - seen) / (at - from).as_secs_f64());
        if now > seen {
            changed = at;
        }
        (seen, from) = (now, at);
        anyhow::ensure!(
            changed.elapsed() < STALL,
            "{now} of {count} deliveries arrived, and no more for {STALL:?}"
        );
    }
    Ok(rates)
}
