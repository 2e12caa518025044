//! ③ The one reader of the log's tail.
//!
//! **Invariant:** items go on in the order of the tail, none left out; a driver that is busy makes
//! the reader wait, never grow.
//! **Next:** `board/follow.rs`, which takes the items in.

use std::time::Duration;

use hooklog_storage::{EventLog, Offset, Tail, TailItem};
use tokio::sync::mpsc;

/// Time to wait after the tail could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the log from `from` until nobody takes the items any more.
pub(crate) async fn follow(log: EventLog, from: Offset, items: mpsc::Sender<TailItem>) {
    let mut tail: Tail = log.tail(from);
    let mut failed = false;
    loop {
        let next = if tail.reads_disk() {
            let reading = move || (tail.poll_next(), tail);
            let Ok((next, back)) = tokio::task::spawn_blocking(reading).await else {
                // The runtime is going down, or the read panicked; without a reader the driver ends.
                return;
            };
            tail = back;
            next
        } else {
            tail.next().await.map(Some)
        };
        match next {
            Ok(None) => {}
            Ok(Some(item)) => {
                failed = false;
                if items.send(item).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Once per trouble, not once a second.
                if !failed {
                    let position = tail.position();
                    tracing::error!(error = %error, %position, "cannot follow the log; trying again");
                }
                failed = true;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
