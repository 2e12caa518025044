use std::net::Ipv4Addr;

use hooklog_server::{DEFAULT_ORGANISATION, TokenKey};
use hooklog_storage::NewApplication;

use super::*;

fn config(directory: &std::path::Path) -> Config {
    let key = TokenKey::new("a secret of enough bytes").unwrap();
    let mut config = Config::new(directory, key);
    config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    config
}

/// Starts as soon as the directory is free. A stop closes the log, but its `LOCK` is held until the
/// last clone of the log is dropped, and one in a connection's task that is just being dropped may
/// outlive the stop by a moment; until then a start is refused.
async fn restart(directory: &std::path::Path) -> Service {
    let starting = async {
        loop {
            match Service::start(config(directory)).await {
                Err(StartError::Open(_)) => tokio::task::yield_now().await,
                started => return started.unwrap(),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), starting)
        .await
        .unwrap()
}

async fn create_application(service: &Service) {
    let new = NewApplication {
        organisation: DEFAULT_ORGANISATION.parse().unwrap(),
        uid: Some("demo".parse().unwrap()),
        name: "Demo".to_owned(),
        metadata: std::collections::BTreeMap::new(),
        policy: hooklog_storage::Policy::default(),
    };
    service.log().create_application(new).await.unwrap();
}

#[tokio::test]
async fn a_service_that_stopped_starts_again_with_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(config(directory.path())).await.unwrap();
    assert_ne!(service.local_addr().unwrap().port(), 0);
    create_application(&service).await;

    // The log is taken as long as the service runs.
    let second = Service::start(config(directory.path())).await;
    assert!(matches!(second, Err(StartError::Open(_))));
    service.stop().await.unwrap();

    let service = restart(directory.path()).await;
    let organisation = DEFAULT_ORGANISATION.parse().unwrap();
    let found = service
        .log()
        .registry()
        .find_application(organisation, "demo")
        .is_some();
    assert!(found);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_that_fails_lets_go_of_what_it_had_taken() {
    let directory = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut occupied = config(directory.path());
    occupied.listen = vec![taken.local_addr().unwrap().into()];
    let error = Service::start(occupied).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::Bind(_)), "{error}");

    let mut unusable = config(directory.path());
    unusable.dispatcher.attempt_timeout = Duration::ZERO;
    let error = Service::start(unusable).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::Dispatcher(_)), "{error}");

    restart(directory.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_a_client_that_sends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.drain_timeout = Duration::from_millis(100);
    let service = Service::start(config).await.unwrap();
    let _silent = tokio::net::TcpStream::connect(service.local_addr().unwrap())
        .await
        .unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(20), service.stop()).await;
    stopped.unwrap().unwrap();
}
