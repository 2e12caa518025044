//! A consumer as an asynchronous stream with explicit acks; a restart goes on where it stopped.
//!
//! `cargo run --no-default-features --example consumer`
//!
//! **Invariant:** what was acknowledged does not come again, what was not does.
//! **Next:** `closure.rs`, which leaves acks and retries to the library.

use std::error::Error;
use std::io::{Write as _, stdout};

use futures_util::StreamExt as _;
use hooklog::Hooklog;
use hooklog::storage::{ConsumerOptions, Event, Filter};

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let wanted = || {
        Ok::<_, Box<dyn Error>>(ConsumerOptions {
            filter: Filter {
                event_types: Some(vec!["invoice.paid".parse()?]),
                ..Filter::default()
            },
            ..ConsumerOptions::default()
        })
    };
    {
        let hooklog = Hooklog::open(directory.path())?;
        let shop = hooklog.application("shop").await?;
        for number in 0..10 {
            let event_type = if number % 2 == 0 {
                "invoice.paid"
            } else {
                "invoice.sent"
            };
            let event = Event::new(shop.id, event_type.parse()?, number.to_string());
            hooklog.publish(event).await?;
        }
        let mut stream = hooklog.consumer("books", wanted()?).await?.into_stream();
        // 0, 2 and 4 are settled, out of order; 6 is seen and not settled.
        let mut seen = Vec::new();
        for _ in 0..4 {
            let Some(delivery) = stream.next().await else {
                break;
            };
            seen.push(delivery?);
        }
        for index in [2, 0, 1] {
            if let Some(delivery) = seen.get(index) {
                delivery.ack();
            }
        }
        drop(stream);
        hooklog.close().await?;
    }
    let hooklog = Hooklog::open(directory.path())?;
    let mut stream = hooklog.consumer("books", wanted()?).await?.into_stream();
    let mut again = Vec::new();
    for _ in 0..2 {
        if let Some(delivery) = stream.next().await {
            let delivery = delivery?;
            delivery.ack();
            again.push(delivery.event.payload.clone());
        }
    }
    assert_eq!(again, ["6", "8"]);
    writeln!(stdout(), "after the restart came {again:?}")?;
    // The stream ends when the log is closed.
    hooklog.close().await?;
    assert!(stream.next().await.is_none());
    Ok(())
}
