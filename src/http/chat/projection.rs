//! A turn's events as `/chat` shows them: one plain object, or a stream of events.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::domain::delta::Delta;
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::item::{Role, StoredItem};
use crate::domain::json::json_of;
use crate::domain::output::Answer;
use crate::domain::turn::{Fault, FaultKind, TurnStatus, Usage};
use crate::http::error::ApiError;
use crate::http::sse;
use crate::turn::cancel::CancelOnLeave;
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

/// Tells a reader to come back, to this server or another one, with its cursor; an `EventSource` does so by itself.
const RECONNECT: &str = "retry: 1000\nevent: reconnect\ndata: {}\n\n";

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

/// A message of the history. All but its first two fields come with `details=true` only.
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
    /// `completed`, or `incomplete` where an answer was cut short.
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
        let status = if message.complete { "completed" } else { "incomplete" };
        Some(Self {
            role: message.role,
            content: message.text,
            id: details.then(|| stored.item.id.to_string()),
            seq: details.then_some(stored.seq),
            turn: stored.item.turn.as_ref().filter(|_| details).map(ToString::to_string),
            status: details.then_some(status),
            created_at: details.then_some(stored.created_at_ms),
        })
    }
}

/// One reader's view of a turn.
pub struct Projection {
    turn: TurnId,
    conversation: ConversationId,
    reader: Reader,
    on_leave: Option<CancelOnLeave>,
}

/// How a streamed answer begins.
pub enum Lead {
    /// Before anything was said: the answer is an error with its own status.
    Failed(ApiError),
    /// With these events, of which the last one may be the end.
    Stream(String, bool),
}

impl Projection {
    /// A view of what `reader` reads, a turn of `conversation`.
    #[must_use]
    pub fn new(conversation: ConversationId, reader: Reader) -> Self {
        Self { turn: reader.turn().clone(), conversation, reader, on_leave: None }
    }

    /// Has the turn cancelled, where that was asked for, when this view goes before the turn's end.
    #[must_use]
    pub fn with_leave(mut self, on_leave: Option<CancelOnLeave>) -> Self {
        self.on_leave = on_leave;
        self
    }

    fn disarm(&mut self) {
        if let Some(on_leave) = self.on_leave.take() {
            on_leave.disarm();
        }
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn whole(&mut self) -> Result<ChatAnswer, ApiError> {
        let end = self.reader.end().await;
        self.disarm();
        let end = end?;
        self.answer_of(&end)
    }

    /// Waits until something is said, at most `patience`: a failure before that keeps its status.
    pub async fn lead(&mut self, patience: Duration) -> Lead {
        let deadline = Instant::now() + patience;
        let mut out = String::new();
        loop {
            let Ok(next) = tokio::time::timeout_at(deadline, self.reader.next()).await else {
                return Lead::Stream(out, false);
            };
            match next {
                Next::Events(events) => {
                    let said = events.iter().any(|event| !matches!(event.event, Event::Started { .. }));
                    if let Some(Event::Ended(end)) = events.last().map(|event| &event.event)
                        && end.answer.is_none()
                        && end.status != TurnStatus::Completed
                    {
                        self.disarm();
                        return Lead::Failed(error_of(end));
                    }
                    let last = self.show_all(&events, &mut out);
                    if last {
                        self.disarm();
                    }
                    if said {
                        return Lead::Stream(out, last);
                    }
                }
                // The turn goes on elsewhere, and with its id, from `started`, the client can follow it there.
                Next::Leaving if !out.is_empty() => {
                    self.disarm();
                    out.push_str(RECONNECT);
                    return Lead::Stream(out, true);
                }
                other => return Lead::Failed(other.into()),
            }
        }
    }

    /// Adds these events; true where the last one is the turn's end.
    pub fn show_all(&self, events: &[Arc<Numbered>], out: &mut String) -> bool {
        events.iter().for_each(|event| self.show(event, out));
        events.last().is_some_and(|event| event.event.is_end())
    }

    fn show(&self, numbered: &Numbered, out: &mut String) {
        let id = Some(numbered.seq);
        match &numbered.event {
            Event::Started { attempt: 1 } => {
                let data = json!({"turn": self.turn, "conversationId": self.conversation});
                sse::frame(out, id, "started", &data.to_string());
            }
            Event::Started { attempt } => {
                let data = json!({"turn": self.turn, "conversationId": self.conversation, "attempt": attempt});
                sse::frame(out, id, "restarted", &data.to_string());
            }
            Event::Delta(Delta::Text { delta } | Delta::Refusal { delta }) => {
                sse::frame(out, id, "delta", &json_of(&Content { content: delta }));
            }
            // This door offers no tools and shows no thoughts.
            Event::Delta(_) => {}
            Event::Ended(end) => match self.answer_of(end) {
                Ok(answer) => sse::frame(out, id, "completed", &json_of(&answer)),
                Err(error) => sse::frame(out, id, "error", &json_of(&error.body)),
            },
        }
    }

    fn answer_of(&self, end: &End) -> Result<ChatAnswer, ApiError> {
        match (&end.answer, end.status) {
            (Some(answer), TurnStatus::Completed) => Ok(self.answer(answer, end.usage.unwrap_or_default())),
            _ => Err(error_of(end)),
        }
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

impl sse::Source for Projection {
    async fn next(&mut self) -> (String, bool) {
        let mut out = String::new();
        let next = self.reader.next().await;
        let last = match next {
            Next::Events(events) => self.show_all(&events, &mut out),
            Next::Done => true,
            Next::Leaving => {
                out.push_str(RECONNECT);
                true
            }
            other => {
                sse::frame(&mut out, None, "error", &json_of(&ApiError::from(other).body));
                true
            }
        };
        if last {
            self.disarm();
        }
        (out, last)
    }
}
