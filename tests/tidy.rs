//! House rules that neither rustc nor clippy knows: they are read off the sources.
//!
//! **Invariant:** each rule has a canned source in `tidy/tests.rs` that breaks it, so it can fail.
//! **Next:** the end; `crates/README.md` tells the story behind the rules.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::root;

/// Most lines of a file without its tests.
const LINES_MAX: usize = 400;

/// Which of our crates each crate may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("hooklog", &["signature", "storage", "dispatcher", "server"]),
    ("hooklog-server", &["signature", "storage"]),
    ("hooklog-dispatcher", &["signature", "storage"]),
    ("hooklog-storage", &["filter"]),
    ("hooklog-filter", &[]),
    ("hooklog-signature", &[]),
];

/// Words with the only file of a crate that may say them, with the files below it.
const DOORS: &[(&str, &str)] = &[
    ("sled::", "crates/hooklog-storage/src/engine.rs"),
    ("bincode::", "crates/hooklog-storage/src/codec.rs"),
];

/// What no line outside tests may hold.
const BANNED: &[&str] = &[
    ".unwrap()",
    ".expect(",
    "todo!",
    "unimplemented!",
    "#[allow",
    "#![allow",
];
/// What no line at all may hold.
const BANNED_IN_TESTS_TOO: &[&str] = &["#[ignore", "#[should_panic"];
/// Output belongs to one file of the command; examples may print.
const PRINTS: &[&str] = &["println!", "print!(", "eprintln!", "eprint!("];
const MAY_PRINT: &[&str] = &["crates/hooklog/src/output.rs", "crates/hooklog/examples/"];

/// Everything at the top, besides what begins with a dot and what .gitignore names.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "crates",
    "data",
    "tests",
];

fn is_test(path: &str) -> bool {
    let folder = path
        .split('/')
        .any(|name| matches!(name, "tests" | "testing" | "testing.rs"));
    folder || path.ends_with("tests.rs")
}

/// The part of a file before its tests.
fn without_tests(text: &str) -> &str {
    let cut = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    &text[..cut]
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Whether `word` begins in `line` and is not the end of a longer name.
fn says(line: &str, word: &str) -> bool {
    let before = |at: usize| line[..at].chars().next_back();
    let longer = |c: char| c.is_alphanumeric() || c == '_';
    // A macro or a path may end a longer name; an attribute or a method begins with a sign.
    line.match_indices(word)
        .any(|(at, _)| !word.starts_with(char::is_alphabetic) || !before(at).is_some_and(longer))
}

/// What is wrong with a source file. `path` is relative to the root.
fn check_source(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let body = if is_test(path) {
        ""
    } else {
        without_tests(text)
    };
    if !is_test(path) {
        let lines = body.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{path}: {lines} lines, more than {LINES_MAX}"));
        }
        if !text.starts_with("//! ") {
            wrong.push(format!("{path}: does not start with `//! `"));
        }
        for part in ["//! **Invariant:** ", "//! **Next:** "] {
            if !text.lines().any(|line| line.starts_with(part)) {
                wrong.push(format!("{path}: has no `{part}` in its header"));
            }
        }
    }
    let mut expected = 0;
    for (number, line) in body.lines().enumerate() {
        // `#[expect(clippy::expect_used, reason = …)]` covers the statement below it.
        if line.contains("clippy::expect_used") || line.contains("clippy::unwrap_used") {
            expected = number + 4;
        }
        let covered = |word: &str| number <= expected && matches!(word, ".expect(" | ".unwrap()");
        let banned = BANNED.iter().filter(|word| !covered(word));
        for word in banned.filter(|word| !is_comment(line) && says(line, word)) {
            wrong.push(format!("{path}:{}: `{word}` outside tests", number + 1));
        }
        let may_print = MAY_PRINT.iter().any(|allowed| path.starts_with(allowed));
        for word in PRINTS.iter().filter(|word| !may_print && says(line, word)) {
            if !is_comment(line) {
                wrong.push(format!("{path}:{}: `{word}` outside output.rs", number + 1));
            }
        }
    }
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !is_comment(line))
    {
        for word in BANNED_IN_TESTS_TOO.iter().filter(|word| says(line, word)) {
            wrong.push(format!("{path}:{}: `{word}`", number + 1));
        }
        for (word, door) in DOORS.iter().filter(|(word, _)| says(line, word)) {
            let below = path.starts_with(&format!("{}/", door.trim_end_matches(".rs")));
            if path != *door && !below {
                wrong.push(format!("{path}:{}: `{word}` belongs to {door}", number + 1));
            }
        }
        for other in forbidden_imports(path) {
            let module = format!("{}::", other.replace('-', "_"));
            if says(line, &module) {
                wrong.push(format!("{path}:{}: must not import {other}", number + 1));
            }
        }
    }
    wrong
}

/// The crate that a file belongs to, by its folder.
fn crate_of(path: &str) -> &str {
    path.strip_prefix("crates/")
        .and_then(|rest| rest.split('/').next())
        .unwrap_or("hooklog")
}

/// Our crates that a file's crate may not import.
fn forbidden_imports(path: &str) -> impl Iterator<Item = &'static str> {
    let own = crate_of(path).to_owned();
    let allowed = ARROWS
        .iter()
        .find(|(name, _)| *name == own)
        .map_or(&[][..], |(_, to)| to);
    let others = ARROWS.iter().map(|(name, _)| *name);
    others.filter(move |name| {
        let short = name.strip_prefix("hooklog-").unwrap_or(name);
        *name != own && !allowed.contains(&short)
    })
}

/// What is wrong with a manifest.
fn check_manifest(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let known = ARROWS.iter().any(|(name, _)| *name == crate_of(path));
    if !known {
        wrong.push(format!("{path}: a crate that tests/tidy.rs does not know"));
    }
    for (number, line) in text.lines().enumerate() {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if forbidden_imports(path).any(|other| other == name) {
            wrong.push(format!("{path}:{}: must not depend on {name}", number + 1));
        }
    }
    wrong
}

/// What is wrong with the names at the top; `ignored` are those of .gitignore.
fn check_top_level(names: &[String], ignored: &str) -> Vec<String> {
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let surplus = names.iter().filter(|name| {
        !name.starts_with('.')
            && !TOP_LEVEL.contains(&name.as_str())
            && !ignored.contains(&name.as_str())
    });
    let mut wrong: Vec<String> = surplus
        .map(|name| format!("{name} does not belong at the top"))
        .collect();
    let missing = TOP_LEVEL
        .iter()
        .filter(|name| !names.iter().any(|there| there == *name));
    wrong.extend(missing.map(|name| format!("{name} is missing at the top")));
    wrong
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_sources_keep_the_house_rules() {
    let mut paths = Vec::new();
    files(&root().join("crates"), &mut paths);
    paths.sort();
    let mut wrong = Vec::new();
    let mut sources = 0;
    for path in &paths {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        if path.extension().is_some_and(|extension| extension == "rs") {
            sources += 1;
            wrong.extend(check_source(name, &fs::read_to_string(path).unwrap()));
        } else if name.ends_with("Cargo.toml") {
            wrong.extend(check_manifest(name, &fs::read_to_string(path).unwrap()));
        }
    }
    assert!(
        sources > 50,
        "only {sources} sources were found: this proved nothing"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_top_level_is_the_table_of_contents() {
    let entries = root().read_dir().unwrap();
    let names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let wrong = check_top_level(&names, &ignored);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(test)]
mod tests;
