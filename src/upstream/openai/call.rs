//! A call: sent as a chat completion, and its answer read.

use bytes::Bytes;
use futures::stream;
use reqwest::{Method, Response};
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::attempt::{self, BodyKind, Failed};
use super::client::{CHAT_COMPLETIONS, OpenAi};
use super::faults::garbage;
use super::pieces::PieceReading;
use super::refusal::{Private, Prompt};
use super::streamed::Streamed;
use super::wire;
use crate::domain::turn::{Fault, FaultKind};
use crate::upstream::health::Target;
use crate::upstream::{Call, Pieces};

impl OpenAi {
    pub(super) async fn send_call(&self, call: Call) -> Result<Pieces, Fault> {
        let body = wire::request(&call, self.settings.takes_one_system())
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

    async fn answer(&self, call: &Call, response: Response, deadline: Instant) -> Result<Pieces, Fault> {
        match attempt::content(response.headers(), call.stream) {
            BodyKind::Else => Err(garbage("neither JSON nor an event stream")),
            BodyKind::Json => {
                let body = attempt::whole_body(response.into(), deadline).await?;
                let pieces = answer::whole(&body, self.mint())?;
                Ok(Box::pin(stream::iter([Ok(pieces)])))
            }
            BodyKind::Events => {
                let reading = PieceReading::new(Answer::new(self.mint()));
                let streamed = Streamed::new(response.into(), reading, self.deadlines(deadline));
                Ok(Box::pin(streamed.begin().await?))
            }
        }
    }
}
