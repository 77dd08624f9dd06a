//! What happens in a turn, numbered from 1: the one model that every door is a projection of.

use serde::{Deserialize, Serialize};

use super::ids::ItemId;
use super::output::Output;
use super::turn::{Fault, TurnStatus, Usage};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Event {
    /// An attempt began. With `attempt` above 1, whatever was shown before is void.
    Started {
        /// 1, or 2 after a crash.
        attempt: u32,
    },
    /// The answer's text goes on.
    Text {
        /// What is added to it.
        delta: String,
    },
    /// The model refuses, and says so.
    Refusal {
        /// What is added to the refusal.
        delta: String,
    },
    /// The model thinks, where the upstream lets that be seen.
    Reasoning {
        /// What is added to its thoughts.
        delta: String,
    },
    /// The model asks for a function to be called.
    Call {
        /// Tells calls of one answer apart; counts up as the upstream counts.
        index: u32,
        /// The upstream's id for the call, which its output will name.
        call_id: String,
        /// The function.
        name: String,
    },
    /// A call's arguments go on.
    Arguments {
        /// The call.
        index: u32,
        /// What is added to the JSON text.
        delta: String,
    },
    /// Nothing comes after this.
    Ended(Box<End>),
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Any but `Running`.
    pub status: TurnStatus,
    /// What the history has of the answer: all of it, or what was shown; `None` where nothing was.
    pub answer: Option<Answer>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Why, where it is not completed.
    pub fault: Option<Fault>,
    /// When, in milliseconds since the Unix epoch; 0 where it was not written down.
    #[serde(default)]
    pub at_ms: i64,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The id of its message.
    pub id: ItemId,
    /// Its text, refusals included.
    pub text: String,
    /// The model, as the upstream names it.
    pub model: String,
    /// Why the model stopped: `stop`, `length`, `content_filter`, `tool_calls`.
    pub finish_reason: Option<String>,
    /// All that it is made of, in order; empty where that is one message with the text and no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Output>,
}

impl Answer {
    /// Whether the model was stopped in the middle of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self.finish_reason.as_deref(), Some("length" | "content_filter"))
    }

    /// All that it is made of, in order.
    #[must_use]
    pub fn outputs(&self) -> Vec<Output> {
        match self.output.is_empty() {
            true => vec![Output::message(self.id.clone(), self.text.clone())],
            false => self.output.clone(),
        }
    }
}

/// An event with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// From 1, without gaps within a turn.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

impl Event {
    /// The event as a store keeps it.
    ///
    /// # Panics
    /// Never: every event is representable as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events have string keys only")
    }

    /// Adds what `next` says to this event, where both are parts of one text; gives `next` back where they are not.
    ///
    /// # Errors
    /// `next`, unchanged.
    pub fn join(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (Self::Text { delta }, Self::Text { delta: more })
            | (Self::Refusal { delta }, Self::Refusal { delta: more })
            | (Self::Reasoning { delta }, Self::Reasoning { delta: more }) => delta.push_str(&more),
            (Self::Arguments { index, delta }, Self::Arguments { index: same, delta: more }) if *index == same => {
                delta.push_str(&more);
            }
            (_, next) => return Err(next),
        }
        Ok(())
    }

    /// How much text it brings, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Text { delta } | Self::Refusal { delta } | Self::Reasoning { delta } => delta.len(),
            Self::Arguments { delta, .. } => delta.len(),
            Self::Call { call_id, name, .. } => call_id.len() + name.len(),
            Self::Started { .. } | Self::Ended(_) => 0,
        }
    }

    /// Whether it is the last one of its turn.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}
