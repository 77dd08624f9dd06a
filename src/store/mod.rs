//! Where sessions, conversations, turns and their events are kept: the contract, and its three implementations.
//!
//! Every operation is atomic and coarse: one transaction, one script, one round trip. An operation that answers has
//! happened for every later operation of any instance; one that fails may or may not have happened, and can be repeated.
//! What a caller must expect (an unknown id, a busy conversation, a lost lease) is a value; [`StoreError`] is for what it
//! need not expect.
//!
//! Everything belongs to an [`Owner`]. An id that belongs to another owner is answered exactly like one that does not
//! exist.
//!
//! An owner that is a session ends when it is deleted or expires. From then on all that it owns is unknown, and nothing
//! more is stored for it: every write looks at the session in the same atomic step, and answers an ended one with the
//! value that it has for that (`UnknownSession`, `Fenced`, `Unknown`, false). So nothing is ever stored that the end of its
//! owner would not take along. Only [`SessionUse::Create`], [`SessionUse::OfKey`] and [`Store::create_session`] make a session.

pub mod conversations;
pub mod documents;
mod keys;
pub mod memory;
mod pending;
pub mod redis;
pub mod sqlite;
pub mod takeover;

use async_trait::async_trait;
use tokio::sync::broadcast;

use self::conversations::Conversations;
use self::documents::Documents;
pub use self::keys::{IdempotencyKey, KeyRole, Try};
pub use self::takeover::{AdoptTurns, Adopted, Unreadable};
use crate::domain::conversation::{Conversation, Owner, Place};
use crate::domain::event::Numbered;
use crate::domain::ids::{ConversationId, InstanceId, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::domain::output::Answer;
use crate::domain::rate::{Rate, RateLeft};
use crate::domain::turn::{Fault, TurnRecord, TurnRequest, TurnStatus, Usage};
use crate::domain::window::{Budget, Loaded};

/// The store could not do it. None of these carries message text, keys or addresses with credentials.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer within its deadline.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It cannot take more: disk or memory is full. Reading still works.
    #[error("the store is full: {0}")]
    Full(String),
    /// It holds something that this version cannot read, or a defect.
    #[error("the store failed: {0}")]
    Broken(String),
}

/// What the store says it is, for the start-up lines and `--check`.
#[derive(Debug, Clone)]
pub struct StoreInfo {
    /// `memory`, `sqlite` or `redis`.
    pub kind: &'static str,
    /// Where it is, with credentials left out.
    pub location: String,
    /// Whether other instances may share it.
    pub shared: bool,
}

/// How a request uses its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionUse {
    /// Nothing is to be renewed. Where the owner is a session, it must exist and not have expired.
    None,
    /// The session must exist and not have expired; it is renewed for this many milliseconds.
    Renew(i64),
    /// The session is minted with this request, to last this many milliseconds.
    Create(i64),
    /// The session follows from the request's idempotency key, and is made where the turn begins. One that is there already
    /// is opened by a request that joins the key's turn, and is unknown to every other one.
    OfKey(i64),
}

/// The fence of a turn that no server has taken over.
pub const FIRST_FENCE: u64 = 1;

/// What [`Store::begin_turn`] is told.
#[derive(Debug, Clone)]
pub struct BeginTurn {
    /// Who asks, and in which conversation.
    pub place: Place,
    /// How the session is used.
    pub session: SessionUse,
    /// Whether the conversation is made where it does not exist.
    pub create_conversation: bool,
    /// Whether a conversation that is made is hidden: it holds a chain of responses, and lists leave it out.
    pub hidden: bool,
    /// The number of the conversation's last item, there or removed, that the turn is meant to follow.
    pub expected_items: Option<u64>,
    /// The new turn's id.
    pub turn: TurnId,
    /// What it needs to run.
    pub request: TurnRequest,
    /// The client's idempotency key, where it sent one.
    pub idempotency: Option<IdempotencyKey>,
    /// How often the owner may begin a turn; `None` where there is no limit. One is taken where the turn begins, in the same step.
    pub rate: Option<Rate>,
    /// How much history to load.
    pub budget: Budget,
    /// Who runs it.
    pub holder: InstanceId,
    /// How long the lease lasts without being renewed, in milliseconds.
    pub lease_ms: i64,
    /// The caller's clock.
    pub now_ms: i64,
}

