//! A receiver that takes everything: reads a request to its end and answers 200.
//!
//! **Invariant:** the same server for both sides, in the same process and runtime.
//! **Next:** `limit.rs`, which sends to it with the least work there is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A running receiver.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    received: AtomicUsize,
    wanted: AtomicUsize,
    reached: Notify,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let counts = Arc::clone(&counting);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        receive(request, Arc::clone(&counts))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            counts,
            _server: server,
        }
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.counts.received.load(Ordering::Acquire)
    }

    /// Waits until so many requests came.
    pub(crate) async fn until(&self, count: usize) {
        self.counts.wanted.store(count, Ordering::Release);
        while self.count() < count {
            self.counts.reached.notified().await;
        }
    }
}

async fn receive(
    request: Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let body = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    assert!(body.is_ok_and(|body| !body.is_empty()));
    let received = counts.received.fetch_add(1, Ordering::AcqRel) + 1;
    if received == counts.wanted.load(Ordering::Acquire) {
        counts.reached.notify_one();
    }
    Ok(Response::new(Empty::new()))
}
