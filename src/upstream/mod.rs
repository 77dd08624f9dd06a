//! The model: one call, answered by a stream of pieces.

pub mod demo;
pub mod forward;
pub mod health;
pub mod openai;

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

use self::forward::{Ask, Completed, Passage, Passed, Rejected};
use crate::domain::dialogue::PromptMessage;
use crate::domain::reply::Piece;
use crate::domain::turn::Fault;

/// A call, in terms that every model understands; the upstream knows how its models want it said.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The model.
    pub model: String,
    /// System prompt, history, prompt.
    pub messages: Vec<PromptMessage>,
    /// Left out for models that refuse one.
    pub temperature: Option<f64>,
    /// The most tokens the answer may have; `None` leaves it to the model.
    pub max_tokens: Option<u32>,
    /// Whether pieces are wanted as they come, or the answer in one.
    pub stream: bool,
    /// Further fields, as Chat Completions take them: a JSON object's text.
    pub options: Option<String>,
}

/// Pieces as they arrive, all that came together in one batch. The stream ends after the answer's proper end; an answer
/// without one ends in an error. Dropping the stream closes the request.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Vec<Piece>, Fault>> + Send>>;

/// What an upstream says it is, for the start-up lines and `--check`.
#[derive(Debug, Clone)]
pub struct UpstreamInfo {
    /// `openai`, `compatible` or `demo`.
    pub kind: &'static str,
    /// Where it is, with credentials left out.
    pub location: String,
}

/// A model server.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// What this upstream is.
    fn info(&self) -> UpstreamInfo;

    /// Sends a call, retries it where that is safe and cheap, and gives the answer once its first bytes are here.
    async fn call(&self, call: Call) -> Result<Pieces, Fault>;

    /// Passes a chat completion on, and its answer back, both as they came but for known flaws.
    async fn complete(&self, _ask: Ask) -> Result<Completed, Rejected> {
        Err(Rejected::not_offered())
    }

    /// The list of models in OpenAI's shape; `None` where the upstream has none.
    async fn models(&self) -> Result<Option<Bytes>, Rejected> {
        Ok(None)
    }

    /// Passes any other request on, and its answer back.
    async fn pass(&self, _passage: Passage) -> Result<Passed, Rejected> {
        Err(Rejected::not_offered())
    }

    /// Whether the upstream answers and takes our key: one cheap request, for `--check`.
    async fn check(&self) -> Result<String, Fault>;
}
