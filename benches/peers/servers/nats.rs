//! NATS JetStream: how it is started, and how a durable pull consumer reads a stream and acks.
//!
//! **Invariant:** each event is acked on its own; the last ack of what was read at a time asks for an
//! answer, and when that came, those before it are acked, too, since a consumer's acks are taken in
//! their order. At the end the server is asked whether any is missing.
//! **Next:** `protocol.rs`, how events are published.

use std::collections::VecDeque;
use std::io::{Error, Read, Result, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::ledger::Ledger;
use crate::process::{Running, connect, free, start};
use crate::protocol::{Protocol, STREAM};
use crate::stamp;
use crate::wire::{BATCH_BYTES, find, line, more, shown};

const CONSUMER: &str = "bench";
/// Nanoseconds after which a pull that did not get all it asked for ends.
const EXPIRES: u64 = 5_000_000_000;
/// Subscriptions of a consumer's connection: answers to acks, and what was pulled.
const SUBSCRIBE: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n\
                         SUB acked 1\r\nSUB pulled 2\r\n";

pub fn serve(program: &Path, directory: &Path, sync: &str) -> Result<Running> {
    let address = free()?;
    let store = directory.join("store");
    let config = format!(
        "listen: \"{address}\"\nlog_file: \"{}\"\njetstream {{\n store_dir: \"{}\"\n {sync}\n}}\n",
        directory.join("log").display(),
        store.display()
    );
    let file = directory.join("nats.conf");
    std::fs::write(&file, config)?;
    let process = start(Command::new(program).arg("-c").arg(&file), directory)?;
    let running = Running::new(process, address, Protocol::Nats);
    let stream = json!({
        "name": STREAM, "subjects": [STREAM], "storage": "file", "retention": "limits", "num_replicas": 1,
    });
    ask(address, &format!("STREAM.CREATE.{STREAM}"), &stream)?;
    Ok(running)
}

/// Makes the consumer, before the first event is published.
pub fn consumer(address: SocketAddr) -> Result<()> {
    let config =
        json!({"durable_name": CONSUMER, "ack_policy": "explicit", "deliver_policy": "all"});
    let new = json!({"stream_name": STREAM, "config": config});
    let what = format!("CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}");
    ask(address, &what, &new).map(drop)
}

/// Whether the server, too, says that everything is acked.
pub fn verify(address: SocketAddr) -> Result<()> {
    let what = format!("CONSUMER.INFO.{STREAM}.{CONSUMER}");
    let info = ask(address, &what, &Value::Null)?;
    match (
        info["num_pending"].as_u64(),
        info["num_ack_pending"].as_u64(),
    ) {
        (Some(0), Some(0)) => Ok(()),
        _ => Err(Error::other(format!("not all is acked: {info}"))),
    }
}

/// One request of JetStream's API.
fn ask(address: SocketAddr, what: &str, body: &Value) -> Result<Value> {
    let mut stream = connect(address)?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let hello = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB made 1\r\n";
    let length = body.len();
    write!(
        stream,
        "{hello}PUB $JS.API.{what} made {length}\r\n{body}\r\n"
    )?;
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    let answer: Value = loop {
        match stream.read(&mut piece)? {
            0 => return Err(Error::other("NATS closed the connection")),
            count => read.extend_from_slice(&piece[..count]),
        }
        if let Some(at) = find(&read, b"\r\nMSG made")
            && let Some((Frame::Answer(answer), _)) = frame(&read[at + 2..])?
        {
            break serde_json::from_slice(answer)?;
        }
    };
    if answer["error"].is_null() {
        Ok(answer)
    } else {
        Err(Error::other(format!("{what}: {}", answer["error"])))
    }
}

/// Pulls and acks as the only client of the consumer, with the next pull sent when half of the last one
/// has come.
pub async fn consume(address: SocketAddr, batch: u16, ledger: Arc<Ledger>) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let batch = usize::from(batch);
    let pull = json!({"batch": batch, "expires": EXPIRES}).to_string();
    let length = pull.len();
    let pull =
        format!("PUB $JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER} pulled {length}\r\n{pull}\r\n");
    let (mut read, mut out) = (
        Vec::with_capacity(BATCH_BYTES),
        SUBSCRIBE.as_bytes().to_vec(),
    );
    // What was asked for and has not come; what was acked and is not answered.
    let (mut due, mut unanswered) = (0_usize, VecDeque::new());
    loop {
        if due <= batch / 2 {
            out.extend_from_slice(pull.as_bytes());
            due += batch;
        }
        stream.write_all(&out).await?;
        out.clear();
        more(&mut stream, &mut read).await?;
        let now = Instant::now();
        let (mut taken, mut stamps, mut last) = (0, Vec::new(), None);
        while let Some((frame, length)) = frame(&read[taken..])? {
            taken += length;
            match frame {
                Frame::Ping => out.extend_from_slice(b"PONG\r\n"),
                Frame::Aside => {}
                Frame::Answer(_) => {
                    let (stamps, since): (Vec<u64>, Instant) = unanswered
                        .pop_front()
                        .ok_or_else(|| Error::other("an answer to no ack"))?;
                    ledger.acked(&stamps, since);
                }
                Frame::Ended(missing) => due = due.saturating_sub(missing),
                Frame::Event(subject, payload) => {
                    due = due.saturating_sub(1);
                    let strange = || Error::other(format!("no event: {}", shown(payload)));
                    stamps.push(stamp::read(payload).ok_or_else(strange)?);
                    if let Some(subject) = last.replace(subject) {
                        ack(&mut out, subject, "");
                    }
                }
            }
        }
        if let Some(subject) = last {
            ack(&mut out, subject, "acked ");
            unanswered.push_back((stamps, now));
        }
        read.drain(..taken);
    }
}

