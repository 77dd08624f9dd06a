//! What happens in a turn, numbered from 1: the one model that every door is a projection of.

use serde::{Deserialize, Serialize};

use super::ids::ItemId;
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
}

/// The model's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The id of its item.
    pub id: ItemId,
    /// Its text.
    pub text: String,
    /// The model, as the upstream names it.
    pub model: String,
    /// Why the model stopped: `stop`, `length`, `content_filter`.
    pub finish_reason: Option<String>,
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

    /// Whether it is the last one of its turn.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}
