//! What was said before a response.

use super::ChainError;
use super::backing::Backing;
use super::start::Continues;
use crate::domain::conversation::Place;
use crate::domain::item::StoredItem;
use crate::store::StoreError;

/// How many items are read at once.
const PAGE: usize = 500;

/// The items of a conversation up to number `last`, oldest first.
///
/// # Errors
/// When the store cannot be asked.
pub async fn items_up_to(backing: &Backing, place: &Place, last: u64) -> Result<Vec<StoredItem>, StoreError> {
    let now_ms = backing.clock.now_ms();
    let mut pages: Vec<Vec<StoredItem>> = Vec::new();
    let mut before = last.saturating_add(1);
    loop {
        let Some(page) = backing.store.history(place, Some(before), PAGE, now_ms).await? else { break };
        let Some(oldest) = page.items.first() else { break };
        before = oldest.seq;
        pages.push(page.items);
        if !page.has_more {
            break;
        }
    }
    Ok(pages.into_iter().rev().flatten().collect())
}

/// All that was said before a response that goes on from `continues`, oldest first.
///
/// # Errors
/// When that is not there.
pub async fn history(backing: &Backing, continues: &Continues) -> Result<Vec<StoredItem>, ChainError> {
    let (place, last) = match continues {
        Continues::Nothing => return Ok(Vec::new()),
        Continues::Conversation(id) => {
            let place = Place { owner: backing.owner.clone(), conversation: id.clone() };
            let info = backing.store.conversation(&place).await?;
            info.filter(|info| !info.hidden).ok_or(ChainError::UnknownConversation)?;
            (place, u64::MAX)
        }
        Continues::Response(turn) => {
            let record = backing.response(turn).await?.ok_or(ChainError::UnknownResponse)?;
            (record.place, record.items_then.ok_or(ChainError::UnknownResponse)?)
        }
    };
    Ok(items_up_to(backing, &place, last).await?)
}