/// What [`Store::begin_turn`] answers. Only `Started` has changed anything, but for the session's renewal, and for which
/// try a retry has joined.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// The turn is stored as running, with event 1 (`Started`, attempt 1).
    Started(Started),
    /// Another turn of this conversation is running.
    Busy {
        /// That turn.
        running: TurnId,
        /// Whether its lease has ended, so that it waits for a server to take it over.
        orphaned: bool,
    },
    /// The request joins this turn: it has the same idempotency key and body, or is a try of the same request.
    Duplicate {
        /// That turn.
        turn: TurnId,
        /// Where it lives.
        conversation: ConversationId,
    },
    /// The idempotency key was used already, with another body.
    KeyReused,
    /// The conversation has gone on from the expected item, or a turn is running that will add to it.
    Moved,
    /// There is no such conversation of this owner.
    UnknownConversation,
    /// There is no such session, or it has expired.
    UnknownSession,
    /// The owner has begun as many turns as its rate lets it. This is looked at last: a request that another turn refuses, or
    /// that joins one, takes nothing of the rate.
    RateLimited {
        /// For how long, in milliseconds, 1 or more.
        wait_ms: i64,
    },
}

/// A turn that may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// What later writes to this turn must show.
    pub fence: u64,
    /// What is left of the owner's rate, where it has one.
    pub rate: Option<RateLeft>,
    /// The conversation as it is, without this turn's items.
    pub conversation: Conversation,
    /// What the budget allows of the items.
    pub history: Loaded,
}

/// What [`Store::append_events`] is told.
#[derive(Debug, Clone)]
pub struct AppendEvents {
    /// Where the turn lives.
    pub place: Place,
    /// The turn.
    pub turn: TurnId,
    /// The fence it runs under.
    pub fence: u64,
    /// The events, numbered on from the last stored one. May be empty, to renew the lease alone.
    pub events: Vec<Numbered>,
    /// The lease is renewed to last this long, in milliseconds.
    pub lease_ms: i64,
}

/// What [`Store::append_events`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored, and the lease renewed.
    Stored {
        /// Whether the turn is to be cancelled.
        cancel_requested: bool,
    },
    /// The turn is no longer this fence's to write: taken over, ended, or deleted; or its owner has ended. Nothing was
    /// stored.
    Fenced,
}

/// What [`Store::finish_turn`] is told.
#[derive(Debug, Clone)]
pub struct FinishTurn {
    /// Where the turn lives.
    pub place: Place,
    /// The turn.
    pub turn: TurnId,
    /// The fence it ran under.
    pub fence: u64,
    /// How it ended: anything but `Running`.
    pub status: TurnStatus,
    /// What the history gains; may be empty.
    pub items: Vec<Item>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// What the record keeps of the answer, for those that are read as responses.
    pub answer: Option<Answer>,
    /// The events that are not stored yet; the last one is the end.
    pub events: Vec<Numbered>,
    /// How long the turn's events are kept, in milliseconds.
    pub keep_events_ms: i64,
    /// The caller's clock.
    pub now_ms: i64,
}

/// What [`Store::finish_turn`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Stored, and durable: it survives the loss of power.
    Stored,
    /// As [`Appended::Fenced`]: nothing was stored.
    Fenced,
}

/// A page of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// The items, oldest first.
    pub items: Vec<StoredItem>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// When the session expires, in milliseconds since the Unix epoch, where the owner is one.
    pub session_expires_at_ms: Option<i64>,
}

/// What [`Store::read_events`] answers.
#[derive(Debug, Clone, PartialEq)]
pub enum EventsPage {
    /// Events after the cursor, in order; at most the asked-for number.
    Events {
        /// May be empty.
        events: Vec<Numbered>,
        /// How the turn stands; where it has ended and `events` is empty, nothing will come.
        status: TurnStatus,
    },
    /// The turn has ended, and its events are no longer kept.
    Expired,
    /// There is no such turn of this owner.
    Unknown,
}

/// What [`Store::request_cancel`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRequest {
    /// The turn's server is told, by the next [`Appended`] and by a [`Notice`].
    Requested,
    /// The turn had ended; nothing changes.
    AlreadyEnded(TurnStatus),
    /// There is no such turn of this owner.
    Unknown,
}

/// Something that an instance wants to know at once. Notices may be lost: a receiver that waits for one looks again by
/// itself after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A turn that is being read on another instance has new events.
    Events(TurnId),
    /// Cancelling was asked for.
    Cancel(TurnId),
    /// A turn of this conversation has ended.
    Free(ConversationId),
    /// Everything of this owner was deleted.
    OwnerGone(String),
}

/// The contract. See the module's words on atomicity.
#[async_trait]
pub trait Store: Conversations + Documents {
    /// What this store is.
    fn info(&self) -> StoreInfo;

    /// Answers when the store can read and write.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Looks at the session, the idempotency key, the conversation, its items and its running turn; where all of them allow
    /// it, stores the turn as running and loads what it needs.
    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError>;

