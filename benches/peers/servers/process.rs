//! A server as a child process, or one that is there already.
//!
//! **Invariant:** a server does not outlive its guard, and what was made on a foreign one is removed.
//! **Next:** `hooklog.rs`, `redis.rs` and `nats.rs`, how each is started and consumed from.

use std::io::{BufRead, BufReader, Error, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::hooklog::Application;
use crate::protocol::Protocol;

/// Longest time until a server listens, and for a call while nothing is measured.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// A server that listens; dropping it kills it, or removes what was made on a foreign one.
pub struct Running {
    pub address: SocketAddr,
    pub protocol: Protocol,
    /// What events are published to, where it is one.
    pub application: Option<Application>,
    process: Option<Child>,
}

impl Running {
    pub fn new(process: Child, address: SocketAddr, protocol: Protocol) -> Self {
        Self {
            address,
            protocol,
            application: None,
            process: Some(process),
        }
    }

    /// One that was there before.
    pub fn foreign(address: SocketAddr, protocol: Protocol, application: Application) -> Self {
        Self {
            address,
            protocol,
            application: Some(application),
            process: None,
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
        } else if let Some(application) = &self.application
            && let Err(error) = application.remove()
        {
            let id = &application.id;
            eprintln!("the application {id} is left at {}: {error}", self.address);
        }
    }
}

pub fn start(command: &mut Command, directory: &Path) -> Result<Child> {
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
pub fn listening(process: &mut Child, before: &str) -> Result<SocketAddr> {
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
pub fn free() -> Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Waits until somebody listens there.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody tells that a port is open; there is a deadline"
)]
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
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
