use std::collections::BTreeSet;

use hooklog_storage::{DirectoryError, Limit, Offset, OpenErrorKind, Order};

use super::*;

fn config(directory: &std::path::Path) -> Config {
    Config {
        journal_segment_bytes: 1 << 20,
        payload_bytes_max: 256 << 10,
        ..Config::new(directory)
    }
}

#[test]
fn an_application_is_made_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let hooklog = Hooklog::open_with(config(directory.path())).unwrap();
    let ids: BTreeSet<_> = std::thread::scope(|scope| {
        let make = || hooklog.application_blocking("demo").unwrap().id;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(ids.len(), 1, "four callers get the same");
    let error = hooklog.application_blocking("no name").unwrap_err();
    let expected =
        "the application's uid may hold only letters, digits, `-`, `_` and `.`, but holds ' '";
    assert_eq!(error.to_string(), expected);
    hooklog.close_blocking().unwrap();
    drop(hooklog);
    let hooklog = Hooklog::open_with(config(directory.path())).unwrap();
    assert!(ids.contains(&hooklog.application_blocking("demo").unwrap().id));
}

/// Two logs under load at the same time: a transaction of one holds sled's process-wide lock, and
/// neither may lose, mix up or stop anything of the other.
#[test]
fn two_logs_work_at_once_in_one_process() {
    const WRITERS: u64 = 4;
    const EVENTS: u64 = 200;
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    let logs = paths
        .each_ref()
        .map(|path| Hooklog::open_with(config(path)).unwrap());
    let applications = logs
        .each_ref()
        .map(|log| log.application_blocking("demo").unwrap().id);
    std::thread::scope(|scope| {
        for (log, application) in logs.iter().zip(applications) {
            for writer in 0..WRITERS {
                scope.spawn(move || {
                    for number in 0..EVENTS {
                        let payload = format!("{writer}.{number}.{}", "x".repeat(4000));
                        let event = Event::new(application, "a.b".parse().unwrap(), payload);
                        log.publish_blocking(event).unwrap();
                    }
                });
            }
            scope.spawn(move || {
                let mut consumer = log
                    .consumer_blocking("all", ConsumerOptions::default())
                    .unwrap();
                for expected in 0..WRITERS * EVENTS {
                    let delivery = consumer.next_blocking().unwrap();
                    assert_eq!(delivery.offset, Offset::new(expected));
                    assert_eq!(delivery.event.application, application);
                    delivery.ack();
                }
            });
        }
    });
    // One after the other, and each while the other is open: all is there.
    for ((log, path), application) in logs.into_iter().zip(&paths).zip(applications) {
        log.close_blocking().unwrap();
        drop(log);
        let log = Hooklog::open_with(config(path)).unwrap();
        let end = log.log().end();
        assert_eq!(end.get(), WRITERS * EVENTS);
        let limit = Limit {
            items: 10_000,
            bytes: 64 << 20,
        };
        let range = Offset::ZERO..end;
        let page = log
            .log()
            .read_application(application, range, Order::Ascending, limit);
        let payloads: BTreeSet<_> = page
            .unwrap()
            .records
            .into_iter()
            .map(|r| r.event.payload)
            .collect();
        assert_eq!(payloads.len() as u64, WRITERS * EVENTS);
        assert_eq!(log.log().consumers(None)[0].lag, 0);
    }
}

#[test]
fn a_directory_is_opened_once() {
    let directory = tempfile::tempdir().unwrap();
    let hooklog = Hooklog::open_with(config(directory.path())).unwrap();
    let error = Hooklog::open_with(config(directory.path())).unwrap_err();
    let in_use = OpenErrorKind::Directory(DirectoryError::InUse {
        path: directory.path().join("LOCK"),
    });
    assert_eq!(error.kind.to_string(), in_use.to_string());
    hooklog.close_blocking().unwrap();
    drop(hooklog);
    Hooklog::open_with(config(directory.path())).unwrap();
}

#[cfg(feature = "dispatcher")]
#[tokio::test]
async fn a_second_dispatcher_and_a_bad_url_are_refused() {
    use hooklog_storage::Filter;

    use crate::push::{DispatchError, EndpointError};

    let directory = tempfile::tempdir().unwrap();
    let hooklog = Hooklog::open_with(config(directory.path())).unwrap();
    let start = async || {
        hooklog
            .start_dispatcher(hooklog_dispatcher::Config::default())
            .await
    };
    start().await.unwrap();
    assert!(matches!(start().await, Err(DispatchError::Running)));
    let id = hooklog.application("demo").await.unwrap().id;
    for url in ["", "example.com/hook", "ftp://example.com/"] {
        let error = hooklog.create_endpoint(id, url, Filter::default()).await;
        assert!(matches!(error, Err(EndpointError::Url { .. })), "{url}");
    }
    hooklog.close().await.unwrap();
}
