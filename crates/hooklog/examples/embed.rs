//! Runs the whole service inside a program: publish in process, follow the log, serve HTTP beside.
//!
//! `cargo run --example embed`
//!
//! **Invariant:** everything it starts it stops, and it leaves no file behind.
//! **Next:** `hooklog::Service`, which it drives.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::Duration;

use hooklog::server::token::Subject;
use hooklog::server::{DEFAULT_ORGANISATION, TokenKey};
use hooklog::storage::{Event, NewApplication, TailItem};
use hooklog::{Config, Service};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let key = TokenKey::new("a secret of at least sixteen bytes")?;
    let mut config = Config::new(directory.path(), key);
    config.listen = vec!["127.0.0.1:0".parse()?];
    let service = Service::start(config).await?;

    let organisation = DEFAULT_ORGANISATION.parse()?;
    let token = service.token(Subject::Organisation(organisation), Duration::from_hours(1))?;
    writeln!(
        stdout(),
        "{:?} takes the token {token}",
        service.addresses()
    )?;

    let log = service.log();
    let mut tail = log.tail(log.end());
    let application = log
        .create_application(NewApplication {
            uid: Some("demo".parse()?),
            ..NewApplication::new(organisation, "Demo")
        })
        .await?;
    let event = Event::new(application.id, "greeting".parse()?, r#"{"hello": "world"}"#);
    log.append(vec![event]).await?;

    // The tail yields the registry and its changes too; the first records are the event.
    loop {
        if let TailItem::Records(records) = tail.next().await? {
            for record in records.iter() {
                let payload = String::from_utf8_lossy(&record.event.payload);
                writeln!(stdout(), "{} {} {payload}", record.offset, record.id)?;
            }
            break;
        }
    }
    service.stop().await?;
    Ok(())
}
