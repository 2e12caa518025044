use super::*;

fn stored(figures: &str) -> Stored {
    Stored::parse(&format!(r#"{{"rows": [{figures}]}}"#)).unwrap()
}

fn figure(unit: &str, ours: f64, ratio: Option<f64>) -> String {
    let ratio = ratio.map_or_else(|| "null".to_owned(), |r| format!(r#"{{"median": {r}}}"#));
    format!(r#"{{"id": "P1", "work": "w", "unit": "{unit}", "ours": {ours}, "ratio": {ratio}}}"#)
}

fn options() -> Options {
    let mut options = Options::small();
    options.only.retain(|work| *work == Work::Publish);
    options
}

/// A row of two rounds of which the second is half as good.
fn row(unit: &'static str, ours: f64, ratio: Option<f64>) -> Row {
    let row = Row::new("P1", "w", unit, ours);
    match ratio {
        None => row,
        Some(ratio) if unit.ends_with("/s") => row.against("", &[ratio, ratio / 2.0], &[1.0, 1.0]),
        Some(ratio) => row.against("", &[ratio, ratio * 2.0], &[1.0, 1.0]),
    }
}

#[test]
fn only_what_is_far_outside_the_noise_falls() {
    use Verdict::{Better, Holds, Shown, Worse};
    // Unit, stored figure and ratio, found figure and ratio of the better round.
    type Figures = (f64, Option<f64>);
    let cases: [(&'static str, Figures, Figures, Verdict); 16] = [
        ("events/s", (9.0, Some(0.5)), (1.0, Some(0.5)), Holds),
        ("events/s", (9.0, Some(0.5)), (1.0, Some(0.26)), Holds),
        ("events/s", (9.0, Some(0.5)), (9.0, Some(0.24)), Worse),
        ("events/s", (9.0, Some(0.5)), (9.0, Some(0.99)), Holds),
        ("events/s", (9.0, Some(0.4)), (9.0, Some(0.85)), Better),
        ("µs", (9.0, Some(1.05)), (9.0, Some(2.0)), Holds),
        ("µs", (9.0, Some(1.05)), (9.0, Some(2.2)), Worse),
        ("µs", (9.0, Some(1.05)), (9.0, Some(0.5)), Better),
        ("MiB", (26.0, None), (38.0, None), Holds),
        ("MiB", (26.0, None), (40.0, None), Worse),
        ("×", (1.6, None), (2.5, None), Worse),
        ("instructions", (1000.0, None), (1240.0, None), Holds),
        ("instructions", (1000.0, None), (1260.0, None), Worse),
        // Times of another machine say nothing, nor do ratios of the slowest of a hundred.
        ("s", (1.0, None), (90.0, None), Shown),
        ("ms", (1.0, Some(1.0)), (9.0, Some(9.0)), Shown),
        ("events/s", (9.0, None), (1.0, None), Shown),
    ];
    // Without one that can be judged there would be nothing to compare.
    let judged = figure("MiB", 1.0, None).replace(r#""w""#, r#""judged""#);
    let mut other = row("MiB", 1.0, None);
    other.work = "judged".to_owned();
    for (unit, stored_figures, found, expected) in cases {
        let one = figure(unit, stored_figures.0, stored_figures.1);
        let stored = stored(&format!("{one}, {judged}"));
        let rows = [row(unit, found.0, found.1), other.clone()];
        let compared = stored.compare("f".to_owned(), &options(), &rows).unwrap();
        let verdict = compared.figures[0].verdict;
        assert_eq!(verdict, expected, "{unit} {stored_figures:?} {found:?}");
        assert_eq!(compared.fallen().is_some(), expected == Worse);
    }
}

#[test]
fn a_figure_that_was_asked_for_must_be_there() {
    let compare =
        |stored: &Stored, rows: &[Row]| stored.compare("f.json".to_owned(), &options(), rows);
    let known = stored(&figure("events/s", 1.0, Some(0.5)));
    // Nothing was measured, other work was, or it has no ratio any more.
    let mut renamed = row("events/s", 1.0, Some(0.5));
    renamed.work = "x".to_owned();
    for rows in [vec![], vec![renamed], vec![row("events/s", 1.0, None)]] {
        let compared = compare(&known, &rows).unwrap();
        assert_eq!(compared.figures[0].verdict, Verdict::Missing);
        assert_eq!(compared.fallen().unwrap(), "P1 w (not measured)");
    }
    // Of work that was not asked for nothing is said, and of nothing else there is nothing to say.
    let other = stored(&figure("MiB", 1.0, None).replace("P1", "P8"));
    let error = compare(&other, &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "f.json holds no figure of this work to be compared with"
    );
}

#[test]
fn what_is_no_report_is_refused() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"rows": []}"#,
        r#"{"rows": [{"id": "P1"}]}"#,
    ] {
        assert!(Stored::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_figures_of_this_repository_can_be_held_against() {
    let text = include_str!("../../../../../benches/ratios.json");
    let stored = Stored::parse(text).unwrap();
    let mut options = Options::small();
    options.only.insert(Work::Instructions);
    let compared = stored.compare("f".to_owned(), &options, &[]).unwrap();
    // All of them name work that can be asked for, and most are more than shown.
    assert_eq!(compared.figures.len(), stored.rows.len());
    let judged = compared.figures.iter().filter(|one| one.bound.is_some());
    assert!(judged.count() >= 10);
}
