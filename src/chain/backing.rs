//! What responses of one kind are kept in: those that are stored, or those that live in one scratch space.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::clock::Clock;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, Ids, TurnId};
use crate::domain::item::StoredItem;
use crate::domain::output::Answer;
use crate::domain::turn::{TurnRecord, TurnRequest};
use crate::store::{Store, StoreError};
use crate::turn::Turns;

/// How many items are read at once.
const PAGE: usize = 500;

/// See the module.
#[derive(Clone)]
pub struct Backing {
    /// Whose the responses are.
    pub owner: Owner,
    /// Begins and reads them.
    pub turns: Turns,
    /// Has their records and conversations.
    pub store: Arc<dyn Store>,
    /// Names the conversations that are made.
    pub ids: Arc<dyn Ids>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Whether a response with `store: false` is hidden; in a scratch space all of them are such.
    pub hides_unstored: bool,
}

/// What of a request's own fields says how its response is kept.
#[derive(Debug, Deserialize)]
pub struct StoredOptions {
    /// Whether it can be read later.
    pub store: bool,
    /// Whether its client does not wait for it.
    pub background: bool,
    /// The conversation that it named; a chain of responses has none.
    conversation: Option<IgnoredAny>,
}

impl StoredOptions {
    /// `None` for a turn of `/chat`.
    #[must_use]
    pub fn of(request: &TurnRequest) -> Option<Self> {
        serde_json::from_str(request.shown.as_deref()?).ok()
    }

    /// Whether its conversation is a chain of responses.
    #[must_use]
    pub fn is_in_chain(&self) -> bool {
        self.conversation.is_none()
    }
}

impl Backing {
    /// A response that can be read and gone on from; `None` where this owner has no such one.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn response(&self, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        let found = self.store.turn(&self.owner, turn).await?;
        let Some(mut record) = found.filter(|record| !self.hides_unstored || is_stored(record)) else {
            return Ok(None);
        };
        if record.request.shown.is_none() && record.answer.is_none() && record.items_then.is_some() {
            record.answer = self.answer_in_history(&record).await?;
        }
        Ok(Some(record))
    }

    /// The answer of a turn of `/chat`: its record has none, its history does.
    async fn answer_in_history(&self, record: &TurnRecord) -> Result<Option<Answer>, StoreError> {
        for attempt in (1..=record.attempt).rev() {
            let id = record.request.answer_id.of_attempt(attempt);
            let Some(stored) = self.store.item(&record.place, &id).await? else { continue };
            let text = stored.item.message().map_or_else(String::new, |message| message.text);
            let model = record.request.model.clone();
            return Ok(Some(Answer { id, text, model, finish_reason: None, output: Vec::new(), provider: None }));
        }
        Ok(None)
    }

    /// The items of a conversation up to number `last`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub(super) async fn items_up_to(&self, place: &Place, last: u64) -> Result<Vec<StoredItem>, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut pages: Vec<Vec<StoredItem>> = Vec::new();
        let mut before = last.saturating_add(1);
        loop {
            let Some(page) = self.store.history(place, Some(before), PAGE, now_ms).await? else { break };
            let Some(oldest) = page.items.first() else { break };
            before = oldest.seq;
            pages.push(page.items);
            if !page.has_more {
                break;
            }
        }
        Ok(pages.into_iter().rev().flatten().collect())
    }

    /// A place for a conversation that does not exist yet.
    pub(super) fn fresh_place(&self) -> Place {
        let conversation = ConversationId::fresh(&*self.ids, &*self.clock);
        Place { owner: self.owner.clone(), conversation }
    }
}

fn is_stored(record: &TurnRecord) -> bool {
    StoredOptions::of(&record.request).is_none_or(|options| options.store)
}
