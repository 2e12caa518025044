//! Bodies taken apart, whatever pieces they come in.
//!
//! **Invariant:** where the pieces end changes nothing.
//! **Next:** the end.

use super::split::{Piece, Splitter};

/// The items of a body that comes in pieces of `size`, and whether it ended well.
fn split(body: &[u8], size: usize, limit: usize) -> (Vec<String>, bool) {
    let mut splitter = Splitter::new(limit);
    let mut pieces = Vec::new();
    let mut good = true;
    for piece in body.chunks(size) {
        good = splitter.push(piece, &mut pieces).is_ok();
        if !good {
            break;
        }
        assert!(splitter.held() <= limit);
    }
    good = good && splitter.finish(&mut pieces).is_ok();
    let told = pieces.into_iter().map(|piece| match piece {
        Piece::Item(text) => String::from_utf8(text.trim_ascii().to_vec()).expect("is text"),
        Piece::TooLong => "too long".to_owned(),
    });
    (told.collect(), good)
}

#[test]
fn arrays_and_lines_are_split_wherever_their_pieces_end() {
    let cases: [(&str, &[&str], bool); 21] = [
        ("", &[], true),
        (" \n ", &[], true),
        ("[]", &[], true),
        (" [ ] \n", &[], true),
        (
            r#"[{"a":1},{"b":[1,2]}]"#,
            &[r#"{"a":1}"#, r#"{"b":[1,2]}"#],
            true,
        ),
        (
            r#"[ {"a":"],[\"}\\"} , 2 ]"#,
            &[r#"{"a":"],[\"}\\"}"#, "2"],
            true,
        ),
        // What is no JSON ends where the next item begins.
        (r#"[nonsense,{"a":1}]"#, &["nonsense", r#"{"a":1}"#], true),
        (r#"[{"a":1},,2]"#, &[r#"{"a":1}"#, "", "2"], true),
        ("[1,]", &["1", ""], true),
        ("[}]", &["}"], true),
        (r#"[{"a":1}"#, &[], false),
        (r#"[1,{"a":[}]"#, &["1"], false),
        ("[1]2", &["1"], false),
        ("[1]]", &["1"], false),
        ("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"], true),
        (
            "{\"a\":1}\r\n\r\n\n{\"b\":2}",
            &["{\"a\":1}", "{\"b\":2}"],
            true,
        ),
        ("nonsense\n{}", &["nonsense", "{}"], true),
        ("{\"a\":\n1}", &["{\"a\":", "1}"], true),
        (
            "[\"123456789012345678901234567890\",2]",
            &["too long", "2"],
            true,
        ),
        (
            "{123456789012345678901234567890}\n2",
            &["too long", "2"],
            true,
        ),
        ("{123456789012345678901234567890", &["too long"], true),
    ];
    for (body, items, good) in cases {
        for size in 1..=body.len().max(1) {
            let expected = (items.iter().map(ToString::to_string).collect(), good);
            assert_eq!(
                split(body.as_bytes(), size, 29),
                expected,
                "{body} by {size}"
            );
        }
    }
}
