//! Canned traces: the checks must find what is wrong with them.
//!
//! **Invariant:** each bad trace differs from a good one in exactly what its name says.
//! **Next:** `../../damage.rs`.

use super::Trace;

/// `J` is a segment, `K` another, `D` sled's file, `S` the client's socket.
fn trace(lines: &[&str]) -> Trace {
    let names = [
        ("J", "8</data/journal/journal-000.segment>"),
        ("K", "9</data/journal/journal-001.segment>"),
        ("D", "10</data/sled/db>"),
        ("S", "12<socket:[4242]>"),
    ];
    let mut text = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let mut rest = rest.to_owned();
        for (short, long) in names {
            rest = rest.replace(&format!("({short}"), &format!("({long}"));
        }
        text.push(format!("{thread} 1700000000.{number:06} {rest}"));
    }
    Trace::parse(&text.join("\n"))
}

const FRAME: &str = r#"7 pwrite64(J, "HLJF\1\0\0\0{\"is\":\"marker-1\"}", 96, 4096) = 96"#;
const SYNC: &str = "7 fdatasync(J)                      = 0";
const ACK: &str =
    r#"9 sendto(S, "HTTP/1.1 202 Accepted\r\n\r\nmarker-1", 300, MSG_NOSIGNAL, NULL, 0) = 300"#;

#[test]
fn an_ack_after_the_sync_passes() {
    let markers = ["marker-1".to_owned()];
    let halves = [
        r#"7 pwrite64(J, "HLJF marker-1", 96, 4096 <unfinished ...>"#,
        "8 futex(0x7f, FUTEX_WAIT) = 0",
        "7 <... pwrite64 resumed>) = 96",
        "7 fdatasync(J <unfinished ...>",
        "9 --- SIGTERM {si_signo=SIGTERM} ---",
        "7 <... fdatasync resumed>)           = 0",
        r#"9 writev(S, [{iov_base="HTTP/1.1 202 Accepted\r\nx = y\r\n marker-1", iov_len=30}], 1) = 30"#,
        "9 +++ exited with 0 +++",
    ];
    let good: [&[&str]; 3] = [
        &[FRAME, SYNC, ACK],
        &halves,
        &[
            "7 fdatasync(J) = -1 EIO (Input/output error)",
            FRAME,
            SYNC,
            ACK,
        ],
    ];
    for lines in good {
        assert_eq!(trace(lines).check_acks(&markers), Ok(()), "{lines:#?}");
    }
}

#[test]
fn an_ack_without_a_sync_before_it_is_found() {
    let markers = ["marker-1".to_owned()];
    let cases: [(&str, &[&str]); 9] = [
        ("no sync at all", &[FRAME, ACK]),
        ("synced before the write", &[SYNC, FRAME, ACK]),
        ("synced after the ack", &[FRAME, ACK, SYNC]),
        (
            "the sync failed",
            &[FRAME, "7 fdatasync(J) = -1 EIO (Input/output error)", ACK],
        ),
        (
            "another file was synced",
            &[FRAME, "7 fdatasync(D) = 0", ACK],
        ),
        ("written again after the sync", &[FRAME, SYNC, FRAME, ACK]),
        (
            "the sync began while the write was running",
            &[
                r#"7 pwrite64(J, "HLJF marker-1", 96, 4096 <unfinished ...>"#,
                "8 fdatasync(J) = 0",
                "7 <... pwrite64 resumed>) = 96",
                ACK,
            ],
        ),
        (
            "the sync had not returned",
            &[
                FRAME,
                "7 fdatasync(J <unfinished ...>",
                ACK,
                "7 <... fdatasync resumed>) = 0",
            ],
        ),
        (
            "the sync never returned",
            &[FRAME, "7 fdatasync(J <unfinished ...>", ACK],
        ),
    ];
    for (name, lines) in cases {
        let found = trace(lines).check_acks(&markers).expect_err(name);
        assert!(
            found.contains("no fdatasync of that file returned"),
            "{name}: {found}"
        );
    }
}

#[test]
fn a_trace_without_the_event_proves_nothing() {
    let markers = ["marker-1".to_owned()];
    let unwritten = trace(&[SYNC, ACK]).check_acks(&markers).unwrap_err();
    assert!(unwritten.contains("never written"), "{unwritten}");
    let unacked = trace(&[FRAME, SYNC]).check_acks(&markers).unwrap_err();
    assert!(unacked.contains("never acked"), "{unacked}");
}

const FILL: &str = r#"7 pwrite64(J, "\0\0\0"..., 1048576, 0) = 1048576"#;
const HEADER: &str = r#"7 pwrite64(J, "HLJS\1\0", 64, 0) = 64"#;
const OTHER: &str = r#"7 pwrite64(K, "HLJS\1\0", 64, 0) = 64"#;
const SLED: &str = "6 fdatasync(D) = 0";

#[test]
fn recycling_behind_a_sync_of_sled_passes() {
    let lines = [
        FILL, HEADER, FRAME, SYNC, OTHER, SLED, HEADER, FRAME, OTHER, SLED, HEADER,
    ];
    assert_eq!(trace(&lines).check_recycling(&[]), Ok(2));
    let used = ["/data/journal/journal-000.segment".to_owned()];
    assert_eq!(
        trace(&["6 futex(0) = 0", SLED, HEADER]).check_recycling(&used),
        Ok(1)
    );
}

#[test]
fn early_recycling_is_found() {
    let cases: [(&str, &[&str], &str); 5] = [
        (
            "no sync of sled",
            &[HEADER, FRAME, SYNC, OTHER, HEADER],
            "no fdatasync of sled",
        ),
        (
            "synced before the last frame",
            &[HEADER, SLED, FRAME, OTHER, HEADER],
            "no fdatasync of sled",
        ),
        (
            "the sync failed",
            &[
                HEADER,
                FRAME,
                OTHER,
                "6 fdatasync(D) = -1 EIO (Input/output error)",
                HEADER,
            ],
            "no fdatasync of sled",
        ),
        (
            "the sync had begun before the last frame",
            &[
                HEADER,
                "6 fdatasync(D <unfinished ...>",
                FRAME,
                "6 <... fdatasync resumed>) = 0",
                OTHER,
                HEADER,
            ],
            "no fdatasync of sled",
        ),
        (
            "the youngest was not kept",
            &[HEADER, FRAME, SLED, HEADER],
            "no younger segment was kept",
        ),
    ];
    for (name, lines, text) in cases {
        let found = trace(lines).check_recycling(&[]).expect_err(name);
        assert!(found.contains(text), "{name}: {found}");
    }
    let used = ["/data/journal/journal-000.segment".to_owned()];
    let found = trace(&["6 futex(0) = 0", HEADER, SLED]).check_recycling(&used);
    assert!(
        found.is_err(),
        "a start that writes before it has synced sled"
    );
}
