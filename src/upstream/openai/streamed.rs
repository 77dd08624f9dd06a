//! A streamed answer over the network: its body read with deadlines and limits, and the judgement of how it ended. What is
//! made of the bytes is up to a [`Reading`]: pieces of an answer, or whole events to be passed on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use super::body::AnswerBody;
use super::faults::{cut, garbage, never_began, stalled};
use crate::domain::turn::Fault;

/// The most bytes that a stream may have; the longest real answers come to a fifth of it.
const MAX_STREAM_BYTES: u64 = 256 * 1024 * 1024;

/// How long comments keep an answer alive in which nothing else comes: a model that thinks, or waits for its place, does so
/// behind them, and a proxy goes on with them for ever where its model has died.
const LONGEST_WITHOUT_EVENT: Duration = Duration::from_secs(3_600);

/// How long the end of the body is waited for after the end mark, so that the connection can be used again.
const DRAIN: Duration = Duration::from_millis(50);

/// Network chunks in one turn of the loop: others want to run too.
const MAX_CHUNKS: usize = 64;

/// The deadlines of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Until when the first event must be here.
    pub first_event_by: Instant,
    /// The longest silence between two events. A comment, or a part of an event, breaks it for [`LONGEST_WITHOUT_EVENT`].
    pub idle: Duration,
    /// How long the figures and the end mark are waited for after the model has finished.
    pub grace: Duration,
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The model has more to say.
    Going,
    /// The model has finished: what may still come are the figures and the end mark.
    Finished,
    /// The end mark has come: nothing follows.
    Done,
}

/// What is made of an answer's bytes.
pub trait Reading: Unpin {
    /// What the stream gives.
    type Item: Unpin;

    /// Takes the next bytes: how many events they brought, and a fault where they are no answer, or report one.
    fn read(&mut self, chunk: Bytes) -> (usize, Result<(), Fault>);

    /// How far the answer has come.
    fn stage(&self) -> Stage;

    /// Whether an answer that ends here is whole.
    fn may_end(&self) -> bool;

    /// The body has ended; what has come of an event that had no proper end is read if it is whole all the same.
    fn last(&mut self) -> (usize, Result<(), Fault>) {
        (0, Ok(()))
    }

    /// The body has ended where it may.
    fn end(&mut self) {}

    /// Whether enough is there to be given at once.
    fn is_full(&self) -> bool;

    /// Whether anything is there to be given.
    fn is_ready(&self) -> bool;

    /// What is there; `None` where nothing is.
    fn take(&mut self) -> Option<Self::Item>;
}

/// A streamed answer. Dropping it closes the request.
pub struct Streamed<R: Reading> {
    body: AnswerBody,
    reading: R,
    /// What was looked at first and put back.
    early: VecDeque<R::Item>,
    /// It is over, well or with a fault that is yet to be given.
    over: Option<Option<Fault>>,
    lingered: bool,
    bytes: u64,
    begun: bool,
    deadlines: Deadlines,
    deadline: Instant,
    /// When the last event came, or the answer began.
    last_event: Instant,
    /// Rings at the deadline or before it; setting it anew for each event would cost more than reading the event.
    alarm: Pin<Box<Sleep>>,
}

impl<R: Reading> Streamed<R> {
    /// Reads `body`.
    #[must_use]
    pub fn new(body: AnswerBody, reading: R, deadlines: Deadlines) -> Self {
        Self {
            body,
            reading,
            early: VecDeque::new(),
            over: None,
            lingered: false,
            bytes: 0,
            begun: false,
            deadlines,
            deadline: deadlines.first_event_by,
            last_event: Instant::now(),
            alarm: Box::pin(tokio::time::sleep_until(deadlines.first_event_by)),
        }
    }

    /// Waits for the first event, and for something to give, which the stream then still gives.
    ///
    /// # Errors
    /// When the answer fails before anything of it has come.
    pub async fn begin(mut self) -> Result<Self, Fault> {
        let mut early = VecDeque::new();
        while early.is_empty() || !self.begun {
            match self.next().await {
                Some(item) => early.push_back(item?),
                None => break,
            }
        }
        self.early = early;
        Ok(self)
    }

    fn read(&mut self, chunk: Bytes) {
        self.bytes += chunk.len() as u64;
        let read = self.reading.read(chunk);
        self.judge(read);
    }

    fn judge(&mut self, (events, read): (usize, Result<(), Fault>)) {
        self.begun |= events > 0;
        match read {
            Err(fault) => self.fail(fault),
            Ok(()) if self.bytes > MAX_STREAM_BYTES => self.fail(garbage("more than any answer has")),
            Ok(()) => self.extend_deadline(events > 0),
        }
    }

    fn extend_deadline(&mut self, event: bool) {
        let now = Instant::now();
        if !event {
            return self.extend_silence(now);
        }
        self.last_event = now;
        let patience = match self.reading.stage() {
            Stage::Going => self.deadlines.idle,
            Stage::Finished => self.deadlines.grace,
            Stage::Done => DRAIN,
        };
        self.deadline = now + patience;
        // Only now may it be sooner than the alarm is set for.
        if self.reading.stage() != Stage::Going {
            self.alarm.as_mut().reset(self.deadline);
        }
    }

    fn extend_silence(&mut self, now: Instant) {
        if self.reading.stage() == Stage::Going {
            let alive = (now + self.deadlines.idle).min(self.last_event + LONGEST_WITHOUT_EVENT);
            self.deadline = self.deadline.max(alive);
        }
        if now >= self.deadline {
            self.expire();
        }
    }

    /// The body has ended by itself.
    fn end(&mut self) {
        if self.reading.stage() != Stage::Done {
            let read = self.reading.last();
            self.judge(read);
        }
        if self.over.is_none() {
            self.fail(cut());
        }
    }

    fn expire(&mut self) {
        self.fail(if self.begun { stalled() } else { never_began() });
    }

    /// Ends it. What goes wrong after the model has finished takes nothing from the answer.
    fn fail(&mut self, fault: Fault) {
        let whole = self.reading.may_end();
        if whole {
            self.reading.end();
        }
        self.over = Some((!whole).then_some(fault));
    }

    /// Reads what is there; ready when something can be given or the end has come.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_CHUNKS {
            match self.body.poll_bytes(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    self.lingered = false;
                    // Whatever follows the end mark only empties the body.
                    if self.reading.stage() != Stage::Done {
                        self.read(chunk);
                    }
                }
                Poll::Ready(Some(Err(fault))) => self.fail(fault),
                Poll::Ready(None) => self.end(),
                Poll::Pending => return self.poll_linger(cx),
            }
            if self.over.is_some() || self.reading.is_full() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The HTTP layer hands over one chunk and needs a moment of the runtime to read the next one, although it may have
    /// come in the same packet. One such moment makes one batch of many, and every later step costs by the batch.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.reading.is_ready() {
            return self.poll_alarm(cx);
        }
        if std::mem::replace(&mut self.lingered, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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

impl<R: Reading> Stream for Streamed<R> {
    type Item = Result<R::Item, Fault>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(item) = this.early.pop_front() {
            return Poll::Ready(Some(Ok(item)));
        }
        if this.over.is_none() && !this.reading.is_full() {
            ready!(this.poll_body(cx));
        }
        this.lingered = false;
        if let Some(item) = this.reading.take() {
            return Poll::Ready(Some(Ok(item)));
        }
        let fault = this.over.as_mut().and_then(Option::take);
        Poll::Ready(fault.map(Err))
    }
}
