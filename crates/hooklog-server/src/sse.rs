//! The text of server-sent events (`text/event-stream`, of the WHATWG's HTML standard).
//!
//! **Invariant:** every event has an id to go on from, and its data stays one event whatever lines it
//! has; nothing that a publisher wrote can end an event or begin a field.
//! **Next:** `wire/poll.rs`, which makes the data.

use std::fmt::{Display, Write as _};
use std::time::Duration;

/// Events on their way.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// How soon a client comes again, and where it goes on if nothing else came.
    pub(crate) fn start(&mut self, retry: Duration, id: &impl Display) {
        self.field("retry", &retry.as_millis());
        self.field("id", id);
        self.0.push('\n');
    }

    /// An event of the kind that needs no name, or of another.
    pub(crate) fn event(&mut self, id: &impl Display, name: Option<&str>, data: &str) {
        self.field("id", id);
        if let Some(name) = name {
            self.field("event", &name);
        }
        if data.contains('\n') || data.contains('\r') {
            // A line ends at any of these; the client puts a line feed for each.
            for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
                self.field("data", &line);
            }
        } else {
            self.field("data", &data);
        }
        self.0.push('\n');
    }

    /// A sign of life; with an id, where to go on from now on.
    pub(crate) fn heartbeat(&mut self, id: Option<&dyn Display>) {
        self.0.push_str(":\n");
        if let Some(id) = id {
            self.field("id", &id);
        }
        self.0.push('\n');
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    fn field(&mut self, name: &str, value: &impl Display) {
        // Writing to a string does not fail.
        let _written = writeln!(self.0, "{name}: {value}");
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn events_are_lines() {
        let mut text = Text::default();
        assert!(text.is_empty());
        text.start(Duration::from_secs(1), &"pos_7");
        text.event(&"msg_1", None, "{\n  \"a\": 1,\r\n \"b\":\r2}\n");
        text.event(&"pos_9", Some("expired"), "{}");
        text.heartbeat(None);
        text.heartbeat(Some(&"pos_12"));
        expect![[r#"
            retry: 1000
            id: pos_7

            id: msg_1
            data: {
            data:   "a": 1,
            data:  "b":
            data: 2}
            data: 

            id: pos_9
            event: expired
            data: {}

            :

            :
            id: pos_12

        "#]]
        .assert_eq(&text.into_string());
    }
}
