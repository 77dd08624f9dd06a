//! What makes a repeated request one turn: idempotency keys, and the tries of clients that send again by themselves.

use crate::domain::ids::{ConversationId, TurnId};

/// The key of a request, as [`super::Store::begin_turn`] takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The client's `Idempotency-Key`, or a digest of what it sent. It belongs to the owner.
    pub key: String,
    /// A digest of the request's body.
    pub fingerprint: String,
    /// How long the key counts, in milliseconds.
    pub keep_ms: i64,
    /// What it is for.
    pub role: KeyRole,
}

/// What a key is for in this request. Keys of [`KeyRole::Join`] and keys of tries are apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRole {
    /// The request joins the turn that has this key; where none has, its own turn gets it.
    Join,
    /// The first try of a client that sends again by itself. It joins no turn, and the one that begins is a try of this key.
    FirstTry,
    /// A later try. It joins one of the turns that are tries of this key: of those whose client has left, or of all where
    /// none has, the one that the fewest retries have joined, and of these the newest. The client of that turn is then
    /// back. Where there is no try, the turn that begins is one.
    Retry {
        /// A try that is of no use: where it is still one, a turn begins, and is a try in its place.
        instead_of: Option<Try>,
    },
}

/// A turn that is a try of some key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// The turn.
    pub turn: TurnId,
    /// Where it lives.
    pub conversation: ConversationId,
}
