use super::*;

const TEXT: &str = "retry: 1500\nid: pos_7\n\n: a comment\r\n\r\nid: msg_1\ndata: {\ndata:  \"a\": 1\n\
                    data:}\n\nevent: expired\rid: pos_9\rdata: é😀\r\r:\n\nid: msg_2\nwhat: ever\n\
                    data\n\ndata: cut off\n";

fn event(name: &str, data: &str) -> Event {
    let (name, data) = (name.to_owned(), data.to_owned());
    Event { name, data }
}

#[test]
fn the_same_events_come_out_however_the_text_is_cut() {
    let expected = [
        (event("", "{\n \"a\": 1\n}"), "msg_1"),
        (event("expired", "é😀"), "pos_9"),
        (event("", ""), "msg_2"),
    ];
    for size in 1..=TEXT.len() {
        let mut parser = Parser::new("msg_0");
        assert_eq!(parser.last_id(), "msg_0");
        let mut found = Vec::new();
        for piece in TEXT.as_bytes().chunks(size) {
            parser.feed(piece).unwrap();
            while let Some(event) = parser.next().unwrap() {
                found.push((event, parser.last_id().to_owned()));
            }
        }
        let found: Vec<_> = found
            .iter()
            .map(|(event, id)| (event.clone(), id.as_str()))
            .collect();
        assert_eq!(found, expected, "in pieces of {size}");
        assert_eq!(parser.retry(), Some(Duration::from_millis(1500)));
    }
}

#[test]
fn an_id_counts_from_the_blank_line_on() {
    let mut parser = Parser::new("");
    parser.feed(b"id: pos_3\n").unwrap();
    assert_eq!(parser.next(), Ok(None));
    assert_eq!(parser.last_id(), "");
    parser.feed(b"\n").unwrap();
    assert_eq!(parser.next(), Ok(None));
    assert_eq!(parser.last_id(), "pos_3");
}

#[test]
fn what_is_too_large_or_no_text_is_refused() {
    let mut parser = Parser::new("");
    let piece = vec![b'x'; 1 << 20];
    let refused = (0..).find_map(|count| parser.feed(&piece).err().map(|error| (count, error)));
    assert_eq!(refused, Some((16, ParseError::TooLarge)));
    let mut parser = Parser::new("");
    for _ in 0..16 {
        parser.feed(b"data: ").unwrap();
        parser.feed(&piece[..piece.len() - 10]).unwrap();
        parser.feed(b"\n").unwrap();
        assert_eq!(parser.next(), Ok(None));
    }
    assert_eq!(
        parser.feed(&piece),
        Err(ParseError::TooLarge),
        "lines add up"
    );
    let mut parser = Parser::new("");
    parser.feed(b"data: \xff\n").unwrap();
    assert_eq!(parser.next(), Err(ParseError::Encoding));
}
