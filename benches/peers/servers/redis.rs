//! Redis: how it is started, and how a group of one consumer reads a stream and acks.
//!
//! **Invariant:** an event is acked when the answer to its XACK came, which must count as many as were
//! read; the next read is sent along with it.
//! **Next:** `nats.rs`.

use std::io::{Error, Result, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::ledger::Ledger;
use crate::process::{Running, connect, free, start};
use crate::protocol::{Protocol, STREAM};
use crate::stamp;
use crate::wire::{BATCH_BYTES, line, more, shown};

const GROUP: &str = "bench";
/// Milliseconds that a read waits for something new.
const BLOCK: &str = "1000";

pub fn serve(program: &Path, directory: &Path, sync: &str) -> Result<Running> {
    let address = free()?;
    let port = address.port().to_string();
    let mut command = Command::new(program);
    command
        .args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .arg(directory);
    command.args([
        "--appendonly",
        "yes",
        "--appendfsync",
        sync,
        "--logfile",
        "log",
    ]);
    let running = Running::new(start(&mut command, directory)?, address, Protocol::Redis);
    connect(address)?;
    Ok(running)
}

/// Makes the group and what a consumer begins with, before the first event is published.
pub async fn group(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let create = command(["XGROUP", "CREATE", STREAM, GROUP, "$", "MKSTREAM"]);
    stream.write_all(&create).await?;
    match next(&mut stream, &mut Vec::new(), |reply| {
        Ok(*reply == Value::Text(b"OK"))
    })
    .await?
    {
        true => Ok(stream),
        false => Err(Error::other("no group could be made")),
    }
}

/// Reads and acks as the only consumer of the group.
pub async fn consume(mut stream: TcpStream, batch: u16, ledger: Arc<Ledger>) -> Result<()> {
    let count = batch.to_string();
    let ask = command([
        "XREADGROUP",
        "GROUP",
        GROUP,
        "one",
        "COUNT",
        &count,
        "BLOCK",
        BLOCK,
        "STREAMS",
        STREAM,
        ">",
    ]);
    let mut read = Vec::with_capacity(BATCH_BYTES);
    stream.write_all(&ask).await?;
    loop {
        let (ids, stamps) = next(&mut stream, &mut read, entries).await?;
        let since = Instant::now();
        let mut request = Vec::new();
        if !ids.is_empty() {
            let words = ["XACK", STREAM, GROUP].into_iter();
            request = command(
                words
                    .chain(ids.iter().map(String::as_str))
                    .collect::<Vec<_>>(),
            );
        }
        request.extend_from_slice(&ask);
        stream.write_all(&request).await?;
        if !ids.is_empty() {
            let acked = next(&mut stream, &mut read, |reply| Ok(reply.number())).await?;
            if acked.and_then(|acked| usize::try_from(acked).ok()) != Some(ids.len()) {
                let wanted = ids.len();
                return Err(Error::other(format!("XACK of {wanted} events: {acked:?}")));
            }
            ledger.acked(&stamps, since);
        }
    }
}

fn command<'a>(words: impl AsRef<[&'a str]>) -> Vec<u8> {
    let words = words.as_ref();
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        // Writing to memory does not fail.
        let _ = write!(request, "${}\r\n{word}\r\n", word.len());
    }
    request
}

/// What is wanted of the next reply.
async fn next<T>(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    wanted: impl Fn(&Value<'_>) -> Result<T>,
) -> Result<T> {
    loop {
        if let Some((value, length)) = Value::parse(read)? {
            let wanted = wanted(&value)?;
            read.drain(..length);
            return Ok(wanted);
        }
        more(stream, read).await?;
    }
}

/// A reply.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Nil,
    Number(i64),
    Text(&'a [u8]),
    List(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    /// The first one with its length, if all of it has come.
    fn parse(read: &'a [u8]) -> Result<Option<(Self, usize)>> {
        let Some(line) = line(read) else {
            return Ok(None);
        };
        let wrong = || Error::other(format!("refused: {}", shown(line.as_bytes())));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(wrong)?;
        let start = line.len() + 2;
        let number = || rest.parse::<i64>().map_err(|_| wrong());
        Ok(match kind {
            "+" => Some((Self::Text(rest.as_bytes()), start)),
            ":" => Some((Self::Number(number()?), start)),
            "$" | "*" if number()? < 0 => Some((Self::Nil, start)),
            "$" => {
                let end = start + usize::try_from(number()?).map_err(Error::other)?;
                let text = read.get(start..end).filter(|_| read.len() >= end + 2);
                text.map(|text| (Self::Text(text), end + 2))
            }
            "*" => {
                let (mut list, mut end) = (Vec::new(), start);
                for _ in 0..number()? {
                    let Some((value, length)) = Self::parse(&read[end..])? else {
                        return Ok(None);
                    };
                    list.push(value);
                    end += length;
                }
                Some((Self::List(list), end))
            }
            _ => return Err(wrong()),
        })
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }
}

/// Ids and stamps of what XREADGROUP brought: nothing, or one stream with its entries.
fn entries(reply: &Value<'_>) -> Result<(Vec<String>, Vec<u64>)> {
    let mut found = (Vec::new(), Vec::new());
    if *reply == Value::Nil {
        return Ok(found);
    }
    let strange = || {
        Error::other(format!(
            "no entries: {}",
            shown(format!("{reply:?}").as_bytes())
        ))
    };
    let [Value::List(stream)] = reply.list().ok_or_else(strange)? else {
        return Err(strange());
    };
    let [_, Value::List(entries)] = stream.as_slice() else {
        return Err(strange());
    };
    for entry in entries {
        let Some([Value::Text(id), Value::List(fields)]) = entry.list() else {
            return Err(strange());
        };
        let [_, Value::Text(payload)] = fields.as_slice() else {
            return Err(strange());
        };
        found.0.push(String::from_utf8_lossy(id).into_owned());
        found.1.push(stamp::read(payload).ok_or_else(strange)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_when_they_are_whole() {
        let payload = "{\"n\":\"000000000000000a\"}";
        let length = payload.len();
        let text = format!(
            "*1\r\n*2\r\n$6\r\nevents\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\np\r\n${length}\r\n{payload}\r\n"
        );
        for end in 0..text.len() {
            assert_eq!(Value::parse(&text.as_bytes()[..end]).unwrap(), None);
        }
        let (reply, length) = Value::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        assert_eq!(entries(&reply).unwrap(), (vec!["1-0".to_owned()], vec![10]));

        let (reply, length) = Value::parse(b"*-1\r\n:3\r\n").unwrap().unwrap();
        assert_eq!(
            (entries(&reply).unwrap(), length),
            ((Vec::new(), Vec::new()), 5)
        );
        let (reply, length) = Value::parse(b":3\r\n").unwrap().unwrap();
        assert_eq!((reply.number(), length), (Some(3), 4));
        assert!(entries(&reply).is_err());
        assert!(Value::parse(b"-NOGROUP\r\n").is_err());
    }

    #[test]
    fn a_command_is_a_list_of_words() {
        let expected = b"*2\r\n$4\r\nXACK\r\n$1\r\na\r\n";
        assert_eq!(command(["XACK", "a"]), expected);
    }
}
