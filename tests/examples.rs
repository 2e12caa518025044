//! The examples of the library, run to their end: each asserts what it shows.
//!
//! They are compiled into this program, so that they run whatever else is built.
//!
//! **Invariant:** every file of `crates/hooklog/examples` is here.
//! **Next:** `tidy.rs`.

/// One test for each example.
macro_rules! examples {
    ($($name:ident $path:literal),* $(,)?) => {
        $(
            #[path = $path]
            mod $name;

            #[test]
            fn $name() {
                $name::main().unwrap();
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

examples! {
    closure "../crates/hooklog/examples/closure.rs",
    consumer "../crates/hooklog/examples/consumer.rs",
    embed "../crates/hooklog/examples/embed.rs",
    log_only "../crates/hooklog/examples/log_only.rs",
    push "../crates/hooklog/examples/push.rs",
    two_logs "../crates/hooklog/examples/two_logs.rs",
}

#[test]
fn every_example_is_run() {
    let files = crate::harness::root().join("crates/hooklog/examples");
    let mut found: Vec<String> = files
        .read_dir()
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
}
