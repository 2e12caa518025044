//! Trace contexts: what goes on and what does not.
//!
//! **Invariant:** the cases follow the text of the recommendation.
//! **Next:** `publish.rs`.

use http::HeaderValue;

use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn of(parents: &[&str], states: &[&str]) -> Option<TraceContext> {
    let mut headers = HeaderMap::new();
    for (name, values) in [(PARENT, parents), (STATE, states)] {
        for value in values {
            headers.append(
                name.clone(),
                HeaderValue::from_bytes(value.as_bytes()).expect(value),
            );
        }
    }
    TraceContext::of(&headers)
}

#[test]
fn parents() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (zeros, newer) = ("0".repeat(32), GOOD.replacen("00-", "cc-", 1));
    let cases = [
        (GOOD.to_owned(), Some(GOOD)),
        (format!(" {GOOD}\t"), Some(GOOD)),
        (newer.clone(), Some(GOOD)),
        (format!("{newer}-what-the-future-will-be-like"), Some(GOOD)),
        (format!("{newer}.what"), None),
        (format!("{GOOD}-"), None),
        (GOOD.replacen("00-", "ff-", 1), None),
        (GOOD.replacen("00-", "0-", 1), None),
        (GOOD.replace(trace, &zeros), None),
        (GOOD.replace("00f067aa0ba902b7", &zeros[..16]), None),
        (GOOD.replace('f', "F"), None),
        (GOOD.replace('f', "g"), None),
        (GOOD.replace('f', "é"), None),
        (GOOD.replace("-01", "_01"), None),
        (GOOD.replacen("-4bf9", "4-bf9", 1), None),
        (GOOD[..54].to_owned(), None),
        (String::new(), None),
    ];
    for (text, expected) in cases {
        let found = of(&[&text], &[]);
        let found = found.as_ref().map(|context| context.parent.as_str());
        assert_eq!(found, expected, "{text:?}");
    }
    assert_eq!(of(&[], &["a=1"]), None);
    assert_eq!(of(&[GOOD, GOOD], &[]), None);
}

#[test]
fn states() {
    let long = |key: &str, length: usize| format!("{key}={}", "x".repeat(length));
    let many: Vec<String> = (0..33).map(|number| format!("k{number}=v")).collect();
    let (fits, too_many) = (many[..32].join(","), many.join(","));
    let (half, whole) = (long("a", 250), long("b", 256));
    let together = format!("{half},{whole},c=1");
    let cases: [(&[&str], Option<&str>); 16] = [
        (
            &["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"],
            Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        ),
        (&["a=1", "b=2"], Some("a=1,b=2")),
        (&[" a=1 ,\t b=2,,"], Some("a=1,b=2")),
        (
            &["fw529a3039@dt=FfAAAAAA", "0t@s=1"],
            Some("fw529a3039@dt=FfAAAAAA,0t@s=1"),
        ),
        (&["a= b"], Some("a= b")),
        (&[&fits], Some(&fits)),
        (&[&too_many], None),
        // What does not fit is left out, what follows may fit.
        (&[&together], Some(&format!("{half},{whole}"))),
        (&[&long("a", 257)], None),
        (&["a=1,a=2"], None),
        (&["a"], None),
        (&["A=1"], None),
        (&["0a=1"], None),
        (&["a=b=c"], None),
        (&["a="], None),
        (&[""], None),
    ];
    for (states, expected) in cases {
        let context = of(&[GOOD], states).expect("the parent is good");
        assert_eq!(context.state.as_deref(), expected, "{states:?}");
        let names: Vec<_> = context
            .headers()
            .map(|header| header.name().to_owned())
            .collect();
        assert_eq!(names.len(), 1 + usize::from(expected.is_some()));
    }
}
