use std::time::{Duration, Instant};

use super::*;
use crate::config::{Compression, Keep};
use crate::engine::extents;
use crate::log::EventLog;
use crate::log::tests::{config, event, open};
use crate::transfer::testing::{contents, contents_of, fill};
use crate::{compact, repair};
use tempfile::TempDir;

struct Fixture {
    directory: TempDir,
    full: PathBuf,
    later: PathBuf,
}

async fn fixture() -> Fixture {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let save = |since, name: &str| {
        let path = directory.path().join(name);
        let pieces: Result<Vec<_>, _> = log.backup(since).unwrap().collect();
        fs::write(&path, pieces.unwrap().concat()).unwrap();
        path
    };
    fill(&log, 1, 40).await;
    let full = save(None, "full");
    fill(&log, 2, 10).await;
    let later = save(crate::backup_end(&full).ok(), "later");
    drop(log);
    Fixture {
        directory,
        full,
        later,
    }
}

impl Fixture {
    fn restore(&self, files: &[&PathBuf]) -> Result<Restored, RestoreError> {
        let files: Vec<_> = files.iter().map(|file| (*file).clone()).collect();
        restore(&self.config(), &files, |_| {})
    }

    fn config(&self) -> Config {
        Config {
            directory: self.directory.path().join("new"),
            ..config(&self.directory)
        }
    }

    fn nothing_is_left(&self) {
        assert!(!self.directory.path().join("new").exists());
        assert!(!self.directory.path().join("new.restoring").exists());
    }
}

#[tokio::test]
async fn files_out_of_order_are_refused_by_name() {
    let fixture = fixture().await;
    let (full, later) = (&fixture.full, &fixture.later);
    let cases: [(&[&PathBuf], &str); 4] = [
        (&[], "no backup"),
        (&[later], "is incremental"),
        (&[full, full], "does not go on"),
        (&[full, later, later], "does not go on"),
    ];
    for (files, reason) in cases {
        let error = fixture.restore(files).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        fixture.nothing_is_left();
    }
    fixture.restore(&[full, later]).unwrap();
    let again = fixture.restore(&[full, later]).unwrap_err();
    assert!(matches!(again, RestoreError::NotEmpty { .. }), "{again}");
}

#[tokio::test]
async fn an_unfinished_restore_is_not_mistaken_for_a_log() {
    let fixture = fixture().await;
    let left = fixture.directory.path().join("new.restoring");
    fs::create_dir(&left).unwrap();
    let error = fixture.restore(&[&fixture.full]).unwrap_err();
    assert!(matches!(error, RestoreError::Left { .. }), "{error}");
    fs::remove_dir(&left).unwrap();
    // An empty directory is taken.
    fs::create_dir(fixture.directory.path().join("new")).unwrap();
    fixture.restore(&[&fixture.full]).unwrap();
    let log = crate::EventLog::open(fixture.config()).unwrap();
    let held = contents(&log);
    drop(log);
    assert!(contents_of(fixture.config()).unwrap() == held);
}

/// Every kind of damage is found, wherever it is, and leaves nothing behind.
#[tokio::test]
async fn a_damaged_backup_is_refused_with_the_place() {
    let fixture = fixture().await;
    let good = fs::read(&fixture.full).unwrap();
    let path = fixture.directory.path().join("bad");
    let mut rng = fastrand::Rng::with_seed(7);
    let mut places: Vec<usize> = (0..40).map(|_| rng.usize(..good.len())).collect();
    places.extend([0, 4, 5, 8, 63, 64, 70, good.len() - 1, good.len() - 30]);
    for place in places {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << rng.u8(..8);
        fs::write(&path, &bytes).unwrap();
        let error = crate::inspect_backup(&path, |_| {}).unwrap_err();
        let BackupFileError::Damaged { position, .. } = error else {
            panic!("byte {place}: {error}")
        };
        assert!(position <= place as u64, "byte {place}: {position}");
    }
    for length in [0, 10, 64, 100, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        assert!(crate::inspect_backup(&path, |_| {}).is_err(), "{length}");
    }
    fs::write(&path, [good.as_slice(), b"x"].concat()).unwrap();
    assert!(crate::inspect_backup(&path, |_| {}).is_err());
    let summary = crate::inspect_backup(&fixture.full, |_| {}).unwrap();
    assert_eq!(summary.bytes, good.len() as u64);

    let mut bytes = good.clone();
    let middle = good.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = fixture.restore(&[&path]).unwrap_err();
    assert!(matches!(error, RestoreError::File(_)), "{error}");
    fixture.nothing_is_left();
}

/// Only whole files give their space back: in copies of a log that was one file they are as small as
/// the retention of the copy asks for, and go when what is in them expires.
#[test]
fn copies_lie_in_files_that_retention_can_remove() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str, bytes: Option<u64>| Config {
        directory: directory.path().join(name),
        compression: Compression::None,
        barrier_interval: Duration::from_millis(5),
        retention: Retention {
            events: Keep {
                bytes,
                ..Keep::default()
            },
            ..Retention::default()
        },
        ..config(&directory)
    };
    let old = at("log", None);
    let log = EventLog::open(old.clone()).unwrap();
    for _ in 0..100 {
        log.append_blocking(vec![event(1, vec![7; 60_000])])
            .unwrap();
    }
    let full = directory.path().join("full");
    let pieces: Result<Vec<_>, _> = log.backup(None).unwrap().collect();
    fs::write(&full, pieces.unwrap().concat()).unwrap();
    log.close().unwrap();
    drop(log);
    let files = |config: &Config| extents::files(&config.directory.join("sled")).unwrap();
    let bytes = |config: &Config| {
        let files = files(config).into_iter();
        files
            .map(|file| file.metadata().map_or(0, |file| file.len()))
            .sum::<u64>()
    };
    assert_eq!(files(&old).len(), 1);

    let most = 2 << 20;
    let (restored, repaired) = (at("restored", Some(most)), at("repaired", Some(most)));
    restore(&restored, &[full], |_| {}).unwrap();
    repair(&old.directory, &repaired, |_| {}).unwrap();
    let compacted = at("log", Some(most));
    compact(compacted.clone(), |_| {}).unwrap();
    for copy in [restored, repaired, compacted] {
        let name = copy.directory.display().to_string();
        // The smallest that files get, however little is kept, is 1 MiB; batches have one event or two.
        let count = files(&copy).len();
        assert!((6..=7).contains(&count), "{name}: {count} files");
        assert!(bytes(&copy) > 6_000_000, "{name}: nothing has expired yet");
        let log = EventLog::open(copy.clone()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while bytes(&copy) > most + (1 << 20) {
            assert!(Instant::now() < deadline, "{name}: {} B", bytes(&copy));
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(log.end(), Offset::new(100));
    }
}
