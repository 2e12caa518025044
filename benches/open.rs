//! How long the log takes to open after kill -9:
//! `cargo bench --bench open -- [events] [bytes] [applications]`.
//!
//! The program runs itself as a child that appends, and that is killed in the middle.
//!
//! **Invariant:** the child is killed by a signal, never asked to stop; page cache stays warm.
//! **Next:** `README.md` beside this file, for the results.
#![expect(clippy::print_stdout, reason = "a benchmark speaks to its terminal")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use hooklog::storage::{ApplicationId, Config, Event, EventLog};

/// Events of one append.
const BATCH: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if let [mode, directory, events, bytes, applications] = arguments.as_slice()
        && mode == "--append"
    {
        let (events, bytes) = (events.parse()?, bytes.parse()?);
        return append(Path::new(directory), events, bytes, applications.parse()?);
    }
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let number = |at: usize, default: usize| {
        arguments
            .get(at)
            .map_or(Ok(default), |text| text.parse::<usize>())
    };
    let (events, bytes) = (number(0, 10_000_000)?, number(1, 256)?);
    // Interleaved at random: each batch then has events of all of them, which no index likes.
    let applications = number(2, 10)?;
    let directory = tempfile::TempDir::new()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--append", &directory.path().display().to_string()])
        .args([events, bytes, applications].map(|number| number.to_string()))
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    let started = Instant::now();
    for line in BufReader::new(stdout).lines() {
        if line? == "full" {
            child.kill()?;
        }
    }
    child.wait()?;
    println!(
        "{events} events of {bytes} B in {applications} applications appended in {:.1} s, then kill -9",
        started.elapsed().as_secs_f64()
    );
    for round in ["after kill -9", "again, closed in order"] {
        let started = Instant::now();
        let log = EventLog::open(Config::new(directory.path().join("log")))?;
        println!(
            "open {round}: {:.2} s, {} events",
            started.elapsed().as_secs_f64(),
            log.end()
        );
        log.close()?;
        drop(log);
    }
    Ok(())
}

/// Appends, says so, and goes on until it is killed.
fn append(
    directory: &Path,
    events: usize,
    bytes: usize,
    applications: u8,
) -> Result<(), Box<dyn Error>> {
    let log = EventLog::open(Config::new(directory.join("log")))?;
    let mut rng = fastrand::Rng::with_seed(7);
    let mut appended = 0;
    loop {
        let batch = (0..BATCH).map(|_| {
            // Hexadecimal digits: half of each byte is random, like ids and digests in JSON.
            let payload: Vec<u8> = (0..bytes)
                .map(|_| {
                    char::from_digit(rng.u32(0..16), 16)
                        .map_or(b'0', |digit| u8::try_from(digit).unwrap_or(b'0'))
                })
                .collect();
            Event {
                application: ApplicationId::from_bytes([rng.u8(0..applications); 20]),
                event_type: "bench.event".parse().unwrap_or_else(|_| unreachable!()),
                channels: Vec::new(),
                uid: None,
                idempotency: None,
                content_type: "application/json".to_owned(),
                payload: payload.into(),
                tags: Vec::new(),
                ordering_key: None,
                headers: Vec::new(),
                only: None,
                deliver_at: None,
            }
        });
        log.append_blocking(batch.collect())?;
        appended += BATCH;
        if appended >= events && appended < events + BATCH {
            println!("full");
        }
    }
}
