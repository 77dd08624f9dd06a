//! What of a conversation goes upstream: the newest turns that fit, cut in steps.
//!
//! The cut moves in steps of a quarter of the budget and depends only on token totals, so it stays where it is for many
//! turns: the front of the prompt is the same from turn to turn, and the provider's prompt cache keeps hitting. Nothing has
//! to be remembered for that; every store computes the same cut from the same totals.

use super::ids::ItemKind;
use super::item::{Role, StoredItem};
use super::tokens::Encoding;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tokens for everything that goes upstream.
    pub tokens: u32,
    /// Of these, what is spent before any history: system prompt, new prompt, overhead. At most `tokens`.
    pub fixed_tokens: u32,
    /// Whether nothing may be left behind: all is loaded, or nothing where all does not fit.
    pub whole: bool,
}

/// What a store loads of a history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The newest items, in order, from the first one whose `tokens_before` is at least [`Budget::cut`]; none where
    /// [`Budget::forbids`] their tokens.
    pub items: Vec<StoredItem>,
    /// What all items that are there take together, loaded or not.
    pub tokens: u64,
}

impl Budget {
    /// Items whose `tokens_before` is below this stay behind; `history_tokens` is the total of all items.
    ///
    /// 0 while everything fits. Afterwards what is kept is at most the budget, and more than about three quarters of it.
    #[must_use]
    pub fn cut(&self, history_tokens: u64) -> u64 {
        if self.whole {
            return 0;
        }
        let over = (history_tokens + u64::from(self.fixed_tokens)).saturating_sub(u64::from(self.tokens));
        let step = u64::from(self.tokens / 4).max(1);
        over.div_ceil(step) * step
    }

    /// Whether all of a history has to go along, and with so many tokens does not fit. Its items need not be loaded then.
    #[must_use]
    pub fn forbids(&self, history_tokens: u64) -> bool {
        self.most_tokens().is_some_and(|most| history_tokens > most)
    }

    /// The most tokens that a history may have; `None` where it may have any.
    #[must_use]
    pub fn most_tokens(&self) -> Option<u64> {
        self.whole.then(|| self.room())
    }

    /// The budget by which a store is to cut: without an end where nothing may be left behind.
    #[must_use]
    pub fn loaded_tokens(&self) -> u32 {
        if self.whole { u32::MAX } else { self.tokens }
    }

    fn room(&self) -> u64 {
        u64::from(self.tokens.saturating_sub(self.fixed_tokens))
    }
}

/// The window out of what a store loaded: `loaded` is in order, and begins at the cut.
///
/// Turns are kept whole: where the cut fell into one, the rest of it goes, too. Items counted with another tokenizer than
/// `encoding` are counted again, and where that shows that they no longer fit, the oldest turns go.
#[must_use]
pub fn select(mut loaded: Vec<StoredItem>, budget: &Budget, encoding: Encoding) -> Vec<StoredItem> {
    let mut start = next_turn_start(&loaded, 0);
    let tokens: Vec<u64> = loaded.iter().map(|item| u64::from(tokens_in(item, encoding))).collect();
    let mut total: u64 = tokens[start..].iter().sum();
    while total > budget.room() {
        let next = next_turn_start(&loaded, start + 1);
        total -= tokens[start..next].iter().sum::<u64>();
        start = next;
    }
    loaded.drain(..start);
    loaded
}

fn tokens_in(stored: &StoredItem, encoding: Encoding) -> u32 {
    // What costs nothing is sent to no model.
    if stored.item.encoding == encoding || stored.item.tokens == 0 {
        return stored.item.tokens;
    }
    match stored.item.message() {
        Some(message) => encoding.count_message(&message.text),
        None => encoding.count_message(&stored.item.json),
    }
}

