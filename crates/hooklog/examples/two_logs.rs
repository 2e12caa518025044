//! Two logs in one process, each in its directory, and what happens when one is opened twice.
//!
//! `cargo run --no-default-features --example two_logs`
//!
//! **Invariant:** the logs share nothing that a program can see.
//! **Next:** `log_only.rs`.

use std::error::Error;
use std::io::{Write as _, stdout};

use hooklog::Hooklog;
use hooklog::storage::{ConsumerOptions, DirectoryError, Event, OpenErrorKind};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (orders, audit) = (
        directory.path().join("orders"),
        directory.path().join("audit"),
    );
    let orders = Hooklog::open(orders)?;
    let audit = Hooklog::open(&audit)?;

    let same = Hooklog::open(audit.log().config().directory.clone());
    let refused = same.err().map(|error| error.kind);
    assert!(matches!(
        refused,
        Some(OpenErrorKind::Directory(DirectoryError::InUse { .. }))
    ));

    // What is ordered is audited: from one log into the other, at least once.
    let (shop, book) = (
        orders.application_blocking("shop")?.id,
        audit.application_blocking("shop")?.id,
    );
    for number in 0..100 {
        let event = Event::new(shop, "order.placed".parse()?, number.to_string());
        orders.publish_blocking(event)?;
    }
    let mut consumer = orders.consumer_blocking("auditor", ConsumerOptions::default())?;
    while let Some(delivery) = consumer.poll_next()? {
        let mut event = delivery.event.clone();
        event.application = book;
        // The id of the order makes a repetition harmless.
        event.uid = Some(delivery.id.to_string().parse()?);
        audit.publish_blocking(event)?;
        delivery.ack();
    }
    let ends = (orders.log().end(), audit.log().end());
    assert_eq!(ends.0, ends.1);
    writeln!(stdout(), "{} orders, {} audited", ends.0, ends.1)?;
    orders.close_blocking()?;
    audit.close_blocking()?;
    Ok(())
}
