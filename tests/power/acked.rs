//! What the program said that it had been acked, and what a recovered log must hold of it.
//!
//! **Invariant:** an event is made of its nonce and length alone, so that the checker knows each byte
//! of what was acked without having been sent it.
//! **Next:** `program.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use hooklog::storage::{
    Appended, ApplicationId, Config, Event, EventId, EventLog, IdempotencyKey, Limit, Offset,
    Order, Record, SubscriptionId,
};

/// One line of the program: what is certain once it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    Event {
        id: EventId,
        application: ApplicationId,
        nonce: u64,
        length: usize,
    },
    Application(ApplicationId),
    /// Created, or changed to this version.
    Subscription(SubscriptionId, u64),
    Deleted(SubscriptionId),
    /// About to be recorded: a retry of the event at this offset, then a cursor behind it.
    Parked(SubscriptionId, Offset),
}

impl fmt::Display for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event {
                id,
                application,
                nonce,
                length,
            } => write!(f, "event {id} {application} {nonce} {length}"),
            Self::Application(id) => write!(f, "application {id}"),
            Self::Subscription(id, version) => write!(f, "subscription {id} {version}"),
            Self::Deleted(id) => write!(f, "deleted {id}"),
            Self::Parked(id, offset) => write!(f, "parked {id} {offset}"),
        }
    }
}

impl FromStr for Acked {
    type Err = ();

    /// Fails on what the test harness of the program prints.
    fn from_str(line: &str) -> Result<Self, ()> {
        fn field<T: FromStr>(text: &str) -> Result<T, ()> {
            text.parse().map_err(drop)
        }
        let words: Vec<&str> = line.split(' ').collect();
        Ok(match words[..] {
            ["event", id, application, nonce, length] => Self::Event {
                id: field(id)?,
                application: field(application)?,
                nonce: field(nonce)?,
                length: field(length)?,
            },
            ["application", id] => Self::Application(field(id)?),
            ["subscription", id, version] => Self::Subscription(field(id)?, field(version)?),
            ["deleted", id] => Self::Deleted(field(id)?),
            ["parked", id, offset] => Self::Parked(field(id)?, Offset::new(field(offset)?)),
            _ => return Err(()),
        })
    }
}

/// The event of a nonce.
pub(super) fn event(application: ApplicationId, nonce: u64, length: usize) -> Event {
    let payload = if nonce.is_multiple_of(2) {
        let words = format!("{nonce} ").into_bytes();
        words.into_iter().cycle().take(length).collect()
    } else {
        // What no compression shrinks.
        let mut bytes = vec![0; length];
        fastrand::Rng::with_seed(nonce).fill(&mut bytes);
        bytes
    };
    let uid = nonce.is_multiple_of(3).then(|| uid(nonce).parse().unwrap());
    let (keyed, key) = (nonce.is_multiple_of(4), nonce.to_string());
    let channels = if nonce.is_multiple_of(5) {
        vec!["five".parse().unwrap()]
    } else {
        Vec::new()
    };
    Event {
        application,
        event_type: "power.cut".parse().unwrap(),
        channels,
        uid,
        idempotency: keyed.then(|| IdempotencyKey::new(&[application.as_bytes()], &key, b"")),
        content_type: "application/octet-stream".to_owned(),
        payload: payload.into(),
        tags: Vec::new(),
        ordering_key: None,
        headers: Vec::new(),
        only: None,
        deliver_at: None,
    }
}

fn uid(nonce: u64) -> String {
    format!("uid-{nonce}")
}

/// Small segments and a small backlog, so that both rotate all the time.
pub(super) fn config(directory: PathBuf) -> Config {
    let config = Config {
        journal_segment_bytes: 1 << 20,
        unapplied_bytes_max: 2 << 20,
        tail_bytes_max: 1 << 20,
        barrier_interval: Duration::from_millis(20),
        extent_bytes: 256 << 10,
        inline_bytes_max: 512,
        ..Config::new(directory)
    };
    let payload_bytes_max = config.payload_bytes_limit();
    Config {
        payload_bytes_max,
        ..config
    }
}

/// Events that retention leaves in the log; the rest expires while the program writes.
const KEPT: u64 = 700;

/// The same for the program, whose old events expire all the time.
pub(super) fn expiring(directory: PathBuf) -> Config {
    let mut config = config(directory);
    config.retention.events.count = Some(KEPT);
    config.retention.attempts.count = Some(KEPT / 10);
    config
}

/// What was found, for the summary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) events: usize,
}

/// Opens a copy of the disk and holds it to everything that was acked.
pub(super) fn check(directory: &Path, acked: &[Acked]) -> Result<Found, String> {
    let log = EventLog::open(config(directory.to_path_buf())).map_err(|error| error.to_string())?;
    let events = check_events(&log, acked)?;
    check_registry(&log, acked)?;
    check_progress(&log, acked)?;
    // It is a log that goes on, not a museum.
    let next = event(ApplicationId::from_bytes([9; 20]), 1, 1000);
    log.append_blocking(vec![next])
        .map_err(|error| format!("the next append: {error}"))?;
    let (low, end) = (log.low().events.get(), log.end().get());
    if end != low + events as u64 + 1 {
        return Err(format!(
            "the next event made the end {end}, with {events} from {low} on before it"
        ));
    }
    if low > 0 && low + KEPT > end - 1 {
        return Err(format!("only {events} events are left, from {low} on"));
    }
    log.close().map_err(|error| format!("close: {error}"))?;
    Ok(Found { events })
}

