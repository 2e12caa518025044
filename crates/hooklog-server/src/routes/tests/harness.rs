//! A server on a free port over a real log in a temporary directory, and a client for it.
//!
//! **Invariant:** the server stops and its directory goes when the harness is stopped.
//! **Next:** `end_to_end.rs`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hooklog_storage::EventLog;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::token::{self, Subject};
use crate::{Config, DEFAULT_ORGANISATION, Limits, Server, TokenKey, UrlPolicy};

pub(super) const SECRET: &str = "the secret of the tests";
/// Long enough for a loaded machine, short enough to end a test that hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Harness {
    pub(super) log: EventLog,
    pub(super) address: SocketAddr,
    pub(super) token: String,
    shutdown: CancellationToken,
    running: JoinSet<()>,
    _directory: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Value,
    pub(super) text: String,
}

impl Reply {
    #[track_caller]
    pub(super) fn id(&self) -> String {
        self.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {self:?}"))
            .to_owned()
    }

    #[track_caller]
    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Harness {
    pub(super) async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub(super) async fn start_with(limits: Limits) -> Self {
        Self::start_as(|config| config.limits = limits).await
    }

    /// With a configuration that `change` has changed.
    pub(super) async fn start_as(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = hooklog_storage::Config::new(directory.path().join("data"));
        // Small segments are zero-filled sooner.
        settings.journal_segment_bytes = 8 << 20;
        let opening = tokio::task::spawn_blocking(move || EventLog::open(settings));
        let log = opening.await.expect("no panic").expect("opens");
        let url_policy = UrlPolicy::new(|url| match url.host_str() {
            Some("forbidden.example") => Err("is forbidden by policy".to_owned()),
            _ => Ok(()),
        });
        let mut config = Config::new(TokenKey::new(SECRET).expect("long enough"));
        config.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()];
        config.url_policy = url_policy;
        change(&mut config);
        let server = Server::bind(log.clone(), config).await.expect("binds");
        let address = server.local_addr().expect("listens on TCP");
        let (shutdown, mut running) = (CancellationToken::new(), JoinSet::new());
        running.spawn(server.run(shutdown.clone(), PATIENCE));
        let token = mint(organisation());
        Self {
            log,
            address,
            token,
            shutdown,
            running,
            _directory: directory,
        }
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        self.call_as(&self.token, method, path, body).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, "").await
    }

    pub(super) async fn call_as(&self, token: &str, method: &str, path: &str, body: &str) -> Reply {
        self.call_with("", token, method, path, body).await
    }

    /// With more headers, each with its end of line.
    pub(super) async fn call_with(
        &self,
        headers: &str,
        token: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Reply {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\
             authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.raw(request.as_bytes()).await
    }

    /// Sends bytes and reads to the end.
    pub(super) async fn raw(&self, request: &[u8]) -> Reply {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.expect("connects");
            // The server may stop to listen in the middle.
            let _outcome = stream.write_all(request).await;
            read_reply(&mut stream).await
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("an answer in time")
    }

    /// Stops in good order: within the drain time, and the log closes after it.
    pub(super) async fn stop(self) {
        let Self {
            log,
            shutdown,
            running,
            ..
        } = self;
        shutdown.cancel();
        tokio::time::timeout(PATIENCE, running.join_all())
            .await
            .expect("in time");
        let closing = tokio::task::spawn_blocking(move || log.close());
        closing.await.expect("no panic").expect("closes");
    }
}

pub(super) fn organisation() -> Subject {
    Subject::Organisation(DEFAULT_ORGANISATION.parse().expect("an id"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokens are checked against the real clock"
)]
pub(super) fn mint(subject: Subject) -> String {
    let key = TokenKey::new(SECRET).expect("long enough");
    let hour = Duration::from_hours(1);
    token::mint(&key, subject, SystemTime::now().into(), hour).expect("signs")
}

/// Reads an answer to the end of the connection.
pub(super) async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let mut bytes = Vec::new();
    // A connection that is cut after its answer is fine: what came, came.
    let _outcome = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("is text");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Reply {
        status: status.unwrap_or_else(|| panic!("no status: {head:?}")),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        text: body.to_owned(),
    }
}
