use super::*;

use crate::bench::limit::http::{Limit, Store};
use crate::bench::payload::Payload;
use crate::bench::sink::{Manner, Sink};

fn target(address: SocketAddr) -> Target {
    Target {
        address,
        path: "/publish".to_owned(),
        token: "none".to_owned(),
        payloads: Arc::new(Payload::Bytes(100).json().unwrap()),
        event_types: vec!["bench.made".to_owned()],
        keys: true,
    }
}

fn load(milliseconds: u64, per_second: Option<f64>) -> Load {
    Load {
        connections: 2,
        time: Duration::from_millis(milliseconds),
        per_second,
    }
}

#[tokio::test]
async fn a_closed_loop_counts_what_was_taken() {
    let limit = Limit::start(Store::Nothing).await.unwrap();
    let done = run(load(100, None), target(limit.address)).await.unwrap();
    assert!(done.count > 0 && done.per_second > 0.0, "{done:?}");
    assert_eq!(done.windows.len(), WINDOWS);
    assert!(done.windows.iter().sum::<f64>() > 0.0);
    assert_eq!((done.refused, done.is_late), (0, false));
}

#[tokio::test]
async fn an_open_loop_sends_each_event_that_is_due_once() {
    let limit = Limit::start(Store::Nothing).await.unwrap();
    let done = run(load(200, Some(500.0)), target(limit.address)).await;
    assert_eq!(done.unwrap().count, 100);
}

#[tokio::test]
async fn waiting_for_a_connection_counts_as_latency() {
    // Two connections to a server that answers each request after 20 ms take at most 100 events a second.
    // Of 150 that are due in each second a third must wait, ever longer.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(async |_request| {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let mut response = hyper::Response::new(http_body_util::Empty::<Bytes>::new());
                *response.status_mut() = StatusCode::ACCEPTED;
                Ok::<_, std::convert::Infallible>(response)
            });
            let http = hyper::server::conn::http1::Builder::new();
            connections.spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    let done = run(load(600, Some(150.0)), target(address)).await.unwrap();
    // The last event is due at 0.6 s and sent at 0.9 s at the earliest; on a busy machine the run may be
    // given up before, when others have waited as long.
    assert!(done.count <= 90);
    let slowest = done.latencies.milliseconds(1.0);
    assert!(slowest > 250.0, "{slowest} ms");
}

#[tokio::test]
async fn whatever_is_no_202_stops_the_run() {
    let sink = Sink::start(Manner::Take).await.unwrap();
    let error = run(load(100, None), target(sink.address))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("200 OK"), "{error}");
}

#[tokio::test]
async fn the_sink_knows_when_an_event_was_meant_to_be_sent() {
    let sink = Sink::start(Manner::Fail).await.unwrap();
    let error = run(load(1000, Some(10.0)), target(sink.address)).await;
    assert!(error.unwrap_err().to_string().contains("500"));
    // Its payload lies within the body that publishes, so the stamp is not at the beginning.
    assert_eq!((sink.count(), sink.latencies().count()), (1, 0));
}
