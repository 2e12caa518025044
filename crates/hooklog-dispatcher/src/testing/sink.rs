//! A receiver of webhooks for tests: a real HTTP server that answers by a script.
//!
//! **Invariant:** its port is free and its own; everything it got is kept in order.
//! **Next:** the tests of `deliver.rs` and `driver.rs`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) enum Reply {
    Status(u16, &'static str),
    Redirect(String),
    /// A head with 200 and a body that never ends.
    Endless,
    /// Neither head nor body, for ever.
    Hang,
    /// A head with 200, a bit of the body, and then nothing, for ever.
    HangInBody,
}

pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    received: watch::Receiver<Vec<Received>>,
    _server: JoinSet<()>,
}

impl Sink {
    /// Starts a receiver; `answer` gets each request and how many came before it.
    pub(crate) async fn start(
        answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), answer).await
    }

    /// The same at an address that was free a moment ago.
    pub(crate) async fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = watch::channel(Vec::new());
        let (answer, sender) = (Arc::new(answer), Arc::new(sender));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, sender) = (Arc::clone(&answer), Arc::clone(&sender));
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        serve(request, Arc::clone(&answer), Arc::clone(&sender))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            received,
            _server: server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// Waits until what was received fulfils `condition`.
    pub(crate) async fn wait(&mut self, condition: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let waiting = self.received.wait_for(|received| condition(received));
        let received = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        received
            .expect("the sink got what was expected in time")
            .unwrap()
            .clone()
    }
}

async fn serve<A: Fn(&Received, usize) -> Reply>(
    request: Request<Incoming>,
    answer: Arc<A>,
    sender: Arc<watch::Sender<Vec<Received>>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        std::future::pending().await
    };
    let received = Received {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.to_bytes(),
    };
    let mut number = 0;
    sender.send_modify(|all| {
        number = all.len();
        all.push(received.clone());
    });
    let full = |text: &'static str| Full::new(Bytes::from_static(text.as_bytes())).boxed();
    let chunk = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 1000])));
    Ok(match answer(&received, number) {
        Reply::Status(status, text) => Response::builder().status(status).body(full(text)).unwrap(),
        Reply::Redirect(to) => Response::builder()
            .status(302)
            .header("location", to)
            .body(full("moved"))
            .unwrap(),
        Reply::Endless => {
            let chunks = stream::repeat_with(chunk);
            Response::new(BodyExt::boxed(StreamBody::new(chunks)))
        }
        Reply::HangInBody => {
            let chunks = stream::unfold(Some(chunk()), |chunk| async move {
                match chunk {
                    Some(chunk) => Some((chunk, None)),
                    None => std::future::pending().await,
                }
            });
            Response::new(http_body_util::combinators::BoxBody::new(SyncBody(
                Box::pin(chunks),
            )))
        }
        Reply::Hang => std::future::pending().await,
    })
}

/// A stream that is never polled from two threads at once, as a body.
struct SyncBody<S>(std::pin::Pin<Box<S>>);

impl<S> hyper::body::Body for SyncBody<S>
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>>,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.as_mut().poll_next(context)
    }
}
