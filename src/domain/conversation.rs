//! Who owns what, and the head of a conversation.

use serde::{Deserialize, Serialize};

use super::ids::{ConversationId, SessionKey, TurnId};

/// Who is asking. Everything in the store belongs to one owner; another's ids look unknown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// A browser, by its cookie.
    Session(SessionKey),
    /// A program, by the id of its API key.
    ApiKey(String),
}

impl Owner {
    /// The operator of the server: owns what belongs to no client, the API keys. No key can have this id, whose sign no
    /// name may hold.
    #[must_use]
    pub fn operator() -> Self {
        Self::ApiKey("@operator".to_owned())
    }

    /// One string for both kinds, as stores keep it: `s:<session key>` or `k:<key id>`.
    #[must_use]
    pub fn tag(&self) -> String {
        match self {
            Self::Session(key) => format!("s:{}", key.as_str()),
            Self::ApiKey(id) => format!("k:{id}"),
        }
    }
}

/// Where a turn's data lives: stores put all of it in one place (on Redis, one cluster slot) that follows from this.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Who owns the conversation.
    pub owner: Owner,
    /// The conversation.
    pub conversation: ConversationId,
}

/// A conversation without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Counts up with every change of its items.
    pub version: u64,
    /// How many items were ever put into it, also those that are removed since; the next item's number is one higher.
    pub item_count: u64,
    /// Where the tokens of its newest item end. Removed items before that one still count.
    pub total_tokens: u64,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// The turn that is running, when one is.
    pub running: Option<TurnId>,
}
