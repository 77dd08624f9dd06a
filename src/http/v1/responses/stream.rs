//! A response on its way to its client: waited for, or event by event.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ask::Asked;
use super::events::{Frames, Projector};
use super::object::{Head, State};
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::{ItemId, TurnId};
use crate::domain::turn::{FaultKind, TurnStatus};
use crate::http::error::ApiError;
use crate::http::sse;
use crate::http::v1::error::OpenAiError;
use crate::turn::cancel::CancelOnLeave;
use crate::turn::reader::{Next, Reader};
use crate::turn::scratch::ScratchSpace;

/// One reader's view of a response.
pub struct ResponseStream {
    reader: Reader,
    head: Head,
    projector: Projector,
    on_leave: Option<CancelOnLeave>,
    /// Where the response is, if it is not stored: it goes when its reader does.
    _space: Option<ScratchSpace>,
}

/// How a streamed response begins.
pub enum Lead<F> {
    /// Before anything was said: the answer is an error with its own status.
    Failed(OpenAiError),
    /// With these events, of which the last one may be the end.
    Stream(F, bool),
}

impl ResponseStream {
    /// The response that was asked for.
    #[must_use]
    pub fn new(asked: Asked, space: Option<ScratchSpace>) -> Self {
        let Asked { accepted, head, answer_id } = asked;
        let projector = Projector::new(head.clone(), answer_id, None);
        Self { reader: accepted.reader, head, projector, on_leave: accepted.on_leave, _space: space }
    }

    /// A stored response, from after its event number `after`. `reader` reads from the turn's first event on.
    #[must_use]
    pub fn stored(reader: Reader, head: Head, answer_id: ItemId, after: Option<u64>) -> Self {
        let projector = Projector::new(head.clone(), answer_id, after);
        Self { reader, head, projector, on_leave: None, _space: None }
    }

    /// The turn that is read.
    #[must_use]
    pub fn turn(&self) -> &TurnId {
        self.reader.turn()
    }

    /// The response as it is before anything has come.
    #[must_use]
    pub fn queued(&self) -> String {
        self.head.object(&State::without_output("queued"))
    }

    fn disarm(&mut self) {
        if let Some(on_leave) = self.on_leave.take() {
            on_leave.disarm();
        }
    }

    /// Waits for the whole response.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn whole(&mut self) -> Result<String, OpenAiError> {
        let end = self.reader.end().await;
        self.disarm();
        let end = end.map_err(ApiError::from)?;
        match failure(&end) {
            Some(error) => Err(error),
            None => Ok(self.head.object(&State::of(&end))),
        }
    }

    /// Waits until something is said, at most `patience`: a failure before that keeps its status.
    pub async fn lead<F: Frames + Default>(&mut self, patience: Duration) -> Lead<F> {
        let deadline = Instant::now() + patience;
        let mut out = F::default();
        loop {
            let Ok(next) = tokio::time::timeout_at(deadline, self.reader.next()).await else {
                return Lead::Stream(out, false);
            };
            let events = match next {
                Next::Events(events) => events,
                other => return Lead::Failed(ApiError::from(other).into()),
            };
            if let Some(Event::Ended(end)) = events.last().map(|event| &event.event)
                && end.answer.is_none()
                && let Some(error) = failure(end)
            {
                self.disarm();
                return Lead::Failed(error);
            }
            let said = events.iter().any(|event| !matches!(event.event, Event::Started { .. }));
            let last = self.show_all(&events, &mut out);
            if said {
                return Lead::Stream(out, last);
            }
        }
    }

    /// The next events, and whether they are the last.
    pub async fn go_on<F: Frames + Default>(&mut self) -> (F, bool) {
        let mut out = F::default();
        let last = match self.reader.next().await {
            Next::Events(events) => self.show_all(&events, &mut out),
            Next::Done => true,
            other => {
                let error = OpenAiError::from(ApiError::from(other));
                out.add("error", &error_event(&error, self.projector.last_number()));
                true
            }
        };
        if last {
            self.disarm();
        }
        (out, last)
    }

    /// Adds these events; true where the last one is the response's end.
    pub fn show_all(&mut self, events: &[Arc<Numbered>], out: &mut impl Frames) -> bool {
        events.iter().for_each(|event| self.projector.show(&event.event, out));
        let last = events.last().is_some_and(|event| event.event.is_end());
        if last {
            self.disarm();
        }
        last
    }
}

impl sse::Source for ResponseStream {
    async fn next(&mut self) -> (String, bool) {
        self.go_on().await
    }
}

/// What the client of a response that failed is told. Where something was said it is stored, and sending the request
/// again would say it twice.
fn failure(end: &End) -> Option<OpenAiError> {
    let is_failed = matches!(end.status, TurnStatus::Failed | TurnStatus::Interrupted);
    let fault = end.fault.as_ref().filter(|_| is_failed || end.answer.is_none())?;
    let error = OpenAiError::from(fault.clone());
    // The upstream's word for it is that of Chat Completions.
    let error = if fault.kind == FaultKind::ContextTooLong { error.param("input") } else { error };
    Some(if end.answer.is_some() { error.should_retry(false) } else { error })
}

/// A failure that is not the response's own, as the last event of a stream. Some clients look for it in `error`, others
/// beside `type`.
#[must_use]
pub fn error_event(error: &OpenAiError, number: u64) -> String {
    let object = error.object();
    serde_json::json!({
        "type": "error", "sequence_number": number, "error": object,
        "code": object.code, "message": object.message, "param": object.param,
    })
    .to_string()
}
