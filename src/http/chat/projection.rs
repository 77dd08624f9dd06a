//! A turn's events as `/chat` shows them: one plain object, or a stream of events.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::domain::delta::Delta;
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::item::{Role, StoredItem};
use crate::domain::json::json_of;
use crate::domain::output::Answer;
use crate::domain::question;
use crate::domain::turn::{Fault, FaultKind, TurnStatus, Usage};
use crate::http::error::ApiError;
use crate::http::feed::{Feed, Projection};
use crate::http::sse::{self, Frames};
use crate::turn::reader::{Next, Reader};

/// One event of a stream: an `id:`, an `event:` and a `data:` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"id": "2", "event": "delta", "data": "{\"content\":\"Hello\"}"}))]
pub struct ChatEvent {
    /// Counts up from 1 within a turn. `reconnect` has none, nor has an `error` that is not the turn's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "2")]
    pub id: Option<String>,
    /// What happened.
    pub event: ChatEventName,
    /// JSON: `started` and `restarted` have `{"turn", "conversationId"}`, `delta` has `{"content"}`, `completed` the object
    /// of the plain answer, `error` that of every error, `reconnect` an empty one.
    #[schema(content_media_type = "application/json", example = "{\"content\":\"Hello\"}")]
    pub data: String,
}

/// What happened in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "the OpenAPI document lists the names; events are written without a serializer")]
pub enum ChatEventName {
    /// The turn is stored and runs.
    Started,
    /// The turn runs again after its server died: what was shown before is void.
    Restarted,
    /// The answer goes on.
    Delta,
    /// The answer is whole, and stored. Nothing comes after this.
    Completed,
    /// There is no whole answer. Nothing comes after this.
    Error,
    /// This server stops: read on from the same cursor.
    Reconnect,
}

/// When a reader that is sent away comes back.
const RETRY_MS: u64 = 1_000;

/// The model's answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatAnswer {
    /// Always `assistant`.
    #[schema(value_type = String, example = "assistant")]
    role: Role,
    /// What the model says.
    #[schema(example = "Hello! I am an AI assistant.")]
    content: String,
    /// The message's id.
    #[schema(value_type = String, example = "msg_0199f3a65a6e7c1b8d2f4a6b8c0d2e50")]
    id: String,
    /// The turn that it belongs to.
    #[schema(value_type = String, example = "turn_0199f3a65a6e7c1b8d2f4a6b8c0d2e51")]
    turn: String,
    /// The conversation that it belongs to.
    #[schema(value_type = String, example = "conv_0199f3a65a6e7c1b8d2f4a6b8c0d2e4f")]
    conversation_id: String,
    /// The model, as it names itself.
    #[schema(example = "gpt-3.5-turbo-0125")]
    model: String,
    /// Why the model stopped: `stop`, `length` (at `maxTokens`), `content_filter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "stop")]
    finish_reason: Option<String>,
    /// What it cost.
    usage: ChatUsage,
}

/// What a turn cost, in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatUsage {
    /// Of the prompt, history included.
    #[schema(example = 20)]
    input_tokens: u64,
    /// Of the answer.
    #[schema(example = 9)]
    output_tokens: u64,
    /// Both.
    #[schema(example = 29)]
    total_tokens: u64,
    /// Of the prompt, those that the provider had cached and charges less for.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(default = 0)]
    cached_tokens: u64,
    /// Of the answer, those that the model thought and did not say.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(default = 0)]
    reasoning_tokens: u64,
    /// The provider gave no figures, so these were counted here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(default = false)]
    estimated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<Usage> for ChatUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens(),
            cached_tokens: usage.cached_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            estimated: usage.estimated,
        }
    }
}

/// A message of the history. All but its first two fields come with `details=true` only; `turn` and `status` always come with
/// a question that has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatMessage {
    /// `user` or `assistant`.
    #[schema(value_type = String, example = "user")]
    role: Role,
    /// What was said.
    #[schema(example = "Hello, what is your name?")]
    content: String,
    /// The message's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// Its place in the conversation, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// The turn that it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    turn: Option<String>,
    /// `completed`, or `incomplete` where an answer was cut short. Of a question without an answer: how its turn stands,
    /// `running`, or `failed`, `cancelled` or `interrupted`. No model is told of it until it is asked again with `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<&'static str>,
    /// When it was stored, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    created_at: Option<i64>,
}

