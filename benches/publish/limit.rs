//! The limit of a durable publish over HTTP: bare hyper, one append-only file, one `fdatasync` for
//! all who wait.
//!
//! **Invariant:** the 202 comes after the `fdatasync`; the file is written with zeros before it counts
//! and then overwritten in place, as large as a journal segment, so that no sync has metadata to write.
//! **Next:** `load.rs`.

use std::convert::Infallible;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// As large as a journal segment.
const FILE_BYTES: usize = 64 << 20;
/// More than there are connections.
const QUEUE: usize = 16_384;

type Waiting = (Bytes, oneshot::Sender<()>);

/// Starts the server and its file.
pub(crate) async fn start(directory: &Path) -> SocketAddr {
    let file = File::create(directory.join("plain")).expect("a scratch file");
    file.write_all_at(&vec![0; FILE_BYTES], 0).expect("room");
    file.sync_all().expect("a sync");
    let (queue, waiting) = mpsc::channel(QUEUE);
    std::thread::spawn(move || append(&file, waiting));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("an option");
            let queue = queue.clone();
            let service = service_fn(move |request| publish(queue.clone(), request));
            tokio::task::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

async fn publish(
    queue: mpsc::Sender<Waiting>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let body = request
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let (done, durable) = oneshot::channel();
    queue.send((body, done)).await.expect("is taken");
    durable.await.expect("is durable");
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn append(file: &File, mut waiting: mpsc::Receiver<Waiting>) {
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
        file.write_all_at(&bytes, position as u64).expect("a write");
        file.sync_data().expect("a sync");
        position += bytes.len();
        bytes.clear();
        for done in acks.drain(..) {
            let _gone = done.send(());
        }
    }
}
