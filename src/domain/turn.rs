//! A turn: what was asked, how it stands, what it cost, and why it failed.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::conversation::Place;
use super::ids::{ItemId, TurnId};
use super::item::Item;
use super::output::Answer;
use super::tools::ClientTools;

/// What a turn needs to run, and to run again after a crash. It is stored before any money is spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnRequest {
    /// The model as the client named it.
    pub model: String,
    /// The system prompt; empty for none.
    pub instructions: String,
    /// The new items, with their ids and token counts.
    pub input: Vec<Item>,
    /// The id that the answer's message will have.
    pub answer_id: ItemId,
    /// 0 to 2; `None` leaves it to the upstream.
    pub temperature: Option<f64>,
    /// The most tokens the answer may have.
    pub max_tokens: Option<u32>,
    /// Whether to ask the upstream for a stream.
    pub stream: bool,
    /// What else the upstream is asked for, as fields of Chat Completions: a JSON object's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// What the SDK door has to show of the request: a JSON object's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// Whether all of the history must go along, and the turn fails where it does not fit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_history: bool,
    /// The tools that its client knows by other names than the model.
    #[serde(default, skip_serializing_if = "ClientTools::is_empty")]
    pub tools: ClientTools,
    /// What it is to come to.
    #[serde(default, skip_serializing_if = "Aim::is_answer")]
    pub aim: Aim,
}

/// What a turn is to come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// An answer.
    #[default]
    Answer,
    /// No more than that its items stand in the history, for a later turn to go on from.
    Prepare,
    /// That the history is compacted, and nothing is answered.
    Compact,
    /// An answer, for which the history is compacted first where the prompt takes more than so many tokens, or more than the
    /// model takes.
    AnswerCompacted {
        /// `None` leaves it to what is known of the model.
        threshold: Option<u32>,
    },
}

impl Aim {
    /// Whether the history may be compacted for it.
    #[must_use]
    pub fn may_compact(&self) -> bool {
        matches!(self, Self::Compact | Self::AnswerCompacted { .. })
    }

    /// Whether it is an answer and no more.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        *self == Self::Answer
    }
}

impl TurnRequest {
    /// Whether what is asked belongs to a conversation that readers see: not where that only holds a chain of responses, and
    /// not where nothing of the turn is to be stored.
    #[must_use]
    pub fn is_of_a_conversation(&self) -> bool {
        #[derive(Deserialize)]
        struct Shown {
            store: bool,
            conversation: Option<IgnoredAny>,
        }
        let Some(shown) = &self.shown else { return true };
        serde_json::from_str::<Shown>(shown).is_ok_and(|shown| shown.store && shown.conversation.is_some())
    }

    /// Whether it goes on from an earlier response or a conversation, rather than bringing its whole history along.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        #[derive(Deserialize)]
        struct Shown {
            previous_response_id: Option<IgnoredAny>,
            conversation: Option<IgnoredAny>,
        }
        let Some(shown) = &self.shown else { return true };
        let shown = serde_json::from_str::<Shown>(shown);
        shown.is_ok_and(|shown| shown.previous_response_id.is_some() || shown.conversation.is_some())
    }

    /// The tokens of the new items.
    #[must_use]
    pub fn input_tokens(&self) -> u32 {
        self.input.iter().map(|item| item.tokens).fold(0, u32::saturating_add)
    }
}

/// How a turn stands. All but `Running` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnStatus {
    /// A server holds its lease, or held it and died.
    Running,
    /// The whole answer is in the history.
    Completed,
    /// The upstream failed; what was shown is in the history, marked incomplete.
    Failed,
    /// It was stopped; what was shown is in the history, marked incomplete.
    Cancelled,
    /// Its server went away; what was shown is in the history, marked incomplete.
    Interrupted,
}

impl TurnStatus {
    /// The name under which stores keep it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Reads [`TurnStatus::as_str`] back.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::Interrupted];
        all.into_iter().find(|status| status.as_str() == name)
    }
}

/// What a turn cost, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
    /// Of the prompt, those that the provider had cached.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Of the answer, those that were thought and not said.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// The upstream gave no figures, so these were counted here.
    #[serde(default)]
    pub estimated: bool,
}

impl Usage {
    /// Prompt and answer together.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }

    /// Both together; estimated where one is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cached_tokens: self.cached_tokens + other.cached_tokens,
            reasoning_tokens: self.reasoning_tokens + other.reasoning_tokens,
            estimated: self.estimated || other.estimated,
        }
    }
}

/// Why a turn failed, in words that are safe to show: no key, no address, no message text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of failure, from which the HTTP status follows.
    pub kind: FaultKind,
    /// One sentence for the client.
    pub message: String,
    /// When to try again, in milliseconds, where the store or the upstream said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What the upstream said of it besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Box<UpstreamWords>>,
}

/// What an upstream says of a request that it refuses, as far as that is safe to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamWords {
    /// Its own code, where it is a plain word.
    pub code: Option<String>,
    /// The parameter, where it is a plain path.
    pub param: Option<String>,
}

impl Fault {
    /// A defect of this server; the log says which.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(FaultKind::Internal, "Internal server error.")
    }

    /// A fault without a time to try again.
    #[must_use]
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after_ms: None, upstream: None }
    }
}

/// The kinds of failure that end a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The upstream refused our key.
    UpstreamRefusedKey,
    /// The upstream is rate limiting us.
    RateLimited,
    /// The account behind the key has no money left.
    QuotaExhausted,
    /// The prompt is longer than the model takes.
    ContextTooLong,
    /// The upstream does not have the model.
    UnknownModel,
    /// The upstream refused the request for another reason.
    UpstreamRefused,
    /// There is no model's server at the address of the settings.
    UpstreamMisaddressed,
    /// A deadline passed: connecting, waiting for the first token, or waiting for the next one.
    UpstreamTimeout,
    /// The upstream cannot be reached, or answers 5xx.
    UpstreamUnavailable,
    /// The stream ended without its proper end.
    UpstreamCut,
    /// The upstream sent what no reading makes sense of.
    UpstreamGarbage,
    /// So many calls failed of late that none is made for a while.
    BreakerOpen,
    /// The store could not take the turn.
    StoreUnavailable,
    /// The conversation was deleted while the turn ran.
    ConversationGone,
    /// The server stopped before the answer was whole.
    ServerStopped,
    /// A defect of this server.
    Internal,
}

impl FaultKind {
    /// The kind as a stable code for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::UpstreamRefusedKey => "upstream_refused_key",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::ContextTooLong => "context_too_long",
            Self::UnknownModel => "unknown_model",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamMisaddressed => "upstream_misaddressed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamCut => "upstream_cut",
            Self::UpstreamGarbage => "upstream_garbage",
            Self::BreakerOpen => "upstream_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::ConversationGone => "conversation_gone",
            Self::ServerStopped => "server_stopped",
            Self::Internal => "internal",
        }
    }
}

/// A turn as a store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRecord {
    /// Its id.
    pub id: TurnId,
    /// Where it lives.
    pub place: Place,
    /// How it stands.
    pub status: TurnStatus,
    /// 1, or 2 after a crash.
    pub attempt: u32,
    /// Who may write to it: counts up whenever its lease changes hands.
    pub fence: u64,
    /// What was asked.
    pub request: TurnRequest,
    /// What the attempts cost together, as far as it is known.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// The number of its last stored event.
    pub last_event: u64,
    /// What the model said, where the turn is over and was to be kept as a response.
    pub answer: Option<Answer>,
    /// The number of its conversation's last item when it was over; see [`super::conversation::Conversation::item_count`].
    pub items_then: Option<u64>,
}
