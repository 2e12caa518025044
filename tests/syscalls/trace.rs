//! Reads what strace wrote, and judges it.
//!
//! strace stops a thread when it enters a call and when it leaves it, and writes lines in the order
//! of what it saw. A call on one line was not interleaved with anything; else its two halves are two
//! lines, `<unfinished ...>` and `<... NAME resumed>`. So one call is over before another begins
//! exactly if its last line is above the other's first.
//!
//! **Invariant:** a line that is not understood is an error, not a call less.
//! **Next:** `trace/tests.rs`, traces that must be refused.

use std::collections::BTreeMap;

/// A system call.
#[derive(Clone, Debug)]
struct Call {
    /// The line where it was entered.
    begin: usize,
    /// The line where it had returned; none if it never did.
    end: Option<usize>,
    name: String,
    arguments: String,
    result: Option<i64>,
}

/// All calls in the order they were entered.
#[derive(Debug)]
pub(crate) struct Trace {
    calls: Vec<Call>,
}

impl Trace {
    pub(crate) fn parse(text: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        // Unfinished calls: index by thread.
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let (thread, rest) = line.split_once(' ').unwrap_or_else(|| not_understood(line));
            // `-ttt` puts the time behind the thread; columns may be padded.
            let (_, rest) = rest
                .trim_start()
                .split_once(' ')
                .unwrap_or_else(|| not_understood(line));
            let rest = rest.trim_start();
            // Signals and exits.
            if rest.starts_with("---") || rest.starts_with("+++") {
                continue;
            }
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let (_, tail) = resumed
                    .split_once(" resumed>")
                    .unwrap_or_else(|| not_understood(line));
                let index = open.remove(thread).unwrap_or_else(|| not_understood(line));
                let call = &mut calls[index];
                let tail = format!("{}{tail}", call.arguments);
                call.finish(number, &tail, line);
            } else {
                let (name, tail) = rest.split_once('(').unwrap_or_else(|| not_understood(line));
                let name = name.to_owned();
                let mut call = Call {
                    begin: number,
                    end: None,
                    name,
                    arguments: String::new(),
                    result: None,
                };
                if let Some(tail) = tail.strip_suffix("<unfinished ...>") {
                    tail.clone_into(&mut call.arguments);
                    open.insert(thread, calls.len());
                } else {
                    call.finish(number, tail, line);
                }
                calls.push(call);
            }
        }
        Self { calls }
    }

    /// Whether the 202 of each marked event was written only after an fdatasync, which returned 0,
    /// of the journal file that the event had been written to before.
    pub(crate) fn check_acks(&self, markers: &[String]) -> Result<(), String> {
        for marker in markers {
            let marked = self
                .calls
                .iter()
                .filter(|call| call.arguments.contains(marker.as_str()));
            let write = marked.clone().rfind(|call| call.journal_write().is_some());
            let write = write.ok_or(format!("{marker} was never written to the journal"))?;
            let ack = marked.clone().find(|call| call.is_ack());
            let ack = ack.ok_or(format!("{marker} was never acked"))?;
            let path = write.path();
            let synced = write.end.is_some_and(|written| {
                self.synced_between(written, ack.begin, |file| file == path)
            });
            if !synced {
                return Err(format!(
                    "{marker}: written to {path} in line {}, acked in line {}, no fdatasync of \
                     that file returned between them",
                    write.begin + 1,
                    ack.begin + 1
                ));
            }
        }
        Ok(())
    }

    /// Whether an fdatasync of the journal file that each marked event had been written to returned
    /// 0 at some time after.
    pub(crate) fn check_synced_at_last(&self, markers: &[String]) -> Result<(), String> {
        for marker in markers {
            let written = self.calls.iter().rfind(|call| {
                call.arguments.contains(marker.as_str()) && call.journal_write().is_some()
            });
            let write = written.ok_or(format!("{marker} was never written to the journal"))?;
            let path = write.path();
            let synced = write.end.is_some_and(|written| {
                self.synced_between(written, usize::MAX, |file| file == path)
            });
            if !synced {
                return Err(format!("{marker}: written to {path}, never synced"));
            }
        }
        Ok(())
    }

    /// Whether each segment that held frames was started anew only after an fdatasync of sled's
    /// file that began after the last of them, and was not the one written last. `used` are segments
    /// that held frames before the trace began. Returns how many were started anew.
    pub(crate) fn check_recycling(&self, used: &[String]) -> Result<usize, String> {
        // Where the last frame of each segment was written.
        let mut frames: BTreeMap<&str, Option<usize>> =
            used.iter().map(|path| (path.as_str(), Some(0))).collect();
        let mut active: Option<&str> = None;
        let mut recycled = 0;
        for call in &self.calls {
            let path = call.path();
            match call.journal_write() {
                Some(JournalWrite::Frame) => {
                    frames.insert(path, call.end);
                }
                Some(JournalWrite::Header) => {
                    if let Some(last) = frames.remove(path) {
                        let line = call.begin + 1;
                        let synced = last.is_some_and(|last| {
                            self.synced_between(last, call.begin, |file| file.ends_with("/sled/db"))
                        });
                        if !synced {
                            return Err(format!(
                                "{path} was started anew in line {line}, but no fdatasync of \
                                 sled's file began and returned after its last frame (line {})",
                                last.map_or(0, |last| last + 1)
                            ));
                        }
                        if active == Some(path) {
                            return Err(format!(
                                "{path} was started anew in line {line} right after its own last \
                                 frame: no younger segment was kept"
                            ));
                        }
                        recycled += 1;
                    }
                    active = Some(path);
                }
                Some(JournalWrite::Fill) | None => {}
            }
        }
        Ok(recycled)
    }

    /// Whether an fdatasync (or fsync) of such a file began after one line and had returned 0 before
    /// another.
    fn synced_between(&self, after: usize, before: usize, file: impl Fn(&str) -> bool) -> bool {
        self.calls.iter().any(|call| {
            matches!(call.name.as_str(), "fdatasync" | "fsync")
                && file(call.path())
                && call.result == Some(0)
                && call.begin > after
                && call.end.is_some_and(|end| end < before)
        })
    }
}