    /// Stores events of a running turn and renews its lease. Events that are stored already (the same numbers under
    /// the same fence) are left as they are, so that a write whose answer was lost can be repeated.
    async fn append_events(&self, append: AppendEvents) -> Result<Appended, StoreError>;

    /// Ends a turn: history, usage, status and last events in one write. Repeating it is harmless: where the turn ended
    /// under this fence already, the answer is `Stored` and nothing is written twice.
    async fn finish_turn(&self, finish: FinishTurn) -> Result<Finished, StoreError>;

    /// Takes one of an account's rate, for what is no turn; `Err` has the milliseconds to wait, 1 or more. The accounts of
    /// owners, by their tags, are those of [`BeginTurn::rate`].
    async fn take_rate(&self, account: &str, rate: Rate, now_ms: i64) -> Result<Result<RateLeft, i64>, StoreError>;

    /// Events after number `after`, at most `limit` of them.
    async fn read_events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError>;

    /// A turn's record; `None` where this owner has no such turn.
    async fn turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError>;

    /// A conversation's newest turns that are not deleted, the one that began last first; `None` where this owner has no such conversation.
    async fn turns(&self, place: &Place, limit: usize) -> Result<Option<Vec<TurnRecord>>, StoreError>;

    /// Asks the server that runs the turn to cancel it.
    async fn request_cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError>;

    /// Takes over running turns whose lease has ended and whose owner has not: each gets a new fence, the holder's lease, and
    /// one more attempt. Each is given to one caller. In a store that only one process may use, a lease has ended when another instance
    /// holds it, or the holder does and does not have the turn in hand.
    ///
    /// A record that cannot be read does not hinder the others.
    async fn adopt_turns(&self, adopt: AdoptTurns) -> Result<Adopted, StoreError>;

    /// Ends a running turn's lease now, so that another server can take it over. Until one has, an append under the same
    /// fence takes it back. Where the fence is an old one or the owner has ended, nothing changes.
    async fn release_turn(&self, place: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError>;

    /// The newest items of a conversation with a number below `before`, at most `limit`; `None` where this owner has no
    /// such conversation, or the session is unknown or expired. As in [`Conversations::items`], what a running turn was asked
    /// is among them.
    async fn history(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError>;

    /// The client of a turn that is a try of `key` has left without its answer, so that the next retry joins this turn first.
    /// Where the turn is no such try, nothing changes.
    async fn leave_try(&self, place: &Place, turn: &TurnId, key: &str) -> Result<(), StoreError>;

    /// What a turn's attempt needs of the history, as [`Started::history`]: for a turn that is taken over.
    async fn window(&self, place: &Place, budget: Budget) -> Result<Loaded, StoreError>;

    /// Renews a session, and with it all that it owns; false where it is unknown or expired. Where the store takes no writes
    /// at present, but can be read, a session that lives is left as it is, since what only reads is not to fail for that.
    async fn renew_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError>;

    /// Makes a session that owns nothing yet. The owner is a session whose key is new.
    async fn create_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<(), StoreError>;

    /// When a session expires if it is not used, in milliseconds since the Unix epoch; `None` where the owner is no session, or
    /// one that is unknown or expired. Renews nothing.
    async fn session_expires_at(&self, owner: &Owner, now_ms: i64) -> Result<Option<i64>, StoreError>;

    /// Deletes an owner's session, conversations, turns, events, keys and documents. Nothing of it remains. All that a session
    /// owns is unknown from the first step on, and what an interrupted deletion leaves, a sweep removes. Deleting what is not
    /// there is no error.
    async fn delete_owner(&self, owner: &Owner) -> Result<(), StoreError>;

    /// Removes what has expired and what interrupted deletions have left, all of it, in bounded steps between which other
    /// writes go on; gives how many things went. `now_ms` is certain; at 0, nothing has expired. Stores that expire by themselves do nothing. May be dropped at any point.
    async fn sweep(&self, now_ms: i64) -> Result<u64, StoreError>;

    /// The time of the last sweep, of this run or an earlier one, where the store removes things by the time that it is told.
    fn certain_ms(&self) -> Option<i64> {
        None
    }

    /// Resolves, with the reason, when this process can never use the store again, so that only another one could. A store
    /// that heals by itself never does.
    async fn lost(&self) -> StoreError {
        std::future::pending().await
    }

    /// Notices from now on, from every instance. A slow receiver loses the oldest.
    fn notices(&self) -> broadcast::Receiver<Notice>;

    /// Finishes what was accepted and lets go of files and connections.
    async fn close(&self);
}
