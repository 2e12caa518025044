//! Closures that are called with each event, one asynchronous and one that blocks; failures come again.
//!
//! `cargo run --no-default-features --example closure`
//!
//! **Invariant:** each closure settles every event exactly when it returned `Ok` for it.
//! **Next:** `push.rs`, which sends events to endpoints.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::Duration;

use hooklog::storage::{ConsumerOptions, Event};
use hooklog::{Hooklog, Received, SubscribeOptions};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let hooklog = Hooklog::open(directory.path())?;
    let shop = hooklog.application("shop").await?;

    let (settled, mut from_async) = mpsc::channel(16);
    let options = SubscribeOptions {
        retry_first: Duration::from_millis(1),
        ..SubscribeOptions::from(ConsumerOptions::of(shop.id))
    };
    let books = hooklog
        .subscribe("books", options, move |event: Received| {
            let settled = settled.clone();
            async move {
                // The database is down for the first two attempts of each event.
                if event.attempt < 2 {
                    return Err("the books are locked");
                }
                let line = (event.offset.get(), event.attempt);
                settled.send(line).await.map_err(|_| "nobody listens")
            }
        })
        .await?;

    // The same from a program without a runtime; here it only has a thread of its own.
    let (settled, mut from_thread) = mpsc::channel(16);
    let audit = hooklog.subscribe_blocking("audit", ConsumerOptions::default(), move |event| {
        settled.blocking_send(event.offset.get())
    })?;

    for number in 0..5 {
        let event = Event::new(shop.id, "invoice.paid".parse()?, number.to_string());
        hooklog.publish(event).await?;
    }
    for expected in 0..5 {
        assert_eq!(from_async.recv().await, Some((expected, 2)));
        assert_eq!(from_thread.recv().await, Some(expected));
    }
    books.stop().await?;
    audit.stop().await?;
    let lags: Vec<_> = hooklog
        .log()
        .consumers(None)
        .into_iter()
        .map(|c| c.lag)
        .collect();
    hooklog.close().await?;
    writeln!(stdout(), "5 events settled twice; lags {lags:?}")?;
    Ok(())
}
