//! The log alone, in a program without a runtime: publish, read back, consume, close.
//!
//! `cargo run --no-default-features --example log_only`
//!
//! **Invariant:** it starts no runtime, finishes by itself, and leaves no file behind.
//! **Next:** `consumer.rs`, the same with streams.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::Duration;

use hooklog::storage::{
    Appended, Config, ConsumerOptions, Event, EventLog, Limit, NewApplication, Offset,
    OrganisationId,
};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let log = EventLog::open(Config::new(directory.path()))?;
    let shop = log.create_application_blocking(NewApplication {
        uid: Some("shop".parse()?),
        ..NewApplication::new(OrganisationId::from_bytes([1; 20]), "Shop")
    })?;

    // One commit, one fdatasync, three events.
    let paid = |amount: u32| {
        let payload = format!(r#"{{"amount": {amount}}}"#);
        Ok::<_, Box<dyn Error>>(Event::new(shop.id, "invoice.paid".parse()?, payload))
    };
    let appended = log.append_blocking(vec![paid(700)?, paid(800)?, paid(900)?])?;
    let committed = |outcome: &Appended| matches!(outcome, Appended::Committed { .. });
    assert!(appended.iter().all(committed));

    // Anyone reads by offset, without a cursor.
    let limit = Limit {
        items: 10,
        bytes: 1 << 20,
    };
    let records = log.read(Offset::ZERO, limit)?;
    assert_eq!(records.len(), 3);

    // A consumer has a cursor in the log, under its name.
    let mut consumer = log.consumer_blocking("books", ConsumerOptions::of(shop.id))?;
    for record in &records {
        let delivery = consumer.next_blocking()?;
        assert_eq!(&delivery.record, record);
        delivery.ack();
    }
    assert!(consumer.next_timeout(Duration::from_millis(10))?.is_none());
    assert_eq!((consumer.cursor(), consumer.lag()), (log.end(), 0));

    writeln!(stdout(), "{} events, all read", records.len())?;
    log.close()?;
    Ok(())
}
