use super::*;

/// Line and outcome of each item of an input.
fn items(input: &str, event_type: Option<&str>) -> Vec<(u64, Result<String, String>)> {
    let mut items = Vec::new();
    let wrap = event_type.map(|event_type| Wrap {
        event_type: event_type.to_owned(),
        deliver_at: None,
    });
    let more = Reader::new("in".into(), input.as_bytes(), wrap.as_ref()).run(&mut |item| {
        let message = item
            .message
            .map(|body| String::from_utf8(body.to_vec()).unwrap());
        items.push((item.place.line, message));
        true
    });
    assert!(more);
    items
}

fn ok(line: u64, body: &str) -> (u64, Result<String, String>) {
    (line, Ok(body.to_owned()))
}

#[test]
fn lines_are_messages_and_keep_their_bytes() {
    let a = r#"{"eventType":"a","payload":{"z" : 1.0, "a":"\u00e4"}}"#;
    let b = r#"{"payload":{},"eventType":"b","channels":["x"]}"#;
    assert_eq!(
        items(&format!("{a}\n\n  \n{b}"), None),
        [ok(1, a), ok(4, b)]
    );
    assert_eq!(items("", None), []);
}

#[test]
fn with_an_event_type_documents_are_payloads() {
    let wrapped = r#"{"eventType":"t","payload":{"z" : 1.0}}"#;
    assert_eq!(items("{\"z\" : 1.0}\n", Some("t")), [ok(1, wrapped)]);
    // Even if it looks like a message.
    let message = r#"{"eventType":"a","payload":{}}"#;
    let twice = format!(r#"{{"eventType":"t","payload":{message}}}"#);
    assert_eq!(items(message, Some("t")), [ok(1, &twice)]);
}

#[test]
fn a_time_goes_into_each_message() {
    let wrap = Wrap {
        event_type: "a.b".to_owned(),
        deliver_at: Some("2030-01-01T00:00:00Z".to_owned()),
    };
    let made = message(b"{\"n\": 1.0}", Some(&wrap)).unwrap();
    let expected = r#"{"eventType":"a.b","deliverAt":"2030-01-01T00:00:00Z","payload":{"n": 1.0}}"#;
    assert_eq!(made, expected);
}

#[test]
fn a_document_over_many_lines_is_one_message() {
    let pretty = "{\n  \"eventType\": \"a\",\n  \"payload\": {\n    \"x\": [1,\n 2]\n  }\n}";
    assert_eq!(items(&format!("\n{pretty}\n"), None), [ok(2, pretty)]);
    let wrapped = "{\"eventType\":\"t\",\"payload\":{\n  \"x\": 1\n}}";
    assert_eq!(items("{\n  \"x\": 1\n}\n", Some("t")), [ok(1, wrapped)]);
}

#[test]
fn what_is_wrong_is_named_and_the_rest_is_read() {
    let good = r#"{"eventType":"a","payload":{}}"#;
    let input = format!("{good}\nnonsense\n{{\"payload\":{{}}}}\n[1]\n{{\"x\":\n{good}\n");
    let found = items(&input, None);
    let lines: Vec<_> = found
        .iter()
        .map(|(line, result)| (*line, result.is_ok()))
        .collect();
    assert_eq!(
        lines,
        [
            (1, true),
            (2, false),
            (3, false),
            (4, false),
            (5, false),
            (6, true)
        ]
    );
    let reason = |index: usize| found[index].1.clone().unwrap_err();
    assert_eq!(
        reason(1),
        "not a JSON document: expected ident at line 1 column 2"
    );
    assert!(reason(2).starts_with("no `eventType` and `payload` in the document"));
    assert!(reason(3).starts_with("no `eventType` and `payload` in the document"));
    assert!(reason(4).starts_with("not a JSON document: EOF"));
}

#[test]
fn a_line_over_the_limit_is_skipped_whole() {
    let good = r#"{"eventType":"a","payload":{}}"#;
    let long = "x".repeat(DOCUMENT_BYTES_MAX + 10);
    let found = items(&format!("{good}\n{long}\n{good}"), None);
    assert_eq!(found[0], ok(1, good));
    assert_eq!(found[1], (2, Err(too_long())));
    assert_eq!(found[2], ok(3, good));
}

#[test]
fn a_file_that_is_absent_is_one_failed_item() {
    let mut items = Vec::new();
    assert!(read(Path::new("no/such/file"), None, &mut |item| {
        items.push(item);
        true
    }));
    assert_eq!(items.len(), 1);
    assert_eq!(&*items[0].place.file, "no/such/file");
    assert!(
        items[0]
            .message
            .as_ref()
            .unwrap_err()
            .starts_with("cannot open: ")
    );
}

#[test]
fn the_corpus_is_readable_as_it_is() {
    let corpus = include_str!("../../../../../data/events/github.ndjson");
    let found = items(corpus, None);
    assert_eq!(found.len(), 329);
    for ((_, message), line) in found.iter().zip(corpus.lines()) {
        assert_eq!(message.as_deref(), Ok(line));
    }
}
