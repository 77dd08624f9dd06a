//! What a running turn was asked, as readers find it in the turn's conversation: behind all items, with the numbers that
//! the end of the turn will give. Nothing else can be added meanwhile, so they stay.

use crate::domain::item::StoredItem;
use crate::domain::question;
use crate::domain::turn::{TurnRequest, TurnStatus};

/// The end of a conversation in which a turn runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// The number of the last item that there ever was.
    pub(super) item_count: u64,
    /// Where the tokens of the newest item end.
    pub(super) total_tokens: u64,
}

/// The items of a turn that began at `began_at_ms`.
pub(super) fn pending(request: &TurnRequest, end: End, began_at_ms: i64) -> Vec<StoredItem> {
    let items = question::unanswered(request, TurnStatus::Running).into_iter().zip(end.item_count + 1..);
    let stored = |(item, seq)| StoredItem { seq, tokens_before: end.total_tokens, created_at_ms: began_at_ms, item };
    items.map(stored).collect()
}

/// Puts those with a number below `before` behind a page of the newest `limit` items, oldest first, and cuts it to `limit`
/// again; `has_more` says whether there are items before the page.
pub(super) fn join(
    page: &mut Vec<StoredItem>,
    has_more: &mut bool,
    pending: Vec<StoredItem>,
    before: Option<u64>,
    limit: usize,
) {
    page.extend(pending.into_iter().filter(|item| before.is_none_or(|before| item.seq < before)));
    let surplus = page.len().saturating_sub(limit);
    *has_more |= surplus > 0;
    page.drain(..surplus);
}
