//! Counting tokens with the model's own tokenizer, whose tables are in the binary.

use serde::{Deserialize, Serialize};

/// What a message costs beyond its text: the role and the separators of OpenAI's chat format.
/// Source: OpenAI's cookbook, "How to count tokens with tiktoken" (3 a message; the role is one more).
pub const MESSAGE_OVERHEAD: u32 = 4;

/// What every request costs once: the primer of the answer.
pub const REQUEST_OVERHEAD: u32 = 3;

/// A tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// `cl100k_base`: GPT-3.5 and GPT-4.
    Cl100k,
    /// `o200k_base`: GPT-4o and everything since.
    O200k,
}

impl Encoding {
    /// The name under which a store keeps it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k",
            Self::O200k => "o200k",
        }
    }

    /// Reads [`Encoding::as_str`] back.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "cl100k" => Some(Self::Cl100k),
            "o200k" => Some(Self::O200k),
            _ => None,
        }
    }

    /// Loads the tables, which takes tens of milliseconds; do it off the runtime, before the first request.
    pub fn load(self) {
        let _ = self.count("x");
    }

    /// How many tokens `text` has. Special tokens in it count as the plain text they are.
    #[must_use]
    pub fn count(self, text: &str) -> u32 {
        let name = match self {
            Self::Cl100k => "cl100k_base",
            Self::O200k => "o200k_base",
        };
        let tables = tiktoken::get_encoding(name).expect("both encodings are compiled in");
        u32::try_from(tables.count(text)).unwrap_or(u32::MAX)
    }

    /// How many tokens a message with this text costs in a prompt.
    #[must_use]
    pub fn count_message(self, text: &str) -> u32 {
        self.count(text).saturating_add(MESSAGE_OVERHEAD)
    }
}
