//! Where in a conversation a response begins: at the end of a chain or a conversation, or in a copy.

use super::ChainError;
use super::backing::{Backing, StoredOptions};
use crate::domain::conversation::Place;
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::output::Output;
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::store::conversations::{Created, NewConversation};
use crate::turn::{Refused, Turns};

/// What a response goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continues {
    /// Nothing: it begins a chain.
    Nothing,
    /// The end of this response.
    Response(TurnId),
    /// The end of this conversation, to which its items are added.
    Conversation(ConversationId),
}

/// Where a turn is to begin.
pub struct StartPoint {
    /// Whose, and in which conversation.
    pub place: Place,
    /// Whether the conversation is made with the turn.
    pub create: bool,
    /// How many items it must have.
    pub expected_items: Option<u64>,
    /// The response before this one, where the chain may have to branch.
    pub(super) previous: Option<TurnId>,
    /// The conversation, where it is a copy that was made for this turn.
    pub(super) copied: Option<UnusedCopy>,
    /// The ids of the calls in the response before this one.
    pub(super) calls: Vec<String>,
}

/// A conversation that was made for a turn which is yet to begin. Dropping this deletes it: without a turn no response
/// leads to it, so its owner could neither read nor delete it.
pub(super) struct UnusedCopy(Option<(Turns, Place)>);

impl UnusedCopy {
    /// The turn has begun.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for UnusedCopy {
    fn drop(&mut self) {
        if let Some((turns, place)) = self.0.take() {
            turns.discard_conversation(place);
        }
    }
}

impl StartPoint {
    /// The start of a new chain.
    fn fresh(backing: &Backing) -> Self {
        let place = backing.fresh_place();
        Self { place, create: true, expected_items: None, previous: None, copied: None, calls: Vec::new() }
    }

    /// The end of an existing conversation.
    fn end_of(backing: &Backing, conversation: ConversationId) -> Self {
        let place = Place { owner: backing.owner.clone(), conversation };
        Self { place, create: false, expected_items: None, previous: None, copied: None, calls: Vec::new() }
    }

    /// Finds the start point. A response that is not in `backing` is looked for in `fallback`, and what was said up to its
    /// end is copied into `backing`.
    ///
    /// # Errors
    /// When what it goes on from is not there, or has not ended.
    pub async fn find(
        backing: &Backing,
        fallback: Option<&Backing>,
        continues: &Continues,
    ) -> Result<Self, ChainError> {
        let turn = match continues {
            Continues::Nothing => return Ok(Self::fresh(backing)),
            Continues::Conversation(conversation) => return Ok(Self::end_of(backing, conversation.clone())),
            Continues::Response(turn) => turn,
        };
        if let Some(record) = backing.response(turn).await? {
            return Self::after(backing, record).await;
        }
        let fallback = fallback.ok_or(ChainError::UnknownResponse)?;
        let record = fallback.response(turn).await?.ok_or(ChainError::UnknownResponse)?;
        Self::copied(backing, fallback, &record).await
    }

    /// Right behind `record`: in its own conversation where that is a chain, else in a copy.
    async fn after(backing: &Backing, record: TurnRecord) -> Result<Self, ChainError> {
        let items = items_at_end(&record)?;
        if StoredOptions::of(&record.request).is_some_and(|options| options.is_in_chain()) {
            let calls = calls_of(&record);
            let TurnRecord { id, place, .. } = record;
            return Ok(Self {
                place,
                create: false,
                expected_items: Some(items),
                previous: Some(id),
                copied: None,
                calls,
            });
        }
        Self::copied(backing, backing, &record).await
    }

    /// In a copy of what was said in `from` up to the end of `record`.
    ///
    /// # Errors
    /// When the response has not ended, or the store cannot be asked.
    pub(super) async fn copied(backing: &Backing, from: &Backing, record: &TurnRecord) -> Result<Self, ChainError> {
        let items = from.items_up_to(&record.place, items_at_end(record)?).await?;
        let place = backing.fresh_place();
        let new = NewConversation {
            place: place.clone(),
            hidden: true,
            metadata: "{}".to_owned(),
            items: items.into_iter().map(|stored| stored.item).collect(),
            now_ms: backing.clock.now_ms(),
        };
        // Made before the call: an answer of the store that is lost must not leave the copy behind.
        let copied = Some(UnusedCopy(Some((backing.turns.clone(), place.clone()))));
        match backing.store.create_conversation(new).await? {
            Created::UnknownSession => Err(Refused::UnknownSession.into()),
            // A fresh id that exists: a repeated call whose first answer was lost.
            Created::Created | Created::Exists => {
                let calls = calls_of(record);
                Ok(Self { place, create: false, expected_items: None, previous: None, copied, calls })
            }
        }
    }
}

fn calls_of(record: &TurnRecord) -> Vec<String> {
    let outputs = record.answer.iter().flat_map(|answer| &answer.output);
    let call = |output: &Output| match output {
        Output::Call { call_id, .. } => Some(call_id.clone()),
        _ => None,
    };
    outputs.filter_map(call).collect()
}

/// How many items the conversation had when the response ended.
fn items_at_end(record: &TurnRecord) -> Result<u64, ChainError> {
    match record.status {
        TurnStatus::Running => Err(ChainError::StillRunning),
        _ => record.items_then.ok_or(ChainError::UnknownResponse),
    }
}
