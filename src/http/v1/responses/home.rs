//! Where a response lives, and what it goes on from: a conversation of its own, somebody's, or the one of a response
//! before it.
//!
//! A chain of responses is a hidden conversation to which each adds. Where a response goes on from one that others have
//! gone on from already, the chain branches: what was said up to there is copied into a conversation of its own.

use std::sync::Arc;

use super::object::Told;
use super::request::{Whence, no_previous};
use crate::domain::conversation::{Owner, Place};
use crate::domain::event::Answer;
use crate::domain::ids::{ConversationId, ItemId, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::domain::model;
use crate::domain::output::Output;
use crate::domain::reply;
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::items::no_item;
use crate::store::conversations::NewConversation;
use crate::store::{Store, StoreError};
use crate::turn::Turns;
use crate::turn::scratch::Sheet;

/// How many items are copied at once.
const PAGE: usize = 500;

/// Where responses of one kind live.
#[derive(Clone)]
pub struct Home {
    /// Whose they are.
    pub owner: Owner,
    /// Begins and reads them.
    pub turns: Turns,
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// Whether they outlive their client.
    kept: bool,
}

impl Home {
    /// What is kept.
    #[must_use]
    pub fn kept(app: &App, owner: &Owner) -> Self {
        Self { owner: owner.clone(), turns: app.turns.clone(), store: app.store.clone(), kept: true }
    }

    /// What lives as long as its sheet.
    #[must_use]
    pub fn scratch(sheet: &Sheet) -> Self {
        Self { owner: sheet.owner().clone(), turns: sheet.turns().clone(), store: sheet.store().clone(), kept: false }
    }

    /// A response that can be read and gone on from.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn response(&self, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        let found = self.store.turn(&self.owner, turn).await?;
        let Some(mut record) = found.filter(|record| !self.kept || is_stored(record)) else { return Ok(None) };
        if record.request.shown.is_none() && record.answer.is_none() && record.items_then.is_some() {
            record.answer = self.said_in(&record).await?;
        }
        Ok(Some(record))
    }

    /// The answer of a turn of the cookie door, whose record has none: as its history has it.
    async fn said_in(&self, record: &TurnRecord) -> Result<Option<Answer>, StoreError> {
        for attempt in (1..=record.attempt).rev() {
            let id = record.request.answer_id.of_attempt(attempt);
            let Some(stored) = self.store.item(&record.place, &id).await? else { continue };
            let text = stored.item.message().map_or_else(String::new, |message| message.text);
            let model = record.request.model.clone();
            return Ok(Some(Answer { id, text, model, finish_reason: None, output: Vec::new() }));
        }
        Ok(None)
    }
}

/// A response that was not to be stored is one that nobody finds, although its conversation has what was said.
fn is_stored(record: &TurnRecord) -> bool {
    Told::of(&record.request).is_none_or(|told| told.store)
}

/// Whether its conversation is a chain of responses, and not somebody's: then no conversation was named.
fn is_in_chain(record: &TurnRecord) -> bool {
    Told::of(&record.request).is_some_and(|told| told.conversation.is_none())
}

/// A conversation that was made for a turn which is yet to begin: where it does not, for whatever reason, the conversation
/// goes when this is dropped. It has what somebody said, and nobody could ever find it to delete it.
pub struct Copied(Option<(Turns, Place)>);

impl Copied {
    /// The turn has begun.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        if let Some((turns, place)) = self.0.take() {
            turns.discard_conversation(place);
        }
    }
}

/// Where a turn is to begin.
pub struct Spot {
    /// Whose, and in which conversation.
    pub place: Place,
    /// Whether the conversation is made.
    pub create: bool,
    /// How many items it must have.
    pub expected_items: Option<u64>,
    /// The response before this one, where the chain may have to branch.
    pub previous: Option<TurnId>,
    /// The conversation, where it is a copy that was made for this turn.
    pub copied: Option<Copied>,
}

/// Finds the spot for what a request goes on from. `elsewhere` is where else a response may be that it goes on from: what
/// was said up to there is then copied here.
///
/// # Errors
/// When what it goes on from is not there, or is not over.
pub async fn spot(app: &App, home: &Home, whence: &Whence, elsewhere: Option<&Home>) -> Result<Spot, OpenAiError> {
    match whence {
        Whence::Nothing => Ok(fresh(app, home)),
        Whence::Conversation(conversation) => Ok(Spot {
            place: Place { owner: home.owner.clone(), conversation: conversation.clone() },
            create: false,
            expected_items: None,
            previous: None,
            copied: None,
        }),
        Whence::Response(turn) => match home.response(turn).await.map_err(ApiError::from)? {
            Some(record) => after(app, home, &record).await,
            None => match elsewhere {
                Some(elsewhere) => copied(app, home, elsewhere, turn).await,
                None => Err(no_previous()),
            },
        },
    }
}

