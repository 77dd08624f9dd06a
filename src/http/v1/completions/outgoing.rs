//! A streamed completion on its way to the client: comments while nothing else comes, and what goes wrong as its last event.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::access::alive::Alive;
use crate::domain::turn::{Fault, FaultKind};
use crate::http::sse::{self, Commented};
use crate::http::v1::caller::ended;
use crate::http::v1::error::OpenAiError;
use crate::metering::{Chunks, Completed};
use crate::tasks::InFlightRequest;

type Answering = Pin<Box<dyn Future<Output = Result<Completed, OpenAiError>> + Send>>;

/// How far a streamed completion is.
pub enum Phase {
    /// The model's server has not answered yet.
    Answering(Answering),
    /// The chunks come.
    Streaming(Chunks),
    /// The last byte is out.
    Over,
}

/// The answer that streams what comes, from `phase` on.
pub fn respond(phase: Phase, in_flight: InFlightRequest, alive: Alive) -> Response {
    let (leaving, ending) = (Box::pin(in_flight.stopped()), Box::pin(alive.ended()));
    sse::answer(Commented::new(Outgoing { phase, leaving, ending, alive, _in_flight: in_flight }))
}

struct Outgoing {
    phase: Phase,
    leaving: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Resolves when the client's credential ends.
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    alive: Alive,
    _in_flight: InFlightRequest,
}

type Frame = Option<Result<Bytes, Infallible>>;

impl Outgoing {
    fn last(&mut self, fault: Fault) -> Frame {
        tracing::warn!(upstream.fault = fault.kind.code(), "a completion failed after it had begun");
        self.last_event(OpenAiError::from(fault))
    }

    fn last_event(&mut self, error: OpenAiError) -> Frame {
        self.phase = Phase::Over;
        Some(Ok(error.event().into()))
    }

    /// What the model's server has to give.
    fn poll_model(&mut self, cx: &mut Context<'_>) -> Poll<Frame> {
        if let Phase::Answering(answering) = &mut self.phase {
            match answering.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Completed::Events(chunks))) => self.phase = Phase::Streaming(chunks),
                Poll::Ready(Ok(Completed::Plain(_))) => {
                    let message = "the model's server sent no stream, though one was asked for";
                    return Poll::Ready(self.last(Fault::new(FaultKind::UpstreamGarbage, message)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(self.last_event(error)),
            }
        }
        let Phase::Streaming(chunks) = &mut self.phase else { return Poll::Ready(None) };
        chunks.as_mut().poll_next(cx).map(|chunk| match chunk {
            Some(Ok(bytes)) => Some(Ok(bytes)),
            Some(Err(fault)) => self.last(fault),
            None => {
                self.phase = Phase::Over;
                None
            }
        })
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Frame> {
        let this = self.get_mut();
        if matches!(this.phase, Phase::Over) {
            return Poll::Ready(None);
        }
        if this.ending.as_mut().poll(cx).is_ready() {
            let error = ended(this.alive.credential());
            return Poll::Ready(this.last_event(error));
        }
        if let Poll::Ready(frame) = this.poll_model(cx) {
            return Poll::Ready(frame);
        }
        if this.leaving.as_mut().poll(cx).is_ready() {
            let message = "the server stopped before the answer was whole";
            return Poll::Ready(this.last(Fault::new(FaultKind::ServerStopped, message)));
        }
        Poll::Pending
    }
}