/// Events read at a time.
const SOME: Limit = Limit {
    items: 500,
    bytes: 4 << 20,
};
/// Events that are looked up one by one.
const LOOKED_UP: usize = 40;

fn check_events(log: &EventLog, acked: &[Acked]) -> Result<usize, String> {
    let mut expected = BTreeMap::new();
    let mut by_application: BTreeMap<ApplicationId, usize> = BTreeMap::new();
    for line in acked {
        if let Acked::Event {
            id,
            application,
            nonce,
            length,
        } = line
        {
            expected.insert(id.offset(), (*id, *application, *nonce, *length));
        }
    }
    let low = log.low().events;
    let mut next = low;
    expected.retain(|offset, _| *offset >= low);
    let mut missing = expected.clone();
    while next < log.end() {
        let records = log
            .read(next, SOME)
            .map_err(|error| format!("read at {next}: {error}"))?;
        if records.is_empty() {
            return Err(format!("nothing at {next}, below the end {}", log.end()));
        }
        for record in records {
            if record.offset != next || record.id.offset() != next {
                return Err(format!(
                    "{} ({}) in the place of {next}",
                    record.offset, record.id
                ));
            }
            if let Some((id, application, nonce, length)) = missing.remove(&next)
                && (record.id != id || record.event != event(application, nonce, length))
            {
                return Err(format!("the event at {next} is not {id} as it was acked"));
            }
            *by_application.entry(record.event.application).or_default() += 1;
            next = next.next();
        }
    }
    if let Some((offset, (id, ..))) = missing.first_key_value() {
        let count = missing.len();
        return Err(format!(
            "{count} acked events are gone, from {id} at {offset}; the end is {next}"
        ));
    }
    look_up(log, expected.into_values())?;
    for (application, count) in by_application {
        let found = application_events(log, application)?;
        if found != count {
            return Err(format!("{application} lists {found} of its {count} events"));
        }
    }
    Ok(usize::try_from(next.since(low)).unwrap())
}

/// By id, by uid and by idempotency key.
fn look_up(
    log: &EventLog,
    events: impl Iterator<Item = (EventId, ApplicationId, u64, usize)>,
) -> Result<(), String> {
    let events: Vec<_> = events.collect();
    // The newest, and some from all over the log.
    let step = (events.len() / LOOKED_UP).max(1);
    let some = events.iter().rev().take(LOOKED_UP);
    for (id, application, nonce, length) in some.chain(events.iter().step_by(step)).copied() {
        let is = |found: Option<Record>| found.is_some_and(|record| record.id == id);
        let by_id = log.get(id).map_err(|error| format!("{id}: {error}"))?;
        if !is(by_id) {
            return Err(format!("{id} is not found by its id"));
        }
        if nonce.is_multiple_of(3) {
            let by_uid = log.find_event(application, &uid(nonce));
            if !is(by_uid.map_err(|error| format!("uid of {id}: {error}"))?) {
                return Err(format!("{id} is not found by its uid"));
            }
        }
        if nonce.is_multiple_of(4) {
            let again = log.append_blocking(vec![event(application, nonce, length)]);
            let told = again.map_err(|error| format!("key of {id}: {error}"))?;
            if !matches!(told[..], [Appended::Replayed { id: found, .. }] if found == id) {
                return Err(format!("{id} is not found by its key: {told:?}"));
            }
        }
    }
    Ok(())
}

fn application_events(log: &EventLog, application: ApplicationId) -> Result<usize, String> {
    let (mut rest, mut count) = (Offset::ZERO..log.end(), 0);
    while !rest.is_empty() {
        let page = log.read_application(application, rest, Order::Ascending, SOME);
        let page = page.map_err(|error| format!("events of {application}: {error}"))?;
        count += page.records.len();
        rest = page.rest;
    }
    Ok(count)
}

fn check_registry(log: &EventLog, acked: &[Acked]) -> Result<(), String> {
    let registry = log.registry();
    for line in acked {
        match line {
            Acked::Application(id) if registry.application(*id).is_none() => {
                return Err(format!("{id} is gone"));
            }
            Acked::Deleted(id) if registry.subscription(*id).is_some() => {
                return Err(format!("{id} is back"));
            }
            Acked::Subscription(id, version) => {
                let found = registry.subscription(*id);
                let found = found.and_then(|value| value.description.parse::<u64>().ok());
                // A subscription of version 0 is one that will be deleted.
                if *version > 0 && found.is_none_or(|found| found < *version) {
                    return Err(format!("{id} has version {found:?}, not {version}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Progress may be lost, but not in the middle: a cursor never passes an event that is neither
/// settled nor parked, nor one that is not there.
fn check_progress(log: &EventLog, acked: &[Acked]) -> Result<(), String> {
    let state = log
        .delivery_state()
        .map_err(|error| format!("delivery state: {error}"))?;
    let mut floors = BTreeMap::new();
    for (id, cursor) in &state.cursors {
        if cursor.floor > log.end() {
            return Err(format!(
                "{id} stands at {}, past the end {}",
                cursor.floor,
                log.end()
            ));
        }
        floors.insert(*id, cursor.floor);
    }
    for line in acked {
        let Acked::Parked(id, offset) = line else {
            continue;
        };
        let passed = floors.get(id).is_some_and(|floor| floor > offset);
        let parked = state
            .retries
            .iter()
            .any(|(of, at, _)| of == id && at == offset);
        if passed && !parked {
            return Err(format!("{id} has passed {offset}, which is not parked"));
        }
    }
    Ok(())
}