impl ChatMessage {
    /// The message in a stored item; `None` for items that are none.
    #[must_use]
    pub fn of(stored: &StoredItem, details: bool) -> Option<Self> {
        let message = stored.item.message()?;
        let standing = question::standing(&stored.item).map(TurnStatus::as_str);
        let status = standing.unwrap_or(if message.complete { "completed" } else { "incomplete" });
        let is_open = standing.is_some();
        Some(Self {
            role: message.role,
            content: message.text,
            id: details.then(|| stored.item.id.to_string()),
            seq: details.then_some(stored.seq),
            turn: stored.item.turn.as_ref().filter(|_| details || is_open).map(ToString::to_string),
            status: (details || is_open).then_some(status),
            created_at: details.then_some(stored.created_at_ms),
        })
    }
}

/// A turn as `/chat` shows it.
pub struct ChatProjection {
    turn: TurnId,
    conversation: ConversationId,
    /// The reader comes back by itself, whatever ends the stream before its turn does.
    comes_back: bool,
}

/// A turn on its way to its client.
pub type ChatFeed = Feed<ChatProjection>;

/// What `reader` reads, a turn of `conversation`.
#[must_use]
pub fn feed(conversation: ConversationId, reader: Reader) -> ChatFeed {
    let turn = reader.turn().clone();
    Feed::new(reader, ChatProjection { turn, conversation, comes_back: false })
}

impl Projection for ChatProjection {
    type Whole = ChatAnswer;
    type Error = ApiError;

    const COMES_BACK: bool = true;

    fn show(&mut self, numbered: &Numbered, out: &mut impl Frames) {
        let id = Some(numbered.seq);
        match &numbered.event {
            Event::Started { attempt: 1 } => {
                let data = json!({"turn": self.turn, "conversationId": self.conversation});
                out.add(id, "started", &data.to_string());
            }
            Event::Started { attempt } => {
                let data = json!({"turn": self.turn, "conversationId": self.conversation, "attempt": attempt});
                out.add(id, "restarted", &data.to_string());
            }
            Event::Delta(Delta::Text { delta } | Delta::Refusal { delta }) => {
                out.add(id, "delta", &json_of(&Content { content: delta }));
            }
            // This door offers no tools and shows no thoughts.
            Event::Delta(_) => {}
            Event::Ended(end) => match self.whole(end) {
                Ok(answer) => out.add(id, "completed", &json_of(&answer)),
                Err(error) => out.add(id, "error", &json_of(&error.body)),
            },
        }
    }

    fn cut_short(&mut self, why: Next, out: &mut impl Frames) {
        let is_leaving = matches!(why, Next::Leaving);
        let error = ApiError::from(why);
        if is_leaving || (self.comes_back && error.status == StatusCode::SERVICE_UNAVAILABLE) {
            // The reader comes back, to this server or another one, with its cursor; an `EventSource` does so by itself.
            reconnect(error.retry_after, out);
        } else {
            out.add(None, "error", &json_of(&error.body));
        }
    }

    fn whole(&self, end: &End) -> Result<ChatAnswer, ApiError> {
        match (&end.answer, end.status) {
            (Some(answer), TurnStatus::Completed) => Ok(self.answer(answer, end.usage.unwrap_or_default())),
            _ => Err(error_of(end)),
        }
    }
}

/// The stream that sends a reader away for as long as `error` says.
pub fn come_back(error: &ApiError) -> Response {
    let mut out = String::new();
    reconnect(error.retry_after, &mut out);
    sse::respond(out, None::<ChatFeed>)
}

fn reconnect(after: Option<Duration>, out: &mut impl Frames) {
    let ms = after.and_then(|after| u64::try_from(after.as_millis()).ok());
    out.retry_after(ms.unwrap_or(RETRY_MS).max(RETRY_MS));
    out.add(None, "reconnect", "{}");
}

impl ChatProjection {
    /// To a reader that comes back by itself after the end of a stream, or to another one.
    #[must_use]
    pub fn coming_back(self, comes_back: bool) -> Self {
        Self { comes_back, ..self }
    }

    fn answer(&self, answer: &Answer, usage: Usage) -> ChatAnswer {
        ChatAnswer {
            role: Role::Assistant,
            content: answer.text.clone(),
            id: answer.id.to_string(),
            turn: self.turn.to_string(),
            conversation_id: self.conversation.to_string(),
            model: answer.model.clone(),
            finish_reason: answer.finish_reason.clone(),
            usage: usage.into(),
        }
    }
}

#[derive(Serialize)]
struct Content<'a> {
    content: &'a str,
}

fn error_of(end: &End) -> ApiError {
    match &end.fault {
        Some(fault) => fault.into(),
        None if end.status == TurnStatus::Cancelled => {
            let text = "The turn was cancelled; what was shown of it is in the history.";
            ApiError::new(StatusCode::CONFLICT, "turn_cancelled", text)
        }
        None => (&Fault::new(FaultKind::Internal, "The turn ended without an answer.")).into(),
    }
}
