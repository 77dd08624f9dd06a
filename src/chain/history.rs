//! What was said before a response.

use super::ChainError;
use super::backing::Backing;
use super::start::Continues;
use crate::domain::conversation::Place;
use crate::domain::item::StoredItem;
use crate::domain::question;

/// All that was said before a response that goes on from `continues`, oldest first; not what was asked and never answered.
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
    let mut items = backing.items_up_to(&place, last).await?;
    items.retain(|stored| question::standing(&stored.item).is_none());
    Ok(items)
}
