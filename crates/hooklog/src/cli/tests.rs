use clap::CommandFactory as _;
use expect_test::{ExpectFile, expect_file};

use super::*;

/// The help of a command must be what the file says; `UPDATE_EXPECT=1` writes it anew.
fn check_help(command: Option<&str>, golden: &ExpectFile) {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let found = match command {
        Some(name) => cli.find_subcommand_mut(name).unwrap(),
        None => &mut cli,
    };
    golden.assert_eq(&found.render_long_help().to_string());
}

#[test]
fn help_is_what_the_golden_files_say() {
    check_help(None, &expect_file!["help/hooklog.txt"]);
    check_help(Some("serve"), &expect_file!["help/serve.txt"]);
    check_help(Some("token"), &expect_file!["help/token.txt"]);
    check_help(Some("publish"), &expect_file!["help/publish.txt"]);
    check_help(Some("receive"), &expect_file!["help/receive.txt"]);
    check_help(Some("tail"), &expect_file!["help/tail.txt"]);
    check_help(Some("backup"), &expect_file!["help/backup.txt"]);
    check_help(Some("restore"), &expect_file!["help/restore.txt"]);
    check_help(Some("check"), &expect_file!["help/check.txt"]);
    check_help(Some("compact"), &expect_file!["help/compact.txt"]);
    check_help(Some("bench"), &expect_file!["help/bench.txt"]);
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_refused_by_the_parser() {
    let cases = [
        &["hooklog"][..],
        &["hooklog", "fly"],
        &["hooklog", "serve", "--listen", "nowhere"],
        &["hooklog", "serve", "--allow-network", "10.0.0.0/33"],
        &["hooklog", "serve", "--attempt-timeout", "15"],
        &["hooklog", "serve", "--retry-schedule", "0s,soon"],
        &["hooklog", "serve", "--retry-jitter", "1.5"],
        &["hooklog", "publish", "--app", "demo"],
        &["hooklog", "publish", "--concurrency", "0", "-"],
        &["hooklog", "receive", "--status", "99"],
        &[
            "hooklog",
            "tail",
            "--from-start",
            "--since",
            "2026-01-01T00:00:00Z",
        ],
        &["hooklog", "backup"],
        &["hooklog", "restore"],
        &["hooklog", "check", "--repair", "new", "--json"],
        &["hooklog", "token", "--operator", "--app", "demo"],
        &["hooklog", "bench", "--only", "P11"],
        &["hooklog", "bench", "--payload", "63"],
        &["hooklog", "bench", "--connections", "0"],
        &["hooklog", "bench", "--failing", "1"],
        &["hooklog", "bench", "--token", "of-no-server"],
        &["hooklog", "bench", "--soak", "1m", "--only", "P1"],
    ];
    for arguments in cases {
        let error = Cli::try_parse_from(arguments).map(|_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
    }
}
