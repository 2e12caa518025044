//! The stores: how each is opened, told to be durable, and appended to.
//!
//! **Invariant:** settings are each store's own for "survives power loss"; everything else is its
//! default, and what is prepared once (statements, handles) is prepared once.
//! **Next:** `limit/file.rs` of `hooklog bench`, the limit.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use hooklog_storage::{Compression, Config, EventLog};
use redb::{Durability, TableDefinition};
use rusqlite::Connection;

use crate::events::Events;
use crate::payload::Payload;
use crate::plain::PlainFile;

/// Every store beside the plain file.
pub const NAMES: &[&str] = &["hooklog", "hooklog-none", "sqlite", "fjall", "redb"];
/// redb's table.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

/// Something that events are appended to.
pub trait Store {
    /// Appends the next `count` events and makes them durable.
    fn commit(&mut self, count: usize);
}

/// Opens a new store by its name.
pub fn open(name: &str, directory: &Path, payloads: &[Payload]) -> Box<dyn Store> {
    let feed = Feed {
        payloads: payloads.to_vec(),
        number: 0,
    };
    match name {
        "hooklog" => Box::new(Log::open(directory, payloads, Compression::Lz4)),
        "hooklog-none" => Box::new(Log::open(directory, payloads, Compression::None)),
        "sqlite" => Box::new(Sqlite::open(directory, feed)),
        "fjall" => Box::new(Fjall::open(directory, feed)),
        "redb" => Box::new(Redb::open(directory, feed)),
        _ => {
            let file = PlainFile::create(directory, payloads.iter().map(|payload| &*payload.1), true);
            Box::new(file.expect("a scratch file"))
        }
    }
}

/// What is compared.
pub fn versions() -> String {
    // Those that Cargo.lock names; the libraries do not tell.
    let lock = include_str!("Cargo.lock");
    let version = |name: &str| {
        let entry = lock.split("[[package]]").find(|entry| {
            let first = entry.trim_start().lines().next();
            first == Some(&format!("name = \"{name}\""))
        });
        let line = entry.and_then(|entry| entry.lines().find(|line| line.starts_with("version")));
        let version = line.and_then(|line| line.split('"').nth(1));
        version.unwrap_or("?").to_owned()
    };
    format!(
        "SQLite {} (rusqlite {}; WAL, synchronous=FULL), fjall {} (SyncData), redb {} (Immediate)",
        rusqlite::version(),
        version("rusqlite"),
        version("fjall"),
        version("redb")
    )
}

/// Numbered payloads in turns.
struct Feed {
    payloads: Vec<Payload>,
    number: u64,
}

impl Feed {
    fn next(&mut self) -> (u64, &[u8]) {
        let number = self.number;
        self.number += 1;
        let index = usize::try_from(number).expect("64 bits") % self.payloads.len();
        (number, &self.payloads[index].1)
    }
}

impl Store for PlainFile {
    fn commit(&mut self, count: usize) {
        PlainFile::commit(self, count).expect("a durable commit");
    }
}

struct Log {
    log: EventLog,
    events: Events,
}

impl Log {
    fn open(directory: &Path, payloads: &[Payload], compression: Compression) -> Self {
        let mut config = Config::new(directory);
        config.compression = compression;
        Self {
            log: EventLog::open(config).expect("an empty log"),
            events: Events::new(payloads, 1),
        }
    }
}

impl Store for Log {
    fn commit(&mut self, count: usize) {
        let events = self.events.take(count);
        self.log.append_blocking(events).expect("an append");
    }
}

struct Sqlite {
    connection: Connection,
    feed: Feed,
}

impl Sqlite {
    fn open(directory: &Path, feed: Feed) -> Self {
        let connection = Connection::open(directory.join("events.db")).expect("a database");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE events (number INTEGER PRIMARY KEY, payload BLOB NOT NULL);",
            )
            .expect("a table");
        Self { connection, feed }
    }
}

impl Store for Sqlite {
    fn commit(&mut self, count: usize) {
        let transaction = self.connection.transaction().expect("a transaction");
        {
            let insert = "INSERT INTO events VALUES (?1, ?2)";
            let mut insert = transaction.prepare_cached(insert).expect("a statement");
            for _ in 0..count {
                let (number, payload) = self.feed.next();
                let number = i64::try_from(number).expect("63 bits");
                insert.execute((number, payload)).expect("an insert");
            }
        }
        transaction.commit().expect("a commit");
    }
}

struct Fjall {
    database: Database,
    events: Keyspace,
    feed: Feed,
}

impl Fjall {
    fn open(directory: &Path, feed: Feed) -> Self {
        let database = Database::builder(directory).open().expect("a database");
        let events = database.keyspace("events", KeyspaceCreateOptions::default);
        Self {
            events: events.expect("a keyspace"),
            database,
            feed,
        }
    }
}

impl Store for Fjall {
    fn commit(&mut self, count: usize) {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for _ in 0..count {
            let (number, payload) = self.feed.next();
            batch.insert(&self.events, number.to_be_bytes(), payload);
        }
        batch.commit().expect("a commit");
    }
}

struct Redb {
    database: redb::Database,
    feed: Feed,
}

impl Redb {
    fn open(directory: &Path, feed: Feed) -> Self {
        let database = redb::Database::create(directory.join("events.redb"));
        Self {
            database: database.expect("a database"),
            feed,
        }
    }
}

impl Store for Redb {
    fn commit(&mut self, count: usize) {
        let mut write = self.database.begin_write().expect("a transaction");
        write
            .set_durability(Durability::Immediate)
            .expect("no savepoint");
        {
            let mut events = write.open_table(EVENTS).expect("a table");
            for _ in 0..count {
                let (number, payload) = self.feed.next();
                events.insert(number, payload).expect("an insert");
            }
        }
        write.commit().expect("a commit");
    }
}
