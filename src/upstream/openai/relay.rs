//! A streamed answer on its way through: whole events, forwarded as the bytes that they came in, and judged on the way.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use super::course::{Course, Onward};
use super::faults::garbage;
use super::sse::{MAX_EVENT_BYTES, Parser, is_whole};
use super::streamed::{Reading, Stage};
use crate::domain::turn::Fault;

const DONE: &[u8] = b"data: [DONE]\n\n";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Events out of a response's body.
#[derive(Debug)]
pub struct Relay {
    course: Course,
    /// An unfinished event, and how much of it has been searched for its end.
    tail: BytesMut,
    searched: usize,
    at_start: bool,
    ready: VecDeque<Bytes>,
}

impl Relay {
    /// For an answer that is judged by `course`.
    #[must_use]
    pub fn new(course: Course) -> Self {
        let (tail, ready) = (BytesMut::new(), VecDeque::new());
        Self { course, tail, searched: 0, at_start: true, ready }
    }

    /// Hands on the whole events at the front of `bytes`: how far they go, whether all are good, and how many.
    fn take_events(&mut self, bytes: &Bytes) -> (usize, Result<(), Fault>, usize) {
        let (mut from, mut at, mut events) = (0, 0, 0);
        let mut search = std::mem::take(&mut self.searched);
        while !self.course.is_done()
            && let Some(end) = event_end(bytes, search.max(at))
        {
            if std::mem::take(&mut self.at_start) && bytes.starts_with(BOM) {
                (from, at) = (BOM.len(), BOM.len());
            }
            search = 0;
            let event = bytes.get(at..end).unwrap_or_default();
            match judge(&mut self.course, event) {
                Ok(None) => {}
                Ok(Some(Onward { before, instead: None })) if before.is_empty() => events += 1,
                Ok(Some(Onward { before, instead })) => {
                    events += 1;
                    self.give(bytes.slice(from..at));
                    let own = before.iter().chain(&instead).map(|data| event_of(data)).collect::<String>();
                    self.give(own.into());
                    from = if instead.is_some() { end } else { at };
                }
                Err(fault) => {
                    self.give(bytes.slice(from..at));
                    return (at, Err(fault), events);
                }
            }
            at = end;
        }
        self.give(bytes.slice(from..at));
        (at, Ok(()), events)
    }

    fn give(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.ready.push_back(bytes);
        }
    }
}

impl Reading for Relay {
    type Item = Bytes;

    fn read(&mut self, chunk: Bytes) -> (usize, Result<(), Fault>) {
        let bytes = match self.tail.is_empty() {
            true => chunk,
            false => {
                self.tail.extend_from_slice(&chunk);
                // A large event comes in many chunks, and is neither copied nor searched anew for each.
                if event_end(&self.tail, self.searched).is_none() && self.tail.len() <= MAX_EVENT_BYTES {
                    self.searched = self.tail.len().saturating_sub(3);
                    return (0, Ok(()));
                }
                self.tail.split().freeze()
            }
        };
        let (kept, read, events) = self.take_events(&bytes);
        if read.is_err() {
            // Nothing counts as begun, so that an error right behind the first event has its status.
            return (0, read);
        }
        let rest = bytes.get(kept..).unwrap_or_default();
        if rest.len() > MAX_EVENT_BYTES {
            return (0, Err(garbage("an event that is larger than any real one")));
        }
        // An end may be torn between two chunks.
        self.searched = rest.len().saturating_sub(3);
        self.tail.extend_from_slice(rest);
        (events, Ok(()))
    }

    fn last(&mut self) -> (usize, Result<(), Fault>) {
        let event = [self.tail.as_ref(), b"\n\n"].concat();
        match data_of(&event).is_some_and(|data| is_whole(&data)) {
            true => self.read(Bytes::from_static(b"\n\n")),
            false => (0, Ok(())),
        }
    }

    fn stage(&self) -> Stage {
        match (self.course.is_done(), self.course.is_finished()) {
            (true, _) => Stage::Done,
            (false, true) => Stage::Finished,
            (false, false) => Stage::Going,
        }
    }

    fn may_end(&self) -> bool {
        self.course.may_end()
    }

    /// Puts the end mark back where it is missing.
    fn end(&mut self) {
        if !self.course.is_done() {
            self.ready.push_back(Bytes::from_static(DONE));
        }
    }

    fn is_full(&self) -> bool {
        self.is_ready()
    }

    fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn take(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }
}

/// Where the first event ends, the empty line included, when what stands before `from` is known to hold no end.
#[must_use]
pub fn event_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr2(b'\n', b'\r', bytes.get(at..)?)?;
        let lines = bytes.get(at..)?;
        // The end of a line, and the empty line after it.
        let end = match lines {
            [b'\r', b'\n', b'\r', b'\n', ..] => 4,
            [b'\r', b'\r', b'\n', ..] | [b'\n', b'\r', b'\n', ..] | [b'\r', b'\n', b'\n', ..] => 3,
            [b'\n', b'\n', ..] | [b'\r', b'\r', ..] | [b'\n', b'\r', ..] => 2,
            [b'\r', b'\n', ..] => {
                at += 2;
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        return Some(at + end);
    }
}

/// An event with this data, which may have several lines where JSON has blanks.
fn event_of(data: &str) -> String {
    format!("data: {}\n\n", data.replace('\n', "\ndata: "))
}

/// The data of an event, in one piece; `None` for comments and the like.
#[must_use]
pub fn data_of(event: &[u8]) -> Option<String> {
    let mut data = None;
    // What is too large was a fault before it came here.
    let _ = Parser::default().feed(event, |event| {
        data = Some(event.data.trim_ascii().to_owned()).filter(|data| !data.is_empty());
        ControlFlow::Break(())
    });
    data
}

/// What goes on for an event; `None` for a comment and the like.
fn judge(course: &mut Course, event: &[u8]) -> Result<Option<Onward>, Fault> {
    if let Some(data) = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii)
        && memchr2(b'\n', b'\r', data).is_none()
    {
        return if data.is_empty() { Ok(None) } else { course.event("", data).map(Some) };
    }
    let mut verdict = Ok(None);
    let fed = Parser::default().feed(event, |event| {
        let data = event.data.trim_ascii().as_bytes();
        if !data.is_empty() {
            verdict = course.event(event.name, data).map(Some);
        }
        ControlFlow::Break(())
    });
    fed.map_err(Fault::from).and(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_at_its_empty_line() {
        for (text, end) in [
            ("data: a\n\nrest", 9),
            ("data: a\r\n\r\nrest", 11),
            ("data: a\r\rrest", 9),
            ("data: a\ndata: b\n\n", 17),
            ("data: a\r\ndata: b\r\n\r\n", 20),
            (": ping\n\n", 8),
        ] {
            assert_eq!(event_end(text.as_bytes(), 0), Some(end), "{text:?}");
            // Wherever it is torn, the search that goes on finds the same end.
            for torn in 0..end - 1 {
                let found = event_end(&text.as_bytes()[..torn], 0);
                if found.is_none() {
                    assert_eq!(event_end(text.as_bytes(), torn.saturating_sub(3)), Some(end), "{text:?} at {torn}");
                }
            }
        }
        for text in ["", "data: a", "data: a\n", "data: a\r\n", "data: a\ndata: b\n"] {
            assert_eq!(event_end(text.as_bytes(), 0), None, "{text:?}");
        }
    }
}
