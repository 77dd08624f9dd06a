//! What a model says, bit by bit: one type for what an upstream gives, what a store keeps and what a reader sees.

use serde::{Deserialize, Serialize};

use super::provider::ProviderData;
use super::tools::ClientTool;

/// What is added to an answer. The JSON of it, with its tag `e`, is what stores keep of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Delta {
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
        /// Tells calls of one answer apart.
        index: u32,
        /// The id of the call, which its output will name.
        call_id: String,
        /// The function.
        name: String,
        /// What its client knows it as, where that is something else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool: Option<Box<ClientTool>>,
    },
    /// The history was compacted.
    Compaction {
        /// What is left of it, sealed.
        content: String,
        /// What that takes in a prompt.
        tokens: u32,
    },
    /// A call's arguments go on.
    Arguments {
        /// The call.
        index: u32,
        /// What is added to the JSON text.
        delta: String,
    },
    /// What the model's server wants back with this answer; no part of what is shown.
    Provider {
        /// What it is.
        data: Box<ProviderData>,
    },
}

impl Delta {
    /// More text.
    #[must_use]
    pub fn text(delta: impl Into<String>) -> Self {
        Self::Text { delta: delta.into() }
    }

    /// More of a refusal.
    #[must_use]
    pub fn refusal(delta: impl Into<String>) -> Self {
        Self::Refusal { delta: delta.into() }
    }

    /// More thoughts.
    #[must_use]
    pub fn reasoning(delta: impl Into<String>) -> Self {
        Self::Reasoning { delta: delta.into() }
    }

    /// Adds what `next` says to this delta, where both are parts of one text; gives `next` back where they are not.
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
            (Self::Provider { data }, Self::Provider { data: more }) => data.add(*more),
            (_, next) => return Err(next),
        }
        Ok(())
    }

    /// How much text it brings, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Text { delta }
            | Self::Refusal { delta }
            | Self::Reasoning { delta }
            | Self::Arguments { delta, .. } => delta.len(),
            Self::Call { call_id, name, .. } => call_id.len() + name.len(),
            // It is no text of the model, and has no limit of its own.
            Self::Compaction { .. } => 1,
            Self::Provider { data } => data.size(),
        }
    }
}
