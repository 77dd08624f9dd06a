//! What a caller asks of the engine, and what it gets: a turn, or the reason why none began.

use super::leave::OnLeave;
use super::prompt;
use super::reader::Reader;
use crate::domain::conversation::Place;
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::rate::RateLeft;
use crate::domain::turn::TurnRequest;
use crate::metering::{AtCapacity, NotStarted, Permit, RateLimited};
use crate::store::{IdempotencyKey, SessionUse, StoreError};

/// What a door asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks, and in which conversation.
    pub place: Place,
    /// How the session is used.
    pub session: SessionUse,
    /// Whether the conversation is made where it does not exist.
    pub create_conversation: bool,
    /// Whether a conversation that is made is hidden: see [`crate::store::conversations`].
    pub hidden: bool,
    /// How many items the conversation must have; where it has others, the turn is refused as [`Refused::Moved`].
    pub expected_items: Option<u64>,
    /// What is asked.
    pub request: TurnRequest,
    /// The permission to ask it.
    pub permit: Permit,
    /// The id that the turn will have.
    pub turn: TurnId,
    /// The client's idempotency key, where it sent one.
    pub idempotency: Option<IdempotencyKey>,
    /// What to do where the conversation is busy.
    pub on_busy: OnBusy,
    /// Whether the turn ends, or does not even begin, once its client has left.
    pub drop_if_unheard: bool,
}

impl From<NotStarted> for Refused {
    fn from(not_started: NotStarted) -> Self {
        match not_started {
            NotStarted::AtCapacity(full) => full.into(),
            NotStarted::RateLimited(limited) => limited.into(),
            NotStarted::Store(error) => error.into(),
        }
    }
}

/// What to do where a turn of the same conversation is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBusy {
    /// Wait in line.
    #[default]
    Queue,
    /// Give up at once.
    Reject,
    /// Cancel the running turn and take its place.
    Interrupt,
}

/// A turn that runs, or has run already under the same idempotency key.
pub struct Accepted {
    /// Where it lives.
    pub conversation: ConversationId,
    /// Reads it from its first event on.
    pub reader: Reader,
    /// What is to happen when the client leaves.
    pub on_leave: Option<OnLeave>,
    /// What is left of the owner's rate; `None` where it has none, and for what joined a turn.
    pub rate: Option<RateLeft>,
}

/// Why no turn began. Nothing was spent, and nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The prompt alone is too long.
    #[error("the prompt takes {} tokens, and there is room for {}", .0.tokens, .0.limit)]
    TooLong(prompt::TooLong),
    /// A turn is running, and there was to be no waiting.
    #[error("the conversation is busy")]
    Busy,
    /// So many turns of this conversation are waiting that one more may not.
    #[error("too many requests are waiting for this conversation")]
    QueueFull,
    /// The turns before this one took too long.
    #[error("the conversation was busy for too long")]
    WaitedTooLong,
    /// The conversation has other items than expected, or is about to.
    #[error("the conversation has gone on")]
    Moved,
    /// There is no such conversation.
    #[error("no such conversation")]
    UnknownConversation,
    /// There is no such session.
    #[error("no such session")]
    UnknownSession,
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// There is no place for another call to a model.
    #[error(transparent)]
    AtCapacity(#[from] AtCapacity),
    /// The owner has begun as many turns as its rate lets it.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The server stops.
    #[error("the server is shutting down")]
    Stopping,
    /// The store could not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}
