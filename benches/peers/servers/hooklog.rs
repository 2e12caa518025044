//! Hooklog, any Svix-compatible server, and the limit: how they are started, and how events are consumed
//! from them by webhooks or by polls.
//!
//! **Invariant:** what a poll brought is acked when the answer to its commit came; the next poll is sent along
//! with the commit.
//! **Next:** `redis.rs`.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http::Message;
use crate::ledger::Ledger;
use crate::process::{Running, connect, listening, start};
use crate::protocol::Protocol;
use crate::stamp;
use crate::wire::{BATCH_BYTES, more, shown};

/// Signs tokens of the server under test, which nobody else can reach.
const SECRET: &str = "peers-peers-peers-peers-peers-32";
/// Seconds that a poll waits for something new.
const WAIT: u64 = 1;

/// What events are published to.
#[derive(Clone, Debug)]
pub struct Application {
    address: SocketAddr,
    pub id: String,
    token: String,
}

pub fn limit(program: &Path, directory: &Path) -> Result<Running> {
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

/// A server that may send to this machine, as many webhooks at a time as there are connections.
pub fn serve(program: &Path, directory: &Path, connections: u16) -> Result<Running> {
    let mut serve = Command::new(program);
    serve.args([
        "serve",
        "--until-stdin-ends",
        "--listen=127.0.0.1:0",
        "--log=warn",
        "--allow-network=127.0.0.0/8",
    ]);
    serve
        .arg(format!("--endpoint-concurrency={connections}"))
        .arg("--data-dir")
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
    let application = Application::create(running.address, &token)?;
    running.protocol = application.protocol();
    running.application = Some(application);
    Ok(running)
}

pub fn foreign(url: &str, token: &str) -> Result<Running> {
    let host = url
        .strip_prefix("http://")
        .ok_or_else(|| Error::other("--url must start with http://"))?;
    let host = host.trim_end_matches('/');
    let mut addresses = host.to_socket_addrs()?;
    let address = addresses.next().ok_or_else(|| Error::other("no address"))?;
    let application = Application::create(address, token)?;
    let protocol = application.protocol();
    Ok(Running::foreign(address, protocol, application))
}

impl Application {
    fn create(address: SocketAddr, token: &str) -> Result<Self> {
        let new = "{\"name\":\"bench\"}";
        let answer = call(address, token, "POST", "/api/v1/app", new)?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let id = answer["id"].as_str();
        Ok(Self {
            address,
            id: id.ok_or_else(|| Error::other("no id"))?.to_owned(),
            token: token.to_owned(),
        })
    }

    /// How to publish to it.
    fn protocol(&self) -> Protocol {
        Protocol::Http {
            path: format!("/api/v1/app/{}/msg?with_content=false", self.id),
            token: self.token.clone(),
            is_bare: false,
        }
    }

    /// Has its events sent there.
    pub fn push(&self, sink: SocketAddr) -> Result<()> {
        let endpoint = serde_json::json!({"url": format!("http://{sink}/")});
        let path = format!("/api/v1/app/{}/endpoint", self.id);
        let body = endpoint.to_string();
        call(self.address, &self.token, "POST", &path, &body).map(drop)
    }

    pub fn remove(&self) -> Result<()> {
        let path = format!("/api/v1/app/{}", self.id);
        call(self.address, &self.token, "DELETE", &path, "").map(drop)
    }

    /// Polls its events as a consumer whose cursor the server keeps, and commits.
    pub async fn poll(self, batch: u16, ledger: Arc<Ledger>) -> Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Self { id, token, .. } = &self;
        let path = format!("/api/v1/app/{id}/polling-endpoint/bench/consumer/one");
        let host = format!("HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n");
        let poll = format!("GET {path}?limit={batch} {host}prefer: wait={WAIT}\r\n\r\n");
        let mut read = Vec::with_capacity(BATCH_BYTES);
        let (mut stamps, mut since, mut request) = (Vec::new(), Instant::now(), poll.clone());
        loop {
            stream.write_all(request.as_bytes()).await?;
            if !stamps.is_empty() {
                answer(&mut stream, &mut read, |_| Ok(())).await?;
                ledger.acked(&stamps, since);
            }
            let last;
            (stamps, last) = answer(&mut stream, &mut read, page).await?;
            since = Instant::now();
            request.clear();
            if let Some(last) = last {
                let commit = serde_json::json!({"offset": last}).to_string();
                let length = commit.len();
                request = format!(
                    "POST {path}/commit {host}content-type: application/json\r\n\
                     content-length: {length}\r\n\r\n{commit}"
                );
            }
            request += &poll;
        }
    }
}

/// What is wanted of the next answer, which must be a success.
async fn answer<T>(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    wanted: impl Fn(&[u8]) -> Result<T>,
) -> Result<T> {
    loop {
        if let Some(message) = Message::parse(read)? {
            if !message.is_success() {
                return Err(Error::other(format!("refused: {}", shown(read))));
            }
            let (wanted, length) = (wanted(message.body)?, message.length);
            read.drain(..length);
            return Ok(wanted);
        }
        more(stream, read).await?;
    }
}

/// The events of a poll, and the offset of the last, if there are any.
fn page(body: &[u8]) -> Result<(Vec<u64>, Option<u64>)> {
    #[derive(Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        data: Vec<Polled<'a>>,
    }
    #[derive(Deserialize)]
    struct Polled<'a> {
        offset: u64,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let page: Page<'_> = serde_json::from_slice(body)?;
    let stamps = page.data.iter();
    let stamps = stamps.map(|polled| stamp::read(polled.payload.get().as_bytes()));
    let stamps: Option<Vec<u64>> = stamps.collect();
    let stamps = stamps.ok_or_else(|| Error::other(format!("no events: {}", shown(body))))?;
    Ok((stamps, page.data.last().map(|polled| polled.offset)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_events_and_a_place() {
        let event = |offset: u64, n: &str| {
            format!("{{\"id\":\"m\",\"offset\":{offset},\"payload\":{{\"n\":\"{n}\"}}}}")
        };
        let one = event(4, "000000000000000a");
        let two = event(7, "000000000000000b");
        let cases = [
            (format!("[{one},{two}]"), Some((vec![10, 11], Some(7)))),
            ("[]".to_owned(), Some((Vec::new(), None))),
            (format!("[{one},{}]", event(8, "b")), None),
            ("[{}]".to_owned(), None),
        ];
        for (data, expected) in cases {
            let body = format!("{{\"data\":{data},\"done\":true}}");
            assert_eq!(page(body.as_bytes()).ok(), expected, "{body}");
        }
    }
}
