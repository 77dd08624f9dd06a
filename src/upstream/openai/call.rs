//! A call: sent as a chat completion, and its answer read.

use bytes::Bytes;
use futures::stream;
use reqwest::{Method, Response};
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::attempt::{self, Failed};
use super::body::{AnswerBody, BodyKind};
use super::client::{CHAT_COMPLETIONS, OpenAi};
use super::faults::{garbage, never_began, not_in_time};
use super::pieces::PieceReading;
use super::refusal::{Private, Prompt};
use super::streamed::Streamed;
use super::think::Thinking;
use super::wire;
use crate::domain::turn::{Fault, FaultKind};
use crate::upstream::health::Target;
use crate::upstream::{Call, Pieces};

impl OpenAi {
    pub(super) async fn send_call(&self, call: Call) -> Result<Pieces, Fault> {
        let body = wire::request(&call, &self.settings.takes(&call.model))
            .map_err(|_| Fault::new(FaultKind::Internal, "the request to the model's server could not be made"))?;
        let deadline = self.deadline(call.stream);
        let target = Target { route: CHAT_COMPLETIONS, model: &call.model };
        let answer = self.attempts(target, deadline, || self.attempt(&call, body.clone(), deadline)).await;
        answer.map_err(|failed| failed.fault)
    }

    /// One attempt, up to the first pieces of its answer.
    async fn attempt(&self, call: &Call, body: Bytes, deadline: Instant) -> Result<Pieces, Failed> {
        let request = self.request(Method::POST, &self.chat_url, Some(body));
        let private = Private { key: self.settings.api_key.as_ref(), prompt: Prompt::Messages(&call.messages) };
        let now_ms = || self.clock.now_ms();
        let response = attempt::send(&self.client, request, deadline, private, now_ms).await?;
        let status = Some(response.status().as_u16());
        // The status has come, so this is the answer, good or bad.
        self.answer(call, response, deadline).await.map_err(|fault| Failed { status, ..Failed::from(fault) })
    }

    /// The answer to a call, of which nothing has come.
    fn answer_to(&self, call: &Call) -> Answer {
        let thinking = Thinking::new(self.settings.think_tags);
        Answer::with_thinking(self.mint(), thinking).keeping(self.settings.takes(&call.model).origin)
    }

    async fn answer(&self, call: &Call, response: Response, deadline: Instant) -> Result<Pieces, Fault> {
        let late = if call.stream { never_began } else { not_in_time };
        let mut body = AnswerBody::new(response);
        match body.kind(call.stream, deadline, late).await? {
            BodyKind::Else => Err(garbage("neither JSON nor an event stream")),
            BodyKind::Json => {
                let body = attempt::whole_body(body, deadline).await?;
                let pieces = answer::whole(&body, self.answer_to(call))?;
                Ok(Box::pin(stream::iter([Ok(pieces)])))
            }
            BodyKind::Events => {
                let reading = PieceReading::new(self.answer_to(call));
                let streamed = Streamed::new(body, reading, self.deadlines(deadline));
                Ok(Box::pin(streamed.begin().await?))
            }
        }
    }
}
