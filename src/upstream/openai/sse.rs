//! Server-sent events out of bytes: pure, incremental, with a cap on what one event may hold.
//!
//! Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream". `id` and `retry` are read over: a chat answer is
//! never resumed by them. UTF-8 is decoded per event, because a network chunk may end inside a character; what is none
//! becomes U+FFFD, as the standard wants it.

use std::borrow::Cow;
use std::ops::ControlFlow;

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

/// What one event may hold, in bytes, where the caller sets no other limit.
pub const MAX_EVENT_BYTES: usize = 32 * 1024 * 1024;

/// What is kept of the memory of an event for the next one, in bytes.
const KEPT: usize = 64 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// An event, borrowed from the parser or from the chunk that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// What `event:` said; empty for an ordinary message.
    pub name: &'a str,
    /// The `data:` lines, joined by line feeds.
    pub data: &'a str,
}

/// Why the bytes are not an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line or an event is larger than the cap.
    #[error("an event is larger than any real one")]
    TooLarge,
}

/// The state between two chunks.
#[derive(Debug)]
pub struct Parser {
    max_event_bytes: usize,
    /// The unfinished line.
    line: Vec<u8>,
    /// The unfinished event's data, a line feed after each line.
    data: Vec<u8>,
    /// The unfinished event's name.
    name: Vec<u8>,
    /// The last chunk ended in CR, so that a LF at the start of the next one belongs to it.
    after_cr: bool,
    /// No line has ended yet, so the next may begin with a byte order mark.
    at_start: bool,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(MAX_EVENT_BYTES)
    }
}

impl Parser {
    /// A parser that gives up on an event, or a line, of more than `max_event_bytes`.
    #[must_use]
    pub fn new(max_event_bytes: usize) -> Self {
        Self { max_event_bytes, line: Vec::new(), data: Vec::new(), name: Vec::new(), after_cr: false, at_start: true }
    }

    /// Reads a chunk and gives each event that it completes to `on_event`, which may stop the reading; the rest of the
    /// chunk is then lost. An event that the stream's end leaves unfinished is never given.
    ///
    /// # Errors
    /// When an event is too large. The parser is of no further use then.
    pub fn feed<F>(&mut self, chunk: &[u8], mut on_event: F) -> Result<ControlFlow<()>, SseError>
    where
        F: FnMut(Event<'_>) -> ControlFlow<()>,
    {
        let mut rest = chunk;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            if self.is_between_events()
                && let Some((data, after)) = whole_event(rest, self.max_event_bytes)
            {
                rest = after;
                if on_event(Event { name: "", data: &text(data) }).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.keep(rest)?;
                break;
            };
            let (part, after) = (&rest[..end], &rest[end + 1..]);
            self.after_cr = rest[end] == b'\r';
            rest = after;
            if self.end_of_line(part)? && self.dispatch(&mut on_event).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_between_events(&self) -> bool {
        self.line.is_empty() && self.data.is_empty() && self.name.is_empty() && !self.at_start
    }

    /// Keeps a line that goes on in the next chunk.
    fn keep(&mut self, part: &[u8]) -> Result<(), SseError> {
        if self.line.len() + part.len() > self.max_event_bytes {
            return Err(SseError::TooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// Takes the line whose last part is `part`; whether it was the empty one that ends an event.
    fn end_of_line(&mut self, part: &[u8]) -> Result<bool, SseError> {
        if self.line.len() + part.len() > self.max_event_bytes {
            return Err(SseError::TooLarge);
        }
        if self.line.is_empty() {
            return self.take_line(part);
        }
        self.line.extend_from_slice(part);
        let mut line = std::mem::take(&mut self.line);
        let taken = self.take_line(&line);
        line.clear();
        self.line = line;
        taken
    }

    fn take_line(&mut self, line: &[u8]) -> Result<bool, SseError> {
        let line = match std::mem::take(&mut self.at_start) {
            true => line.strip_prefix(BOM).unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            return Ok(true);
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() > self.max_event_bytes {
                    return Err(SseError::TooLarge);
                }
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Gives the event that has been collected, if there is data in it.
    fn dispatch<F>(&mut self, on_event: &mut F) -> ControlFlow<()>
    where
        F: FnMut(Event<'_>) -> ControlFlow<()>,
    {
        let flow = match self.data.split_last() {
            None => ControlFlow::Continue(()),
            Some((_, data)) => on_event(Event { name: &text(&self.name), data: &text(data) }),
        };
        // What a picture took is not kept for the words that follow it.
        self.data.clear();
        self.data.shrink_to(KEPT);
        self.line.shrink_to(KEPT);
        self.name.clear();
        flow
    }
}

/// The shape of nearly every event, `data: ...\n\n` or the same with CRLF, read in place: its data, and what follows.
fn whole_event(bytes: &[u8], max_event_bytes: usize) -> Option<(&[u8], &[u8])> {
    const FIELD: &[u8] = b"data: ";
    let value = bytes.strip_prefix(FIELD)?;
    let end = memchr2(b'\n', b'\r', value)?;
    if FIELD.len() + end > max_event_bytes {
        return None;
    }
    let (data, ends) = value.split_at(end);
    let after = ends.strip_prefix(b"\n\n").or_else(|| ends.strip_prefix(b"\r\n\r\n"))?;
    Some((data, after))
}

/// Bytes as the text that they are, or are nearly. Checking first is much faster.
#[must_use]
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Whether an event's data is whole, whatever became of the empty line behind it.
#[must_use]
pub fn is_whole(data: &str) -> bool {
    data.trim_ascii() == "[DONE]" || serde_json::from_str::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests;
