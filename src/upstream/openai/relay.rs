//! A streamed answer on its way through: whole events, forwarded as the bytes that they came in, with deadlines and a
//! judgement of how the answer ended.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use hyper::body::Body as _;
use memchr::memchr2;
use tokio::time::{Instant, Sleep};

use super::answer::garbage;
use super::mend::Course;
use super::sse::{MAX_EVENT_BYTES, Parser};
use super::streamed::{DRAIN, MAX_STREAM_BYTES, Patience};
use crate::domain::turn::{Fault, FaultKind};

const DONE: &[u8] = b"data: [DONE]\n\n";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Network chunks in one turn of the loop: others want to run too.
const MAX_CHUNKS: usize = 64;

/// Events out of a response's body. Dropping it closes the request.
pub struct Relay {
    body: reqwest::Body,
    course: Course,
    /// An unfinished event, and how much of it has been searched for its end.
    tail: BytesMut,
    searched: usize,
    at_start: bool,
    ready: VecDeque<Bytes>,
    /// It is over, well or with a fault that is yet to be given.
    over: Option<Option<Fault>>,
    begun: bool,
    bytes: u64,
    patience: Patience,
    deadline: Instant,
    /// Rings at the deadline or before it; setting it anew for each event would cost more than reading the event.
    alarm: Pin<Box<Sleep>>,
}

impl Relay {
    /// Reads `body`, an answer of so many choices.
    #[must_use]
    pub fn new(body: reqwest::Body, choices: u32, patience: Patience) -> Self {
        Self {
            body,
            course: Course::new(choices),
            tail: BytesMut::new(),
            searched: 0,
            at_start: true,
            ready: VecDeque::new(),
            over: None,
            begun: false,
            bytes: 0,
            patience,
            deadline: patience.first_event_by,
            alarm: Box::pin(tokio::time::sleep_until(patience.first_event_by)),
        }
    }

    /// Waits for the first event, which the stream then still gives.
    ///
    /// # Errors
    /// When the answer fails before anything of it has come.
    pub async fn begin(mut self) -> Result<Self, Fault> {
        let mut early = VecDeque::new();
        while !self.begun {
            match self.next().await {
                Some(Ok(bytes)) => early.push_back(bytes),
                Some(Err(fault)) => return Err(fault),
                None => break,
            }
        }
        early.append(&mut self.ready);
        self.ready = early;
        Ok(self)
    }

    fn read(&mut self, chunk: Bytes) {
        self.bytes += chunk.len() as u64;
        let bytes = match self.tail.is_empty() {
            true => chunk,
            false => {
                self.tail.extend_from_slice(&chunk);
                self.tail.split().freeze()
            }
        };
        let (kept, read, events) = self.take_events(&bytes);
        if let Err(fault) = read {
            return self.fail(fault);
        }
        let rest = bytes.get(kept..).unwrap_or_default();
        if self.bytes > MAX_STREAM_BYTES {
            return self.fail(garbage("more than any answer has"));
        }
        if rest.len() > MAX_EVENT_BYTES {
            return self.fail(garbage("an event that is larger than any real one"));
        }
        // An end may be torn between two chunks.
        self.searched = rest.len().saturating_sub(3);
        self.tail.extend_from_slice(rest);
        self.extend_deadline(events > 0);
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
                Ok((counts, None)) => events += usize::from(counts),
                Ok((_, Some(first))) => {
                    events += 1;
                    self.give(bytes.slice(from..at));
                    self.give(first.into());
                    from = at;
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

    fn extend_deadline(&mut self, event: bool) {
        let now = Instant::now();
        if !event {
            if now >= self.deadline {
                self.expire();
            }
            return;
        }
        self.begun = true;
        if self.course.is_finished() {
            let patience = if self.course.is_done() { DRAIN } else { self.patience.grace };
            self.deadline = now + patience;
            self.alarm.as_mut().reset(self.deadline);
        } else {
            self.deadline = now + self.patience.idle;
        }
    }

    fn expire(&mut self) {
        let what = if self.begun {
            "the model stopped in the middle of its answer"
        } else {
            "the model did not begin to answer in time"
        };
        self.fail(Fault::new(FaultKind::UpstreamTimeout, what));
    }

    /// Ends it. Once the model has finished, what goes wrong after that takes nothing from the answer but its end mark,
    /// which is put back.
    fn fail(&mut self, fault: Fault) {
        if !self.course.may_end() {
            self.over = Some(Some(fault));
            return;
        }
        if !self.course.is_done() {
            self.ready.push_back(Bytes::from_static(DONE));
        }
        self.over = Some(None);
    }

    /// Reads what is there; ready when something can be given or the end has come.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_CHUNKS {
            match ready!(self.poll_frame(cx)) {
                // Whatever follows the end mark only empties the body.
                Some(Some(_)) if self.course.is_done() => {}
                Some(Some(chunk)) => self.read(chunk),
                Some(None) => {}
                None => self.fail(Fault::new(FaultKind::UpstreamCut, "the model's answer was cut short")),
            }
            if self.over.is_some() || !self.ready.is_empty() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next data, or what is none; `None` at the end, and when nothing comes in time.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<Bytes>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(frame.into_data().ok())),
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.poll_alarm(cx));
                Poll::Ready(Some(None))
            }
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                self.expire();
                return Poll::Ready(());
            }
            let deadline = self.deadline;
            self.alarm.as_mut().reset(deadline);
        }
    }
}

impl Stream for Relay {
    type Item = Result<Bytes, Fault>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ready.is_empty() && this.over.is_none() {
            ready!(this.poll_body(cx));
        }
        if let Some(bytes) = this.ready.pop_front() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let fault = this.over.as_mut().and_then(Option::take);
        Poll::Ready(fault.map(Err))
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

/// Whether an event is one, rather than a comment, and what has to come before it.
fn judge(course: &mut Course, event: &[u8]) -> Result<(bool, Option<String>), Fault> {
    if let Some(data) = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii)
        && memchr2(b'\n', b'\r', data).is_none()
    {
        return match data.is_empty() {
            true => Ok((false, None)),
            false => course.event("", data).map(|first| (true, first)),
        };
    }
    let mut verdict = Ok((false, None));
    let fed = Parser::default().feed(event, |event| {
        let data = event.data.trim_ascii().as_bytes();
        if !data.is_empty() {
            verdict = course.event(event.name, data).map(|first| (true, first));
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
