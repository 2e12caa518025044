//! Signed webhooks without the HTTP server: log and dispatcher in a program of your own.
//!
//! `cargo run --no-default-features --features dispatcher --example push`
//!
//! **Invariant:** the receiver, which is part of the example, verifies the signature of what it gets.
//! **Next:** `embed.rs`, which serves the HTTP API beside.

use std::collections::HashMap;
use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::SystemTime;

use hooklog::signature::{Headers, Secret, TOLERANCE, verify};
use hooklog::storage::{Event, Filter, Timestamp};
use hooklog::{Hooklog, dispatcher};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let receiver = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", receiver.local_addr()?);

    let hooklog = Hooklog::open(directory.path())?;
    hooklog
        .start_dispatcher(dispatcher::Config {
            // Only public networks are sent to unless they are named here.
            allow_networks: vec!["127.0.0.0/8".parse()?],
            ..dispatcher::Config::default()
        })
        .await?;
    let shop = hooklog.application("shop").await?;
    let subscription = hooklog
        .create_endpoint(shop.id, &url, Filter::default())
        .await?;
    let payload = r#"{"amount": 700}"#;
    hooklog
        .publish(Event::new(shop.id, "invoice.paid".parse()?, payload))
        .await?;

    let (headers, body) = receive(&receiver).await?;
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let secret = Secret::from_bytes(subscription.endpoint.secret.as_bytes())?;
    let now = now();
    let signed = Headers {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    verify(&[secret], &signed, &body, now.as_secs(), TOLERANCE)?;
    assert_eq!(body, payload.as_bytes());
    writeln!(stdout(), "verified {} of {} B", signed.id, body.len())?;

    // Records what became of the deliveries, then closes the log.
    hooklog.close().await?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a receiver has a clock")]
fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Takes one request and answers it with 204: just enough HTTP for an example.
async fn receive(
    listener: &TcpListener,
) -> Result<(HashMap<String, String>, Vec<u8>), Box<dyn Error>> {
    let (stream, _) = listener.accept().await?;
    let mut stream = BufReader::new(stream);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").ok_or("no content-length")?;
    let mut body = vec![0; length.parse()?];
    stream.read_exact(&mut body).await?;
    stream
        .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        .await?;
    stream.shutdown().await?;
    Ok((headers, body))
}
