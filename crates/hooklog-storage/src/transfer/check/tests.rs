use super::*;
use crate::engine::{Op, Sizes};
use crate::keys;
use crate::log::tests::{config, open};
use crate::recovery::open_patiently;
use crate::testing::{copy_directory, files};
use crate::transfer::testing::fill;
use crate::{Config, EventLog};
use tempfile::TempDir;

struct Fixture {
    directory: TempDir,
    log: PathBuf,
}

/// A closed log, all of it in the database.
async fn fixture() -> Fixture {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    fill(&log, 1, 150).await;
    fill(&log, 2, 150).await;
    log.close().unwrap();
    drop(log);
    let log = directory.path().join("log");
    Fixture { directory, log }
}

impl Fixture {
    fn check(&self, directory: &Path) -> CheckReport {
        let scratch = self.directory.path().join("scratch");
        let before: Vec<_> = files(directory)
            .iter()
            .map(|f| fs::read(f).unwrap())
            .collect();
        let report = check(directory, &scratch, |_| {}).unwrap();
        let after: Vec<_> = files(directory)
            .iter()
            .map(|f| fs::read(f).unwrap())
            .collect();
        assert!(before == after, "checking writes nothing");
        assert!(!scratch.exists());
        report
    }

    /// A copy in which rows were changed behind the log's back.
    fn changed(&self, name: &str, change: impl FnOnce(&Engine) -> Vec<Op>) -> CheckReport {
        let copy = copy_directory(&self.log, &self.directory.path().join(name));
        let engine = open_patiently(&copy.join("sled"), Sizes::STANDARD).unwrap();
        let ops = change(&engine);
        engine.commit(&ops).unwrap();
        engine.barrier().unwrap();
        drop(engine);
        self.check(&copy)
    }
}

fn rows_of(engine: &Engine, family: Family) -> Vec<crate::transfer::rows::Row> {
    let all = Window {
        events: 0..u64::MAX,
        attempts: 0..u64::MAX,
    };
    let mut rows = Rows::new([family], all);
    let mut found = Vec::new();
    while let Some(page) = rows.next(engine).unwrap() {
        found.extend(page);
    }
    found
}

#[tokio::test]
async fn a_good_log_has_no_problem_open_or_closed() {
    let fixture = fixture().await;
    let report = fixture.check(&fixture.log);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!(report.events.readable, [(0, 302)]);
    assert_eq!(report.attempts.readable, [(0, 300)]);
    assert!(report.rows > 4 && report.events.batches > 4);
    // As a kill -9 leaves it: the last events are in the journal alone.
    let log = EventLog::open(Config {
        barrier_interval: std::time::Duration::from_hours(1),
        ..config(&fixture.directory)
    })
    .unwrap();
    log.append(vec![crate::log::tests::event(1, "last")])
        .await
        .unwrap();
    let copy = copy_directory(&fixture.log, &fixture.directory.path().join("killed"));
    let report = fixture.check(&copy);
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!(report.journal_events, Some((302, 303)));
    let in_use = check(&fixture.log, &fixture.directory.path().join("s"), |_| {});
    assert!(matches!(
        in_use,
        Err(CheckError::Directory(DirectoryError::InUse { .. }))
    ));
    let nothing = fixture.directory.path().join("nothing");
    let found = check(&nothing, &fixture.directory.path().join("s"), |_| {});
    assert!(matches!(found, Err(CheckError::NoLog { .. })));
}

/// Each kind of row is missed, and each that is too many is found.
#[tokio::test]
async fn rows_that_are_missing_changed_or_too_many_are_named() {
    let fixture = fixture().await;
    for (family, name) in Family::ALL {
        let removed = fixture.changed(&format!("{name}-removed"), |engine| {
            let rows = rows_of(engine, family);
            let row = rows[rows.len() / 2].clone();
            vec![Op {
                family,
                key: row.key,
                value: None,
            }]
        });
        assert!(!removed.is_good(), "{name} removed");
        let changed = fixture.changed(&format!("{name}-changed"), |engine| {
            let rows = rows_of(engine, family);
            let row = rows[rows.len() / 2].clone();
            let mut value = row.value.to_vec();
            let last = value.len() - 1;
            value[last] ^= 1;
            vec![Op {
                family,
                key: row.key,
                value: Some(value),
            }]
        });
        assert!(!changed.is_good(), "{name} changed");
    }
    let beyond = fixture.changed("beyond", |engine| {
        let row = &rows_of(engine, Family::Cursor)[0];
        let mut cursor: crate::Cursor = crate::codec::decode(&row.value).unwrap();
        cursor.floor = Offset::new(10_000);
        vec![Op {
            family: Family::Cursor,
            key: row.key.clone(),
            value: Some(crate::codec::encode(&cursor).unwrap()),
        }]
    });
    let is_told = |p: &Problem| p.place == "cursor" && p.position == Some(10_000);
    assert!(beyond.problems.iter().any(is_told), "{beyond:?}");
    let orphan = fixture.changed("orphan", |_| {
        let op = |family, key| Op {
            family,
            key,
            value: Some(vec![0, 0]),
        };
        vec![
            op(Family::AppLog, keys::owned(&[9; 20], 3)),
            op(Family::AttemptBySubscription, keys::owned(&[9; 20], 2)),
        ]
    });
    let places: Vec<_> = orphan
        .problems
        .iter()
        .map(|p| (p.place.as_str(), p.position))
        .collect();
    assert_eq!(
        places,
        [("app_log", Some(3)), ("attempt_by_subscription", Some(2))]
    );
}