/// The first index from `from` on at which a turn begins.
fn next_turn_start(items: &[StoredItem], from: usize) -> usize {
    let begins = |i: usize| match &items[i].item.turn {
        None => true,
        Some(turn) if i > 0 => items[i - 1].item.turn.as_ref() != Some(turn),
        // What is left of all that stood before it.
        Some(_) if items[i].item.id.as_str().starts_with(ItemKind::Compaction.prefix()) => true,
        // What stood before it was not loaded. A turn begins with what the person said; anything else is its rest.
        Some(_) => items[0].seq == 1 || items[0].item.message().is_some_and(|message| message.role != Role::Assistant),
    };
    (from..items.len()).find(|&i| begins(i)).unwrap_or(items.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::{ItemId, TurnId};
    use crate::domain::item::{Item, assistant_message, user_message};

    fn history(tokens: &[u32]) -> Vec<StoredItem> {
        let mut before = 0;
        let stored = |(i, &tokens): (usize, &u32)| {
            let id = ItemId::parse(&format!("msg_{i}")).unwrap();
            let json = if i % 2 == 0 { user_message(&id, "hi") } else { assistant_message(&id, "hi", "", true) };
            let item =
                Item { id, turn: TurnId::parse(&format!("turn_{}", i / 2)), json, tokens, encoding: Encoding::O200k };
            let seq = i as u64 + 1;
            let stored = StoredItem { seq, tokens_before: before, created_at_ms: 0, item };
            before += u64::from(tokens);
            stored
        };
        tokens.iter().enumerate().map(stored).collect()
    }

    fn window(tokens: &[u32], budget: Budget) -> Vec<StoredItem> {
        let total = tokens.iter().map(|&t| u64::from(t)).sum();
        let cut = budget.cut(total);
        let loaded = history(tokens).into_iter().filter(|item| item.tokens_before >= cut).collect();
        select(loaded, &budget, Encoding::O200k)
    }

    #[test]
    fn all_of_a_short_history_is_kept() {
        let budget = Budget { tokens: 100, fixed_tokens: 20, whole: false };
        assert_eq!(window(&[10, 10, 30, 30], budget).len(), 4);
    }

    #[test]
    fn the_cut_stays_for_many_turns() {
        let budget = Budget { tokens: 1_000, fixed_tokens: 50, whole: false };
        let starts: Vec<u64> =
            (1..200).map(|turns| window(&vec![10; turns * 2], budget).first().map_or(0, |item| item.seq)).collect();
        let moves = starts.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((10..=16).contains(&moves), "cut moved {moves} times in 200 turns of 20 tokens");
        assert!(starts.is_sorted());
    }

    proptest! {
        #[test]
        fn what_is_kept_fits_is_newest_and_whole_turns(
            tokens in prop::collection::vec(1u32..400, 0..80),
            budget in 1u32..3_000,
            fixed in 0u32..3_000,
        ) {
            let budget = Budget { tokens: budget, fixed_tokens: fixed.min(budget), whole: false };
            let kept = window(&tokens, budget);
            let sum: u64 = kept.iter().map(|item| u64::from(item.item.tokens)).sum();
            prop_assert!(sum <= budget.room());
            if let Some(first) = kept.first() {
                prop_assert_eq!((first.seq - 1) % 2, 0, "starts in mid-turn");
                prop_assert_eq!(kept.last().unwrap().seq, tokens.len() as u64);
                prop_assert!(kept.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
            }
            let all: u64 = tokens.iter().map(|&t| u64::from(t)).sum();
            let dropped_turn = tokens.chunks(2).take((tokens.len() - kept.len()) / 2)
                .map(|turn| turn.iter().sum::<u32>()).max().unwrap_or(0);
            let floor = u64::from(budget.tokens) * 3 / 4;
            let total = sum + u64::from(budget.fixed_tokens);
            prop_assert!(
                all + u64::from(budget.fixed_tokens) <= u64::from(budget.tokens) && kept.len() == tokens.len()
                    || total + u64::from(dropped_turn) + 1 >= floor,
                "kept {} of a budget of {}", total, budget.tokens
            );
        }
    }
}
