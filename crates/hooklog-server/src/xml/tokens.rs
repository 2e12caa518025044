//! JSON as tokens, texts as they are written.
//!
//! **Invariant:** linear in the text and without recursion; for valid JSON every token is right, for
//! other bytes the tokens end early, and nothing panics.
//! **Next:** `../xml.rs`, which prints them.

/// A token. Strings are without their quotes, escapes and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An object begins.
    Map,
    /// An array begins.
    List,
    /// An object or array ends.
    End,
    Key(&'a str),
    Text(&'a str),
    Number(&'a str),
    /// `true`, `false` or `null`.
    Word(&'a str),
}

pub(super) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        Self { rest: json }
    }

    /// Takes `length` bytes off.
    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// A string whose opening quote is next.
    fn string(&mut self) -> Option<Token<'a>> {
        let mut escaped = false;
        let length = self.rest.bytes().skip(1).position(|byte| match byte {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' => {
                escaped = true;
                false
            }
            byte => byte == b'"',
        })?;
        let text = self.take(length + 2)?.get(1..=length)?;
        // Only a key has a colon behind it.
        let behind = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        Some(if behind.starts_with(':') {
            Token::Key(text)
        } else {
            Token::Text(text)
        })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let gap = [' ', '\t', '\n', '\r', ',', ':'];
        self.rest = self.rest.trim_start_matches(gap);
        let sign = |token, tokens: &mut Self| tokens.take(1).map(|_| token);
        match self.rest.bytes().next()? {
            b'{' => sign(Token::Map, self),
            b'[' => sign(Token::List, self),
            b'}' | b']' => sign(Token::End, self),
            b'"' => self.string(),
            first => {
                let end = self.rest.find([',', '}', ']', ' ', '\t', '\n', '\r', ':']);
                let word = self.take(end.unwrap_or(self.rest.len()))?;
                Some(if first.is_ascii_alphabetic() {
                    Token::Word(word)
                } else {
                    Token::Number(word)
                })
            }
        }
    }
}