fn ack(out: &mut Vec<u8>, subject: &str, reply: &str) {
    // Writing to memory does not fail.
    let _ = write!(out, "PUB {subject} {reply}4\r\n+ACK\r\n");
}

/// What comes on a connection that pulls.
#[derive(Debug, PartialEq, Eq)]
enum Frame<'a> {
    Ping,
    /// Nothing that matters.
    Aside,
    /// To an ack, or of the API.
    Answer(&'a [u8]),
    /// Where its ack goes, and its payload.
    Event(&'a str, &'a [u8]),
    /// A pull is over; so many events that it asked for did not come.
    Ended(usize),
}

/// The first one with its length, if all of it has come.
fn frame(read: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let Some(line) = line(read) else {
        return Ok(None);
    };
    let wrong = || Error::other(format!("refused: {}", shown(read)));
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let start = line.len() + 2;
    // MSG subject sid [reply] bytes; HMSG subject sid [reply] bytes-of-the-head bytes.
    let (sid, reply, head, bytes) = match words.as_slice() {
        ["PING"] => return Ok(Some((Frame::Ping, start))),
        ["INFO", ..] | ["PONG" | "+OK"] => return Ok(Some((Frame::Aside, start))),
        ["MSG", _, sid, bytes] => (*sid, None, "0", *bytes),
        ["MSG", _, sid, reply, bytes] => (*sid, Some(*reply), "0", *bytes),
        ["HMSG", _, sid, head, bytes] => (*sid, None, *head, *bytes),
        ["HMSG", _, sid, reply, head, bytes] => (*sid, Some(*reply), *head, *bytes),
        _ => return Err(wrong()),
    };
    let number = |word: &str| word.parse::<usize>().map_err(|_| wrong());
    let (head, end) = (start + number(head)?, start + number(bytes)?);
    if read.len() < end + 2 {
        return Ok(None);
    }
    let payload = read.get(head..end).ok_or_else(wrong)?;
    let frame = match (sid, reply) {
        ("1", _) if head == start => Frame::Answer(payload),
        ("2", Some(reply)) => Frame::Event(reply, payload),
        // A pull's end says what it lacks; other statuses are errors.
        ("2", None) => {
            let head = String::from_utf8_lossy(&read[start..head]);
            let lines = head.lines();
            let mut missing = lines.filter_map(|line| line.strip_prefix("Nats-Pending-Messages:"));
            Frame::Ended(number(missing.next().ok_or_else(wrong)?.trim())?)
        }
        _ => return Err(wrong()),
    };
    Ok(Some((frame, end + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        let ended = "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 2\r\n\r\n";
        let ended = format!("HMSG pulled 2 {0} {0}\r\n{ended}\r\n", ended.len());
        let gone = "HMSG pulled 2 31 31\r\nNATS/1.0 409 Consumer Deleted\r\n\r\n\r\n";
        let nobody = "HMSG acked 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        let cases = [
            ("PING\r\n", Some(Frame::Ping)),
            ("INFO {\"a\": 1} \r\n", Some(Frame::Aside)),
            ("MSG acked 1 0\r\n\r\n", Some(Frame::Answer(b""))),
            (
                "MSG events 2 $JS.ACK.a.b 2\r\n{}\r\n",
                Some(Frame::Event("$JS.ACK.a.b", b"{}")),
            ),
            (
                "HMSG events 2 $JS.ACK.a.b 4 6\r\nh\r\n\r{}\r\n",
                Some(Frame::Event("$JS.ACK.a.b", b"{}")),
            ),
            (&ended, Some(Frame::Ended(2))),
            (gone, None),
            (nobody, None),
            ("-ERR 'Unknown'\r\n", None),
        ];
        for (text, expected) in cases {
            for end in 0..line(text.as_bytes()).unwrap().len() {
                assert_eq!(frame(&text.as_bytes()[..end]).unwrap(), None);
            }
            match expected {
                Some(expected) => {
                    let found = frame(text.as_bytes()).unwrap();
                    assert_eq!(found, Some((expected, text.len())), "{text:?}");
                }
                None => assert!(frame(text.as_bytes()).is_err(), "{text:?}"),
            }
        }
        assert_eq!(frame(b"MSG events 2 r 2\r\n{}\r").unwrap(), None);
    }

    #[test]
    fn the_last_ack_asks_for_an_answer() {
        let mut out = Vec::new();
        ack(&mut out, "$JS.ACK.1", "");
        ack(&mut out, "$JS.ACK.2", "acked ");
        let expected = "PUB $JS.ACK.1 4\r\n+ACK\r\nPUB $JS.ACK.2 acked 4\r\n+ACK\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
