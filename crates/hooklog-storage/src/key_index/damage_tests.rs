use std::collections::BTreeMap;

use tempfile::TempDir;

use super::tests::{GO, SMALL, entry, found, hash, open, seal};
use super::*;

/// The files of a directory by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files_of(directory: &Path) -> Files {
    crate::testing::files(directory)
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn directory_with(files: &Files) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

/// 300 keys in two runs of 100 and 200.
fn two_runs() -> Files {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    seal(&index, 0..100);
    seal(&index, 100..300);
    files_of(directory.path())
}

/// Opens a directory and asks for every key. `Ok` means that every answer was right.
fn ask(files: &Files) -> Result<(), KeyIndexError> {
    let directory = directory_with(files);
    let index = KeyIndex::open(directory.path(), SMALL, Offset::new(300))?;
    for key in (0..400).step_by(3) {
        let expected = (key < 300).then(|| entry(key, key));
        assert_eq!(index.get(&hash(key))?, expected, "key {key}");
    }
    Ok(())
}

/// Opens a directory and reads everything.
fn verify(files: &Files) -> Result<u64, KeyIndexError> {
    let directory = directory_with(files);
    KeyIndex::open(directory.path(), SMALL, Offset::new(300))?.verify()
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_never_believed() {
    let whole = two_runs();
    ask(&whole).unwrap();
    assert_eq!(verify(&whole).unwrap(), 300);
    let mut rng = fastrand::Rng::with_seed(11);
    for (name, bytes) in &whole {
        // Every byte of the header's fields and of the list, and some of each part.
        let every = 0..bytes.len().min(76);
        let some = (0..30 * crate::testing::rounds()).map(|_| rng.usize(..bytes.len()));
        let places: Vec<_> = every.chain(some).collect();
        for place in places {
            let mut files = whole.clone();
            files.get_mut(name).unwrap()[place] ^= 1 << rng.u32(..8);
            // Only the zeros behind the header's fields and behind the filter mean nothing.
            let lines = if name == "run-0.keys" { 3 } else { 5 };
            let unused = name != "RUNS"
                && ((76..4096).contains(&place) || (4096 + lines * 64..8192).contains(&place));
            let told = match verify(&files) {
                Ok(entries) => {
                    assert_eq!(entries, 300);
                    false
                }
                Err(KeyIndexError::Damaged { path, .. }) => path.ends_with(name),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(told, !unused, "byte {place} of {name}");
            // Lookups alone either do not touch the place, or tell.
            match ask(&files) {
                Ok(()) | Err(KeyIndexError::Damaged { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_merge_does_not_carry_damage_on() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    for start in 0..8 {
        seal(&index, start * 10..start * 10 + 10);
    }
    let path = run_writer::run_path(directory.path(), 3);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192 + 30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let before = crate::testing::files(directory.path());
    let error = index.merge_step(&GO).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the index of keys is damaged at byte 8192 of {}: a block does not match its checksum; it can be rebuilt from the log",
            path.display()
        )
    );
    assert_eq!(crate::testing::files(directory.path()), before);
}

#[test]
fn lost_and_cut_files_are_told() {
    let whole = two_runs();
    let told = |files: &Files| match verify(files) {
        Err(KeyIndexError::Damaged { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let mut files = whole.clone();
    files.remove("run-0.keys");
    assert_eq!(told(&files), "the file is missing");
    for bytes in [0, 100, 4096, 8192 + 4095] {
        let mut files = whole.clone();
        files.get_mut("run-1.keys").unwrap().truncate(bytes);
        let expected = match bytes {
            0 | 100 => "the file ends early",
            _ => "its length is not the header's",
        };
        assert_eq!(told(&files), expected);
    }
    let mut files = whole.clone();
    files.insert("run-1.keys".to_owned(), whole["run-0.keys"].clone());
    assert_eq!(told(&files), "it is another run under this name");
    for bytes in [0, 10, 60] {
        let mut files = whole.clone();
        files.get_mut("RUNS").unwrap().truncate(bytes);
        assert!(told(&files).starts_with("it does not match"));
    }
    // Without the list the index is empty and says that it covers nothing.
    let mut files = whole.clone();
    files.remove("RUNS");
    let directory = directory_with(&files);
    let index = open(directory.path(), 300);
    assert_eq!(index.covered(), Offset::ZERO);
    assert_eq!(found(&index, 0..300), Vec::<u64>::new());
    assert_eq!(crate::testing::files(directory.path()).len(), 0);
}

#[test]
fn a_damaged_index_is_reset_and_filled_again() {
    let mut files = two_runs();
    files.get_mut("run-1.keys").unwrap()[20] ^= 1;
    files.insert("notes.txt".to_owned(), b"not ours".to_vec());
    let directory = directory_with(&files);
    let error = KeyIndex::open(directory.path(), SMALL, Offset::new(300)).unwrap_err();
    assert!(matches!(error, KeyIndexError::Damaged { .. }), "{error}");
    KeyIndex::reset(directory.path()).unwrap();
    let left = crate::testing::files(directory.path());
    assert_eq!(left, [directory.path().join("notes.txt")]);
    let index = open(directory.path(), 300);
    assert_eq!(index.covered(), Offset::ZERO);
    // As recovery does: seal whenever it is full, merge whenever it is behind.
    for key in 0..1000 {
        while let Err(error) = index.insert(&entry(key, key)) {
            assert!(matches!(error, KeyIndexError::Full { .. }), "{error}");
            index.seal(Offset::new(key)).unwrap();
        }
    }
    assert_eq!(index.covered(), Offset::new(800));
    assert_eq!(found(&index, 0..1000).len(), 1000);
    // A directory that is not there is one that is empty.
    KeyIndex::reset(&directory.path().join("new")).unwrap();
}

/// Every state of the files between `before` and `after`, in the order in which they are changed:
/// drafts of new files (whole, cut), their names, the draft of the list, the list, deletions.
fn states(before: &Files, after: &Files) -> Vec<Files> {
    let mut states = Vec::new();
    let mut now = before.clone();
    let draft = |states: &mut Vec<Files>, now: &Files, name: &str, bytes: &[u8]| {
        for cut in [0, bytes.len() / 3, bytes.len() - 1, bytes.len()] {
            let mut state = now.clone();
            state.insert(name.to_owned(), bytes[..cut].to_vec());
            states.push(state);
        }
    };
    for (name, bytes) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        draft(&mut states, &now, &format!("{name}.new"), bytes);
        now.insert(name.clone(), bytes.clone());
        states.push(now.clone());
    }
    draft(&mut states, &now, "RUNS.new", &after["RUNS"]);
    now.insert("RUNS".to_owned(), after["RUNS"].clone());
    states.push(now.clone());
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        now.remove(name);
        states.push(now.clone());
    }
    assert_eq!(now, *after);
    states
}

/// Opens each state as a crash would leave it, fills the index from the log of `end` keys, and
/// expects all of them at or above `low`, and what follows to work.
fn crash_at_each(states: &[Files], low: u64, end: u64) {
    for (number, files) in states.iter().enumerate() {
        let directory = directory_with(files);
        let index = open(directory.path(), end);
        let covered = index.covered().get();
        let log = found(&index, low..end);
        assert!(log.iter().filter(|key| **key < covered).count() as u64 >= covered - low);
        for key in covered..end {
            index.insert(&entry(key, key)).unwrap();
        }
        let expired = Floor {
            offset: Offset::new(low),
            ..Floor::default()
        };
        index.expire(expired).unwrap();
        assert_eq!(
            found(&index, 0..end),
            (low..end).collect::<Vec<_>>(),
            "state {number}"
        );
        index.seal(Offset::new(end)).unwrap();
        while index.merge_step(&GO).unwrap() != MergeStep::Idle {}
        assert_eq!(index.verify().unwrap(), index.stats().entries);
        assert_eq!(
            found(&index, 0..end),
            (low..end).collect::<Vec<_>>(),
            "state {number}"
        );
        let runs = index.stats().runs;
        drop(index);
        // The list and its runs: nothing was left behind.
        assert_eq!(files_of(directory.path()).len(), runs + 1, "state {number}");
    }
}

#[test]
fn a_crash_at_any_step_loses_no_key() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    let mut before = files_of(directory.path());
    before.insert("RUNS".to_owned(), Manifest::default().encode().into_bytes());
    let step = |before: &mut Files, low: u64, end: u64| {
        let after = files_of(directory.path());
        crash_at_each(&states(before, &after), low, end);
        *before = after;
    };
    for start in (0..80).step_by(10) {
        seal(&index, start..start + 10);
        step(&mut before, 0, start + 10);
    }
    assert_eq!(index.merge_step(&GO).unwrap(), MergeStep::Merged);
    step(&mut before, 0, 80);
    seal(&index, 80..95);
    step(&mut before, 0, 95);
    let floor = Floor {
        offset: Offset::new(80),
        ..Floor::default()
    };
    index.expire(floor).unwrap();
    step(&mut before, 80, 95);
    // Opening after the log lost its end is a change as well.
    drop(index);
    drop(open(directory.path(), 90));
    step(&mut before, 80, 90);
}