/// What is written to a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JournalWrite {
    Header,
    Frame,
    /// Zeros, when the file is made.
    Fill,
}

impl Call {
    /// `tail` is everything behind the opening bracket.
    fn finish(&mut self, number: usize, tail: &str, line: &str) {
        let (arguments, result) = tail
            .rsplit_once(" = ")
            .unwrap_or_else(|| not_understood(line));
        self.end = Some(number);
        arguments.trim_end().clone_into(&mut self.arguments);
        // `0`, `-1 EIO (Input/output error)`, `?`.
        let result = result.split([' ', '<']).next().unwrap_or_default();
        self.result = result.parse().ok();
    }

    /// The file of the descriptor that is the first argument.
    fn path(&self) -> &str {
        let path = self.arguments.split_once('<').map_or("", |(_, rest)| rest);
        path.split_once('>').map_or("", |(path, _)| path)
    }

    fn journal_write(&self) -> Option<JournalWrite> {
        let path = self.path();
        let name = path.rsplit_once("/journal/").map_or("", |(_, name)| name);
        let writes = matches!(
            self.name.as_str(),
            "pwrite64" | "pwritev" | "write" | "writev"
        );
        if !writes || !name.ends_with(".segment") {
            return None;
        }
        Some(if self.arguments.contains("\"HLJF") {
            JournalWrite::Frame
        } else if self.arguments.contains("\"HLJS") {
            JournalWrite::Header
        } else {
            JournalWrite::Fill
        })
    }

    /// Whether it sends a 202.
    fn is_ack(&self) -> bool {
        matches!(
            self.name.as_str(),
            "write" | "writev" | "sendto" | "sendmsg"
        ) && self.arguments.contains("HTTP/1.1 202")
    }
}

#[track_caller]
fn not_understood<T>(line: &str) -> T {
    panic!("this line of strace is not understood: {line}")
}

#[cfg(test)]
mod tests;
