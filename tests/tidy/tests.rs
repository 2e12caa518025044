//! Canned sources that break the rules of `../tidy.rs`, and some that only seem to.
//!
//! **Invariant:** every rule is broken by one of them.
//! **Next:** `../../crates/README.md`.

use super::{check_manifest, check_source, check_top_level};

const HEADER: &str = "//! A file.\n//!\n//! **Invariant:** none.\n//! **Next:** `b.rs`.\n";
const STORAGE: &str = "crates/hooklog-storage/src/a.rs";

/// The violations of a source with a good header.
fn found(path: &str, body: &str) -> Vec<String> {
    check_source(path, &format!("{HEADER}{body}"))
}

/// Path, source and what is found.
const BROKEN: &[(&str, &str, &str)] = &[
    (
        STORAGE,
        "fn f() { g().unwrap(); }",
        ":5: `.unwrap()` outside tests",
    ),
    (
        STORAGE,
        "fn f() {\n    g().expect(\"x\");\n}",
        ":6: `.expect(` outside tests",
    ),
    (STORAGE, "fn f() { todo!() }", "`todo!`"),
    (STORAGE, "fn f() { unimplemented!() }", "`unimplemented!`"),
    (STORAGE, "#[allow(dead_code)]", "`#[allow`"),
    (STORAGE, "#![allow(dead_code)]", "`#![allow`"),
    (
        STORAGE,
        "fn f() { println!(); }",
        "`println!` outside output.rs",
    ),
    (
        "crates/hooklog/src/serve.rs",
        "fn f() { eprintln!(); }",
        "`eprintln!`",
    ),
    (
        STORAGE,
        "#[cfg(test)]\nmod tests {\n    #[ignore]\n}",
        ":7: `#[ignore`",
    ),
    (
        "crates/hooklog-storage/src/a/tests.rs",
        "#[should_panic]",
        "`#[should_panic`",
    ),
    (
        STORAGE,
        "use sled::Tree;",
        "belongs to crates/hooklog-storage/src/engine.rs",
    ),
    (
        "crates/hooklog-storage/src/engine_room.rs",
        "use sled::Tree;",
        "belongs to crates/hooklog-storage/src/engine.rs",
    ),
    (
        STORAGE,
        "fn f() { bincode::serialize() }",
        "belongs to crates/hooklog-storage/src/codec.rs",
    ),
    (
        "crates/hooklog-server/src/a.rs",
        "use hooklog_dispatcher::Guard;",
        "must not import",
    ),
    (
        "crates/hooklog-dispatcher/src/a.rs",
        "use hooklog_server::Server;",
        "must not import",
    ),
    (
        "crates/hooklog-dispatcher/src/a/tests.rs",
        "hooklog_server::f();",
        "must not import",
    ),
    (
        STORAGE,
        "use hooklog_signature::Secret;",
        "must not import hooklog-signature",
    ),
    (
        "crates/hooklog-server/src/a.rs",
        "use hooklog::Service;",
        "must not import hooklog",
    ),
];

/// Headers and what is missing.
const HEADERS: &[(&str, &str)] = &[
    (
        "//! A file.\n//! **Next:** `b.rs`.\n",
        "no `//! **Invariant:** `",
    ),
    (
        "//! A file.\n//!\n//! **Invariant:** none.\n",
        "no `//! **Next:** `",
    ),
    (
        "use a::b;\n//! **Invariant:** none.\n//! **Next:** `b.rs`.\n",
        "does not start",
    ),
];

#[test]
fn broken_rules_are_found() {
    for (path, body, expected) in BROKEN {
        let found = found(path, body);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{body:?}: {found:?}"
        );
    }
    for (text, expected) in HEADERS {
        let found = check_source(STORAGE, text);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{text:?}: {found:?}"
        );
    }
    let long = found(STORAGE, &"\n".repeat(400));
    assert!(
        long.len() == 1 && long[0].contains("more than 400"),
        "{long:?}"
    );
}

#[test]
fn what_only_looks_like_a_broken_rule_passes() {
    let cases = [
        (
            STORAGE,
            "// Never sled::flush, .unwrap() or todo!; see #[ignore].",
        ),
        (
            STORAGE,
            "#[cfg(test)]\nmod tests {\n    fn f() { g().unwrap(); println!(); }\n}",
        ),
        (
            STORAGE,
            "use hooklog_storage::Event;\nuse unsled::x;\nlet a = b.unwrap_or(1);",
        ),
        (
            STORAGE,
            "#[expect(clippy::expect_used, reason = \"a constant\")]\nlet a = b.expect(\"c\");",
        ),
        ("crates/hooklog-storage/src/engine.rs", "use sled::Tree;"),
        (
            "crates/hooklog-storage/src/engine/testing.rs",
            "use sled::Tree;",
        ),
        ("crates/hooklog/src/output.rs", "fn f() { println!(); }"),
        (
            "crates/hooklog/src/serve.rs",
            "use hooklog::server::token::Subject;",
        ),
        (
            "crates/hooklog-server/src/a.rs",
            "use hooklog_storage::{self, EventLog};",
        ),
    ];
    for (path, body) in cases {
        assert_eq!(found(path, body), [""; 0], "{body:?}");
    }
    // A file of tests needs no header, and may be long.
    let long = "fn f() { g().unwrap(); }\n".repeat(1000);
    assert_eq!(
        check_source("crates/hooklog-storage/src/a/tests.rs", &long),
        [""; 0]
    );
}

#[test]
fn dependencies_against_the_arrows_are_found() {
    let bad = [
        (
            "crates/hooklog-server/Cargo.toml",
            "hooklog-dispatcher.workspace = true",
        ),
        (
            "crates/hooklog-dispatcher/Cargo.toml",
            "hooklog-server = { path = \"../hooklog-server\" }",
        ),
        (
            "crates/hooklog-storage/Cargo.toml",
            "[dependencies]\nhooklog-signature.workspace = true",
        ),
        ("crates/hooklog-new/Cargo.toml", ""),
    ];
    for (path, text) in bad {
        assert_eq!(check_manifest(path, text).len(), 1, "{path}");
    }
    let good = "name = \"hooklog-server\"\n[dependencies]\nhooklog-storage.workspace = true\nhooklog-signature = \"1\"";
    assert_eq!(
        check_manifest("crates/hooklog-server/Cargo.toml", good),
        [""; 0]
    );
}

#[test]
fn the_top_level_has_neither_more_nor_less() {
    let mut names: Vec<String> = super::TOP_LEVEL.iter().map(ToString::to_string).collect();
    names.extend([".git", ".ci", "target", "hooklog-data"].map(str::to_owned));
    let ignored = "target/\n/hooklog-data/\n";
    assert_eq!(check_top_level(&names, ignored), [""; 0]);
    names.push("src".to_owned());
    assert_eq!(
        check_top_level(&names, ignored),
        ["src does not belong at the top"]
    );
    names.retain(|name| name != "src" && name != "README.md");
    assert_eq!(
        check_top_level(&names, ignored),
        ["README.md is missing at the top"]
    );
}
