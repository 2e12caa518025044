//! The limits of publishing over HTTP: bare hyper that stores nothing, and bare hyper with one append-only
//! file and one `fdatasync` for all who wait.
//!
//! **Invariant:** the 202 comes after the `fdatasync`; the file is written with zeros before it counts
//! and then overwritten in place, as large as a journal segment, so that no sync has metadata to write.
//! Nothing is parsed, authorised, indexed or kept.
//! **Next:** `client.rs`, the limit of delivering.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// As large as a journal segment.
const FILE_BYTES: usize = 64 << 20;
/// More than there are connections.
const QUEUE: usize = 16_384;

/// What is done with a body before its 202.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// It is read and forgotten.
    Nothing,
    /// It is appended to a file of this directory.
    File {
        /// Where the file is made.
        directory: PathBuf,
        /// Whether its `fdatasync` comes before the 202.
        sync: bool,
    },
}

type Waiting = (Bytes, oneshot::Sender<()>);

/// A running server; dropping it ends it.
pub struct Limit {
    /// Where it listens.
    pub address: SocketAddr,
    _server: JoinSet<()>,
}

impl Limit {
    /// Starts the server and its file.
    pub async fn start(store: Store) -> anyhow::Result<Self> {
        let queue = match store {
            Store::Nothing => None,
            Store::File { directory, sync } => {
                let file = File::create(directory.join("plain")).context("a scratch file")?;
                file.write_all_at(&vec![0; FILE_BYTES], 0)?;
                file.sync_all()?;
                let (queue, waiting) = mpsc::channel(QUEUE);
                let thread = std::thread::Builder::new().name("append".to_owned());
                thread.spawn(move || append(&file, waiting, sync))?;
                Some(queue)
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // It only costs time if it cannot be had.
                let _ = stream.set_nodelay(true);
                let queue = queue.clone();
                let service = service_fn(move |request| publish(queue.clone(), request));
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self {
            address,
            _server: server,
        })
    }
}

async fn publish(
    queue: Option<mpsc::Sender<Waiting>>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Empty<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    if let Some(queue) = queue {
        let (done, durable) = oneshot::channel();
        queue.send((body, done)).await?;
        // Closed without a word if the write failed: the connection ends, and with it the benchmark.
        durable.await?;
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn append(file: &File, mut waiting: mpsc::Receiver<Waiting>, sync: bool) {
    let mut position = 0;
    let (mut bytes, mut acks) = (Vec::new(), Vec::new());
    while let Some(first) = waiting.blocking_recv() {
        let mut next = Some(first);
        while let Some((body, done)) = next {
            bytes.extend_from_slice(&body);
            acks.push(done);
            next = waiting.try_recv().ok();
        }
        if position + bytes.len() > FILE_BYTES {
            position = 0;
        }
        let written = file.write_all_at(&bytes, position as u64);
        let synced = if sync { file.sync_data() } else { Ok(()) };
        if written.and(synced).is_err() {
            return;
        }
        position += bytes.len();
        bytes.clear();
        for done in acks.drain(..) {
            let _gone = done.send(());
        }
    }
}
