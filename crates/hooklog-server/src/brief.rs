//! What clients sent, in answers that say what is wrong with it.
//!
//! **Invariant:** such a text is short, whatever was sent: errors are in no pool of memory for answers
//! (`dispatch.rs`), and a client that takes none of its answers would have as many of them held as it
//! has streams.
//! **Next:** `error.rs`, `wire.rs`.

/// Most characters of a client's text in quotes: enough to find it again.
const QUOTED_CHARS_MAX: usize = 64;
/// Most characters of all that is said about one mistake: the longest of our own texts has half, and
/// three names at their limits fit in beside it.
const TEXT_CHARS_MAX: usize = 512;
/// What stands for what was left out.
const LEFT_OUT: char = '…';

/// A client's text in quotes, escaped; of a long one its begin.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => {
            let begin = text.get(..end).unwrap_or_default();
            format!("{begin:?}{LEFT_OUT}")
        }
        None => format!("{text:?}"),
    }
}

/// A text about a mistake; of a long one its begin and its end, for what was sent stands between.
pub(crate) fn brief(text: String) -> String {
    if text.char_indices().nth(TEXT_CHARS_MAX).is_none() {
        return text;
    }
    let half = TEXT_CHARS_MAX / 2;
    let begin = text.char_indices().nth(half).map(|(at, _)| at);
    // One less, for the sign between them.
    let end = text.char_indices().nth_back(half - 2).map(|(at, _)| at);
    let begin = begin.and_then(|at| text.get(..at)).unwrap_or_default();
    let end = end.and_then(|at| text.get(at..)).unwrap_or_default();
    format!("{begin}{LEFT_OUT}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_keep_begin_and_end() {
        for (text, expected) in [
            ("", "\"\""),
            ("a\"b", "\"a\\\"b\""),
            ("\u{80}", "\"\\u{80}\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
        for letter in ["a", "é", "😀", "\u{80}", "\""] {
            let fits = letter.repeat(QUOTED_CHARS_MAX);
            assert_eq!(quoted(&fits), format!("{fits:?}"));
            assert_eq!(quoted(&letter.repeat(100_000)), format!("{fits:?}…"));
            let fits = letter.repeat(TEXT_CHARS_MAX);
            assert_eq!(brief(fits.clone()), fits);
            let text = brief(format!("begin{}end", letter.repeat(100_000)));
            assert_eq!(text.chars().count(), TEXT_CHARS_MAX, "{letter}");
            assert!(text.starts_with("begin") && text.ends_with("end"));
        }
    }
}
