use super::*;
use crate::EventLog;
use crate::engine::Sizes;
use crate::log::tests::{config, open};
use crate::testing::copy_directory;
use crate::transfer::testing::{Contents, contents, contents_of, fill};
use tempfile::TempDir;

/// A closed log, whose cursor row was replaced many times.
async fn sample(directory: &TempDir) -> Contents {
    let log = open(directory);
    fill(&log, 0, 200).await;
    fill(&log, 1, 100).await;
    contents(&log)
}

#[tokio::test]
async fn a_compacted_log_holds_the_same_and_goes_on() {
    let directory = TempDir::new().unwrap();
    let expected = sample(&directory).await;
    let mut stages = Vec::new();
    let mut bytes = 0;
    let done = compact(config(&directory), |step| {
        stages.push(step.stage);
        if step.stage == Stage::Copy {
            assert!(step.bytes >= bytes && step.total > 0);
            bytes = step.bytes;
        }
    })
    .unwrap();
    assert!(done.rows > 50 && bytes > 300_000, "{done:?} {bytes}");
    stages.dedup();
    assert_eq!(stages, [Stage::Open, Stage::Copy, Stage::Verify]);
    assert!(contents_of(config(&directory)).unwrap() == expected);

    let log = open(&directory);
    fill(&log, 9, 50).await;
    let grown = contents(&log);
    drop(log);
    assert_eq!(grown.end.get(), expected.end.get() + 51);
    compact(config(&directory), |_| {}).unwrap();
    assert!(contents_of(config(&directory)).unwrap() == grown);
    assert!(!directory.path().join("log/sled.old").exists());
}

#[test]
fn rows_that_were_replaced_take_no_space_afterwards() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sled");
    let engine = open_patiently(&path, Sizes::STANDARD).unwrap();
    // Removed rows stand for expired batches: sled keeps their space.
    for round in 0..300_u16 {
        for value in [Some(vec![round.to_be_bytes()[1]; 60_000]), None] {
            let op = crate::engine::Op {
                family: crate::keys::Family::Log,
                key: crate::keys::batch(round.into(), 0),
                value,
            };
            engine.commit(&[op]).unwrap();
        }
    }
    engine.barrier().unwrap();
    let before = bytes_of(&path).unwrap();
    copy(
        &engine,
        &State::default(),
        Writer::create(&directory.path().join("new"), Sizes::STANDARD).unwrap(),
        &mut |_| {},
    )
    .unwrap();
    let after = bytes_of(&directory.path().join("new")).unwrap();
    assert!(after * 2 < before, "{before} {after}");
}

/// A crash after each step of the swap, and in the middle of the copy.
#[tokio::test]
async fn a_crash_at_any_step_leaves_a_log_that_opens() {
    let directory = TempDir::new().unwrap();
    let expected = sample(&directory).await;
    let (mut config, path) = (config(&directory), directory.path().join("log"));
    let recovered = recover(&mut config).unwrap();
    let draft = swap::draft(&path);
    copy(
        &recovered.applier.engine,
        &recovered.applier.state,
        Writer::create(&draft, Sizes::STANDARD).unwrap(),
        &mut |_| {},
    )
    .unwrap();
    drop(recovered);
    let check = |name: &str| {
        let crashed = copy_directory(&path, &directory.path().join(name));
        let at = |directory: &Path| Config {
            directory: directory.to_path_buf(),
            ..config.clone()
        };
        assert!(contents_of(at(&crashed)).unwrap() == expected, "{name}");
        let names = ["sled.new", "sled.ready", "sled.old"];
        assert!(
            names.iter().all(|name| !crashed.join(name).exists()),
            "{name}"
        );
        let torn = copy_directory(&path, &directory.path().join(format!("{name}-torn")));
        for name in ["sled.new/db", "sled.old/db"] {
            // What is not the database yet, or not any more, may be in any state.
            if torn.join(name).exists() && torn.join("sled").exists() {
                fs::write(torn.join(name), b"torn").unwrap();
            }
        }
        assert!(contents_of(at(&torn)).unwrap() == expected, "{name}, torn");
    };
    check("0");
    for (at, step) in (1..).zip(swap::STEPS) {
        step(&path).unwrap();
        check(&at.to_string());
    }
}

#[tokio::test]
async fn what_is_no_log_or_in_use_or_damaged_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let found = compact(config(&directory), |_| {});
    assert!(matches!(found, Err(CompactError::NoLog { .. })));
    assert!(!directory.path().join("log").exists());
    let expected = sample(&directory).await;
    let log: EventLog = open(&directory);
    let found = compact(config(&directory), |_| {}).unwrap_err();
    assert!(found.to_string().contains("in use"), "{found}");
    drop(log);
    assert!(contents_of(config(&directory)).unwrap() == expected);
}
