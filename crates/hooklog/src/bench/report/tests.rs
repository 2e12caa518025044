use std::collections::BTreeSet;
use std::time::Duration;

use expect_test::expect_file;

use super::*;
use crate::bench::options::{Durability, Work};
use crate::bench::payload::Payload;

fn latency(offered: Option<f64>) -> Latency {
    Latency {
        count: 20_000,
        offered_per_second: offered,
        p50_ms: 0.4512,
        p99_ms: 1.9,
        p999_ms: 4.25,
        max_ms: 12.5,
        curve: vec![
            (0.0, 0.2),
            (0.5, 0.4512),
            (0.9, 0.8),
            (0.99, 1.9),
            (0.999, 4.25),
            (1.0, 12.5),
        ],
    }
}

fn options() -> Options {
    Options {
        only: BTreeSet::from([Work::Publish, Work::Arrival, Work::Subscriptions]),
        duration: Duration::from_secs(2),
        rounds: 3,
        connections: 64,
        payload: Some(Payload::Bytes(512)),
        endpoints: None,
        fan_out: 1,
        backlog: 1_000_000,
        subscriptions: 100_000,
        failing: 0.1,
        hanging: 0.1,
        durability: Durability::PowerSafe,
        rate: 1000.0,
        load: 0.5,
        window_bytes: 512 << 20,
        segment_bytes: 64 << 20,
        points: 8,
        url: None,
        token: Some("must not be told".to_owned()),
    }
}

/// A report with fixed figures, of which each part is there and is absent.
fn report() -> Report {
    let mut publish = Row::new("P1", "publish 512 B, 64 connections", "events/s", 75_000.4)
        .against(
            "hyper + file + group commit",
            &[74_000.0, 75_000.4, 80_000.0],
            &[90_000.0, 92_000.0, 91_000.0],
        )
        .at_least(0.8);
    publish.count = 458_001;
    publish.latency = Some(latency(Some(37_500.2)));
    publish.limit_latency = Some(latency(Some(37_500.2)));
    publish.cost = Cost {
        cpu_us: Some(14.26),
        disk_per_byte: Some(2.41),
        handed_per_byte: None,
        rss: Some(61 << 20),
        rss_peak: Some(72 << 20),
    };
    publish.over_time = Some(OverTime {
        window_ms: 500.0,
        ours: vec![70_000.0, 76_000.0, 0.0, 75_000.0],
        limit: vec![90_000.0, 92_000.0, 91_000.0, 91_500.0],
    });
    publish
        .notes
        .push("0.1 % were told to come later".to_owned());
    let arrival = Row::new("P5", "p99 of <\"all\"> & some", "ms", 6.125).below(5.0);
    let mut subscriptions = Row::new("P6", "CPU of an event, 100000 idle", "µs", 15.0)
        .against("10 subscriptions", &[15.0, 15.2], &[14.5, 14.0])
        .at_most(1.1);
    subscriptions.curve = Some(Curve {
        title: "P6 CPU of an event".to_owned(),
        along: "idle subscriptions",
        what: "CPU of an event, µs",
        points: vec![(10.0, 14.25), (1000.0, 14.4), (100_000.0, 15.1)],
        limit: vec![(10.0, 14.25), (1000.0, 0.5)],
    });
    Report {
        hooklog: "0.1.0".to_owned(),
        build: "release".to_owned(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        seconds: 93.7,
        machine: Machine {
            system: "linux x86_64".to_owned(),
            kernel: Some("6.18.0".to_owned()),
            processor: None,
            cores: 2,
            memory: Some(24 << 30),
            load: Some(3.5),
        },
        warnings: vec!["busy machine: load average 3.50".to_owned()],
        options: options(),
        rows: vec![publish, arrival, subscriptions],
        against: None,
    }
}

#[test]
fn a_report_is_a_table_json_and_a_page() {
    let report = report();
    let table = table::text(&report);
    assert!(
        table.lines().all(|line| line.chars().count() <= 140),
        "{table}"
    );
    expect_file!["tests/table.txt"].assert_eq(&table);
    let json = serde_json::to_string_pretty(&report).unwrap();
    assert!(!json.contains("must not be told"));
    expect_file!["tests/report.json"].assert_eq(&json);
}

#[test]
fn the_page_is_well_formed_and_names_no_host() {
    let page = html::page(&report()).unwrap();
    let mut reader = quick_xml::Reader::from_str(&page);
    let mut open = Vec::new();
    let mut plots = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(start) => {
                plots += usize::from(start.name().as_ref() == "svg");
                open.push(start.name().as_ref().to_owned());
            }
            quick_xml::events::Event::End(end) => {
                assert_eq!(open.pop().unwrap(), end.name().as_ref());
            }
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    // Latency and rates of P1, the curve of P6.
    assert_eq!(plots, 3);
    for outside in ["http:", "https:", "//", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("p99 of &lt;&quot;all&quot;&gt; &amp; some"));
    assert!(!page.contains("must not be told"));
}

#[test]
fn ratios_are_of_pairs_and_have_a_spread() {
    let ratio = Ratio::of(&[8.0, 9.0, 12.0], &[10.0, 10.0, 10.0]).unwrap();
    assert_eq!((ratio.median, ratio.min, ratio.max), (0.9, 0.8, 1.2));
    // A limit that measured nothing is no limit.
    assert_eq!(Ratio::of(&[1.0, 6.0], &[0.0, 2.0]).unwrap().rounds, [3.0]);
    assert_eq!(Ratio::of(&[1.0], &[0.0]), None);
    assert_eq!(Ratio::of(&[], &[]), None);
}

#[test]
fn targets_are_met_or_missed() {
    let row = || Row::new("P1", "", "s", 2.0).against("", &[9.0], &[10.0]);
    let met = |row: Row| row.target.unwrap().met;
    assert!(met(row().at_least(0.9)) && !met(row().at_least(0.91)));
    assert!(met(row().at_most(0.9)) && !met(row().at_most(0.89)));
    assert!(met(row().below(2.0)) && !met(row().below(1.9)));
    // Without a ratio nothing was met.
    assert_eq!(Row::new("P1", "", "s", 2.0).at_least(0.1).target, None);
}

#[test]
fn numbers_have_the_digits_that_mean_something() {
    let cases = [
        (0.0, "0.00"),
        (0.126, "0.13"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (9_876_543.2, "9,876,543"),
        (-1234.0, "-1,234"),
    ];
    for (value, expected) in cases {
        assert_eq!(table::number(value), expected);
    }
}
