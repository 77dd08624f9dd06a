//! A streamed answer over the network: batches of pieces, deadlines, and the judgement of how it ended.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Stream, StreamExt};
use hyper::body::Body as _;
use tokio::time::{Instant, Sleep};

use super::answer::{Answer, garbage};
use super::sse::Parser;
use crate::domain::reply::Piece;
use crate::domain::turn::{Fault, FaultKind};

/// The most bytes that a stream may have; the longest real answers come to a fifth of it.
pub(super) const MAX_STREAM_BYTES: u64 = 256 * 1024 * 1024;

/// How long the end of the body is waited for after the end mark, so that the connection can be used again.
pub(super) const DRAIN: Duration = Duration::from_millis(50);

/// Network chunks in one turn of the loop, and pieces in one batch: others want to run too.
const MAX_CHUNKS: usize = 64;
const MAX_BATCH: usize = 256;

/// The deadlines of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until when the first event must be here.
    pub first_event_by: Instant,
    /// The longest pause between two events. Comments are no events: they show that a proxy is alive, not the model.
    pub idle: Duration,
    /// How long the figures and the end mark are waited for after the model has finished.
    pub grace: Duration,
}

/// Pieces out of a response's body. Dropping it closes the request.
pub struct Streamed {
    body: reqwest::Body,
    parser: Parser,
    answer: Answer,
    batch: Vec<Piece>,
    /// It is over, well or with a fault that is yet to be given.
    over: Option<Option<Fault>>,
    /// A batch was looked at first and put back.
    ready: bool,
    lingered: bool,
    bytes: u64,
    patience: Patience,
    begun: bool,
    deadline: Instant,
    /// Rings at the deadline or before it; setting it anew for each event would cost more than reading the event.
    alarm: Pin<Box<Sleep>>,
}

impl Streamed {
    /// Reads `body`.
    #[must_use]
    pub fn new(body: reqwest::Body, patience: Patience) -> Self {
        Self {
            body,
            parser: Parser::default(),
            answer: Answer::default(),
            batch: Vec::new(),
            over: None,
            ready: false,
            lingered: false,
            bytes: 0,
            patience,
            begun: false,
            deadline: patience.first_event_by,
            alarm: Box::pin(tokio::time::sleep_until(patience.first_event_by)),
        }
    }

    /// Waits for the first batch, which the stream then still gives.
    ///
    /// # Errors
    /// When the answer fails before anything of it has come.
    pub async fn begin(mut self) -> Result<Self, Fault> {
        if let Some(first) = self.next().await {
            self.batch = first?;
            self.ready = true;
        }
        Ok(self)
    }

    fn read(&mut self, chunk: &[u8]) {
        let Self { parser, answer, batch, .. } = self;
        let (mut events, mut fault) = (0_usize, None);
        let fed = parser.feed(chunk, |event| {
            events += 1;
            match answer.event(event, batch) {
                Ok(()) if answer.is_done() => ControlFlow::Break(()),
                Ok(()) => ControlFlow::Continue(()),
                Err(found) => {
                    fault = Some(found);
                    ControlFlow::Break(())
                }
            }
        });
        self.bytes += chunk.len() as u64;
        if self.bytes > MAX_STREAM_BYTES {
            fault = fault.or_else(|| Some(garbage("more than any answer has")));
        }
        match fault.or(fed.err().map(Fault::from)) {
            Some(fault) => self.fail(fault),
            None => self.extend_deadline(events > 0),
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
        if self.answer.is_finished() {
            let patience = if self.answer.is_done() { DRAIN } else { self.patience.grace };
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

    /// Ends it. Once the model has finished, what goes wrong after that takes nothing from the answer.
    fn fail(&mut self, fault: Fault) {
        let fault = (!self.answer.is_finished()).then_some(fault);
        self.over = Some(fault);
    }

    fn cut(&mut self) {
        self.fail(Fault::new(FaultKind::UpstreamCut, "the model's answer was cut short"));
    }

    /// Reads what is there; ready when a batch can be given or the end has come.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_CHUNKS {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.lingered = false;
                    match frame.into_data() {
                        // Whatever follows the end mark only empties the body.
                        Ok(_) if self.answer.is_done() => {}
                        Ok(chunk) => self.read(&chunk),
                        Err(_trailers) => {}
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => self.cut(),
                Poll::Pending => return self.poll_linger(cx),
            }
            if self.over.is_some() || self.batch.len() >= MAX_BATCH {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The HTTP layer hands over one chunk and needs a moment of the runtime to read the next one, although it may have
    /// come in the same packet. One such moment makes one batch of many, and every later step costs by the batch.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.batch.is_empty() {
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

impl Stream for Streamed {
    type Item = Result<Vec<Piece>, Fault>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.ready) {
            return Poll::Ready(Some(Ok(std::mem::take(&mut this.batch))));
        }
        if this.over.is_none() {
            ready!(this.poll_body(cx));
        }
        this.lingered = false;
        if !this.batch.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut this.batch))));
        }
        let fault = this.over.as_mut().and_then(Option::take);
        Poll::Ready(fault.map(Err))
    }
}