/// Every byte of the indexes of keys that an answer rests on, and each of their files.
#[tokio::test]
async fn damage_to_keys_names_the_file_and_the_first_bad_byte() {
    let fixture = fixture().await;
    let sound = fixture.check(&fixture.log);
    assert!(sound.key_runs > 0 && sound.keys > 100, "{sound:?}");
    let run = "keys/uids/run-0.keys";
    let length = fs::metadata(fixture.log.join(run)).unwrap().len();
    // The header, the first line of the filter, the first and the last block.
    let (filter, first, last) = (4096, 8192, length - 4096);
    let mut damages = vec![
        ("keys/SECRET", 40, 0),
        ("keys/uids/RUNS", 20, 0),
        ("keys/requests/RUNS", 20, 0),
        (run, 10, 0),
        (run, filter + 5, filter),
        (run, first + 100, first),
        (run, last + 100, last),
    ];
    damages.dedup();
    for (at, (file, byte, bad)) in damages.into_iter().enumerate() {
        let copy = copy_directory(&fixture.log, &fixture.directory.path().join(at.to_string()));
        let mut bytes = fs::read(copy.join(file)).unwrap();
        bytes[usize::try_from(byte).unwrap()] ^= 1;
        fs::write(copy.join(file), bytes).unwrap();
        let report = fixture.check(&copy);
        let found: Vec<_> = report
            .problems
            .iter()
            .map(|problem| (problem.place.as_str(), problem.position))
            .collect();
        assert_eq!(found, [(file, Some(bad))], "byte {byte}: {report:?}");
        assert!(report.only_keys_are_bad() && report.problems[0].what.contains("remove"));
        // A repair makes them from the log.
        let mended = fixture.directory.path().join(format!("{at}-mended"));
        let config = Config {
            directory: mended.clone(),
            ..config(&fixture.directory)
        };
        crate::repair(&copy, &config, |_| {}).unwrap();
        let report = fixture.check(&mended);
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.keys, sound.keys);
    }
    let copy = copy_directory(&fixture.log, &fixture.directory.path().join("gone"));
    fs::remove_file(copy.join(run)).unwrap();
    let report = fixture.check(&copy);
    assert_eq!(report.problems[0].place, run, "{report:?}");
    // Without any, they are made at open.
    fs::remove_dir_all(copy.join("keys")).unwrap();
    let report = fixture.check(&copy);
    assert!(report.is_good() && report.keys == 0, "{report:?}");
}

#[tokio::test]
async fn the_first_bad_offset_and_what_is_readable_are_named() {
    let fixture = fixture().await;
    let mut gone = (0, 0);
    let report = fixture.changed("hole", |engine| {
        let bases: Vec<_> = rows_of(engine, Family::Log)
            .iter()
            .filter_map(|row| keys::batch_base(&row.key))
            .collect();
        gone = (bases[2], bases[3]);
        vec![Op {
            family: Family::Log,
            key: keys::batch(bases[2], 0),
            value: None,
        }]
    });
    assert_eq!(report.events.first_bad, Some(gone.0));
    assert_eq!(report.events.readable, [(0, gone.0), (gone.1, 302)]);
    assert_eq!(report.attempts.first_bad, None);

    let copy = copy_directory(&fixture.log, &fixture.directory.path().join("closed"));
    fs::write(copy.join("sled/conf"), b"not what it was").unwrap();
    fs::write(copy.join("MANIFEST"), b"x").unwrap();
    let report = fixture.check(&copy);
    let places: Vec<_> = report.problems.iter().map(|p| p.place.as_str()).collect();
    assert_eq!(places, ["MANIFEST", "sled"]);
    assert!(report.events.readable.len() <= 3, "{report:?}");
    assert_eq!(report.events.first, 0);
}
