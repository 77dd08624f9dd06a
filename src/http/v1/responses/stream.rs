//! A response as its reader sees it: whole, or event by event.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;

use super::ask::Asked;
use super::events::Projector;
use super::object::{Head, State};
use crate::access::alive::Alive;
use crate::domain::event::{End, Numbered};
use crate::domain::ids::ItemId;
use crate::domain::turn::{FaultKind, TurnStatus};
use crate::http::feed::{Feed, Lead, Projection};
use crate::http::sse::{self, Frames};
use crate::http::v1::caller::{ended, while_alive};
use crate::http::v1::error::OpenAiError;
use crate::turn::reader::{Next, Reader};
use crate::turn::scratch::ScratchSpace;

/// A response on its way to its client.
pub type ResponseFeed = Feed<ResponseProjection>;

/// A turn as a response.
pub struct ResponseProjection {
    head: Head,
    projector: Projector,
    /// Where the response is, if it is not stored: it goes when its reader does.
    _space: Option<ScratchSpace>,
}

/// The response that was asked for.
pub fn asked(asked: Asked, space: Option<ScratchSpace>) -> ResponseFeed {
    let Asked { accepted, head, answer_id } = asked;
    let projector = Projector::new(head.clone(), answer_id, None);
    Feed::new(accepted.reader, ResponseProjection { head, projector, _space: space }).with_leave(accepted.on_leave)
}

/// A stored response, from after its event number `after`. `reader` reads from the turn's first event on.
pub fn stored(reader: Reader, head: Head, answer_id: ItemId, after: Option<u64>) -> ResponseFeed {
    let projector = Projector::new(head.clone(), answer_id, after);
    Feed::new(reader, ResponseProjection { head, projector, _space: None })
}

impl ResponseProjection {
    /// The number of the last event that its reader has.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.projector.last_number()
    }

    /// The response as it is before anything has come.
    #[must_use]
    pub fn queued(&self) -> String {
        self.head.object(&State::without_output("queued"))
    }
}

impl Projection for ResponseProjection {
    type Whole = String;
    type Error = OpenAiError;

    const COMES_BACK: bool = false;

    fn show(&mut self, event: &Numbered, out: &mut impl Frames) {
        self.projector.show(&event.event, out);
    }

    fn cut_short(&mut self, why: Next, out: &mut impl Frames) {
        let event = error_event(&why.into(), self.projector.last_number());
        out.add(None, "error", &event);
    }

    fn whole(&self, end: &End) -> Result<String, OpenAiError> {
        match failure(end) {
            Some(error) => Err(error),
            None => Ok(self.head.object(&State::of(end))),
        }
    }
}

/// The answer as a stream, once something is said. It ends when the client's credential does.
///
/// # Errors
/// What failed before that.
pub async fn live(mut feed: ResponseFeed, alive: Alive, patience: Duration) -> Result<Response, OpenAiError> {
    match while_alive(&alive, feed.lead::<String>(patience)).await? {
        Lead::Failed(error) => Err(error),
        Lead::Stream(first, is_last) => Ok(sse::respond(first, (!is_last).then_some(Live { feed, alive }))),
    }
}

/// These events, which were read already, and all that follow, as a stream that ends when the client's credential does.
pub fn live_from(mut feed: ResponseFeed, alive: Alive, first: &[Arc<Numbered>]) -> Response {
    let (frames, is_last) = feed.frames_of(first);
    sse::respond(frames, (!is_last).then_some(Live { feed, alive }))
}

struct Live {
    feed: ResponseFeed,
    alive: Alive,
}

impl sse::Source for Live {
    async fn next(&mut self) -> (String, bool) {
        match self.alive.unless_ended(Feed::next(&mut self.feed)).await {
            Some(next) => next,
            None => {
                let number = self.feed.projection().projector.last_number();
                let mut out = String::new();
                out.add(None, "error", &error_event(&ended(self.alive.credential()), number));
                (out, true)
            }
        }
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
fn error_event(error: &OpenAiError, number: u64) -> String {
    let object = error.object();
    serde_json::json!({
        "type": "error", "sequence_number": number, "error": object,
        "code": object.code, "message": object.message, "param": object.param,
    })
    .to_string()
}
