//! What an item reference means: an item that came with a response, named by its id.

use super::ChainError;
use super::backing::Backing;
use super::start::StartPoint;
use crate::domain::ids::ItemId;
use crate::domain::item::{Item, StoredItem};
use crate::domain::question;
use crate::domain::reply;
use crate::domain::turn::TurnRecord;
use crate::tasks::off_runtime;

/// The item that a turn at `start` is to be given; `None` where its history has the item already.
///
/// # Errors
/// When there is no such item in any of `backings`.
pub async fn resolve(backings: &[&Backing], start: &StartPoint, id: &ItemId) -> Result<Option<Item>, ChainError> {
    if !start.create
        && let Some(backing) = backings.iter().find(|backing| backing.owner == start.place.owner)
    {
        // Later items belong to another branch.
        let last = start.expected_items.unwrap_or(u64::MAX);
        let found = backing.store.item(&start.place, id).await?;
        // A question without an answer is in no prompt unless it is asked again.
        let is_said = |stored: &StoredItem| stored.seq <= last && question::standing(&stored.item).is_none();
        if found.as_ref().is_some_and(is_said) {
            return Ok(None);
        }
    }
    find(backings, id).await.map(Some)
}

/// The item of this id among those that came with a response, which the id names.
///
/// # Errors
/// When there is no such item in any of `backings`.
pub async fn find(backings: &[&Backing], id: &ItemId) -> Result<Item, ChainError> {
    let turn = id.turn().ok_or(ChainError::UnknownItem)?;
    for backing in backings {
        let Some(record) = backing.response(&turn).await? else { continue };
        if let Some(item) = item_of_turn(&record, id).await {
            return Ok(item);
        }
        // In a scratch space only the conversation has what a turn was asked.
        if let Some(stored) = backing.store.item(&record.place, id).await? {
            return Ok(stored.item);
        }
    }
    Err(ChainError::UnknownItem)
}

/// From the turn's input or its answer.
async fn item_of_turn(record: &TurnRecord, id: &ItemId) -> Option<Item> {
    if let Some(item) = record.request.input.iter().find(|item| item.id == *id) {
        return Some(item.clone());
    }
    let answer = record.answer.as_ref()?;
    let size = answer.outputs().iter().map(|output| output.cost().len()).sum();
    let (turn, request, answer) = (record.id.clone(), record.request.clone(), answer.clone());
    let items = off_runtime(size, move || reply::items_of(&turn, &request, &answer, true)).await;
    items.into_iter().find(|item| item.id == *id)
}