fn fresh(app: &App, home: &Home) -> Spot {
    let conversation = ConversationId::fresh(&*app.ids, &*app.clock);
    let place = Place { owner: home.owner.clone(), conversation };
    Spot { place, create: true, expected_items: None, previous: None, copied: None }
}

/// Right behind `record`, in its own conversation where that is a chain, or in a copy of somebody's conversation.
async fn after(app: &App, home: &Home, record: &TurnRecord) -> Result<Spot, OpenAiError> {
    let Some(items) = record.items_then else { return Err(not_over(record)) };
    if is_in_chain(record) {
        let previous = Some(record.id.clone());
        let place = record.place.clone();
        return Ok(Spot { place, create: false, expected_items: Some(items), previous, copied: None });
    }
    branch(app, home, home, record).await
}

/// The chain has gone on, or was never one: a copy of it up to `record`.
///
/// # Errors
/// When the response is not over, or the store cannot be asked.
pub async fn branch(app: &App, home: &Home, from: &Home, record: &TurnRecord) -> Result<Spot, OpenAiError> {
    let Some(items) = record.items_then else { return Err(not_over(record)) };
    let said = said_up_to(from, &record.place, items, app.clock.now_ms()).await.map_err(ApiError::from)?;
    let mut spot = fresh(app, home);
    let new = NewConversation {
        place: spot.place.clone(),
        hidden: true,
        metadata: "{}".to_owned(),
        items: said.into_iter().map(|stored| stored.item).collect(),
        now_ms: app.clock.now_ms(),
    };
    spot.create = false;
    spot.copied = Some(Copied(Some((home.turns.clone(), spot.place.clone()))));
    home.store.create_conversation(new).await.map_err(ApiError::from)?;
    Ok(spot)
}

async fn copied(app: &App, home: &Home, elsewhere: &Home, turn: &TurnId) -> Result<Spot, OpenAiError> {
    let record = elsewhere.response(turn).await.map_err(ApiError::from)?.ok_or_else(no_previous)?;
    branch(app, home, elsewhere, &record).await
}

/// The items of a conversation up to number `last`, oldest first.
///
/// # Errors
/// When the store cannot be asked.
pub async fn said_up_to(home: &Home, place: &Place, last: u64, now_ms: i64) -> Result<Vec<StoredItem>, StoreError> {
    let mut pages: Vec<Vec<StoredItem>> = Vec::new();
    let mut before = last.saturating_add(1);
    loop {
        let Some(page) = home.store.history(place, Some(before), PAGE, now_ms).await? else { break };
        let Some(oldest) = page.items.first() else { break };
        before = oldest.seq;
        pages.push(page.items);
        if !page.has_more {
            break;
        }
    }
    Ok(pages.into_iter().rev().flatten().collect())
}

fn not_over(record: &TurnRecord) -> OpenAiError {
    match record.status {
        TurnStatus::Running => locked("The previous response is not over yet."),
        _ => no_previous(),
    }
}

/// Somebody else is at it. An SDK tries again by itself.
#[must_use]
pub fn locked(message: &str) -> OpenAiError {
    let status = axum::http::StatusCode::CONFLICT;
    OpenAiError::new(status, "invalid_request_error", "conversation_locked", message)
        .should_retry(true)
        .retry_after(std::time::Duration::from_secs(1))
}

/// What an item reference stands for: the item to be said, or `None` where the history has it already. It is looked for
/// in each of `homes`.
///
/// # Errors
/// When there is no such item.
pub async fn referred(homes: &[&Home], spot: &Spot, id: &ItemId, param: &str) -> Result<Option<Item>, OpenAiError> {
    if !spot.create
        && let Some(home) = homes.iter().find(|home| home.owner == spot.place.owner)
    {
        // What came later was said by another branch.
        let until = spot.expected_items.unwrap_or(u64::MAX);
        let found = home.store.item(&spot.place, id).await.map_err(ApiError::from)?;
        if found.is_some_and(|stored| stored.seq <= until) {
            return Ok(None);
        }
    }
    said_with(homes, id, param).await.map(Some)
}

/// An item that came with one of the responses in `homes`.
///
/// # Errors
/// When there is no such item.
pub async fn said_with(homes: &[&Home], id: &ItemId, param: &str) -> Result<Item, OpenAiError> {
    let turn = id.turn().ok_or_else(|| no_item(param))?;
    for home in homes {
        let record = home.response(&turn).await.map_err(ApiError::from)?;
        if let Some(item) = record.and_then(|record| item_of_turn(&record, id)) {
            return Ok(item);
        }
    }
    Err(no_item(param))
}

/// The item with this id among what a turn was asked and what came of it.
fn item_of_turn(record: &TurnRecord, id: &ItemId) -> Option<Item> {
    if let Some(item) = record.request.input.iter().find(|item| item.id == *id) {
        return Some(item.clone());
    }
    let outputs = record.answer.as_ref().map(Answer::outputs).unwrap_or_default();
    let output = outputs.iter().find(|output: &&Output| output.id() == id)?;
    reply::item_of(output, &record.id, model::profile(&record.request.model).encoding, true)
}
