//! Compacting a history: what the person said last stays word for word, and the model summarises the rest.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::dialogue::{self, PromptMessage};
use super::ids::{ItemId, ItemKind};
use super::item::{Item, Role};
use super::item_json::Members;
use super::summary::Compacted;

/// The most tokens of the summary.
pub const SUMMARY_TOKENS: u32 = 2_000;

/// The most tokens of the person's own messages that are kept word for word.
pub const KEPT_TOKENS: u32 = 2_000;

/// What the model is asked for.
const TASK: &str = "Summarise the conversation so far for the assistant that continues it: facts, names, numbers, decisions, what was \
    asked and is still open. Write the summary alone, in the conversation's language.";

/// The prompt for the summary.
#[must_use]
pub fn prompt<'a>(instructions: Option<String>, history: impl IntoIterator<Item = &'a Item>) -> Vec<PromptMessage> {
    let system = instructions.map(|text| PromptMessage::new(Role::System, text));
    let spoken = dialogue::messages(history.into_iter().map(|item| (item, true)));
    let task = PromptMessage::new(Role::User, TASK);
    system.into_iter().chain(spoken).chain([task]).collect()
}

/// The newest of the person's messages that have at most `most` tokens, oldest first.
#[must_use]
pub fn kept(history: &[Item], most: u32) -> Vec<&Item> {
    let mut room = most;
    let mut kept: Vec<&Item> = Vec::new();
    for item in history.iter().rev() {
        if item.message().is_none_or(|message| message.role != Role::User) {
            continue;
        }
        match room.checked_sub(item.tokens) {
            Some(left) => room = left,
            None => break,
        }
        kept.push(item);
    }
    kept.reverse();
    kept
}

/// The place of the newest item that has all that is left of the history before it; what stands before it is in no prompt.
#[must_use]
pub fn newest<'a>(items: impl DoubleEndedIterator<Item = &'a Item> + ExactSizeIterator) -> Option<usize> {
    let mut items = items.enumerate();
    std::iter::from_fn(|| items.next_back()).find(|(_, item)| all_of(item).is_some()).map(|(place, _)| place)
}

/// Where the part of a prompt begins that has to stay as it is for the model to go on: the person's last message with all
/// that came of it, or, where that takes more than `most` tokens, the last calls with their outputs.
#[must_use]
pub fn live_from(items: &[Item], most: u64) -> usize {
    let tokens = |from: usize| items.iter().skip(from).map(|item| u64::from(item.tokens)).sum::<u64>();
    let asked = items.iter().rposition(|item| item.message().is_some_and(|message| message.role == Role::User));
    match asked {
        Some(asked) if asked + 1 == items.len() || tokens(asked) <= most => asked,
        _ => last_calls(items),
    }
}

/// Where the calls begin whose outputs the history ends with.
fn last_calls(items: &[Item]) -> usize {
    let of = |item: &Item, kind: ItemKind| item.id.as_str().starts_with(kind.prefix());
    let is_behind = |item: &&Item| !of(item, ItemKind::Call);
    let behind = items.iter().rev().take_while(is_behind).count();
    let calls = items.len() - behind;
    if calls == 0 {
        return items.len().saturating_sub(1);
    }
    let is_among = |item: &&Item| of(item, ItemKind::Call) || of(item, ItemKind::Reasoning);
    calls - items.iter().take(calls).rev().take_while(is_among).count()
}

/// The items that a compaction item stands for in a prompt: its summary, and what goes on word for word; none for any other
/// item.
#[must_use]
pub fn expanded(item: &Item) -> Option<Vec<Item>> {
    let compacted = all_of(item)?;
    let summary = Compacted { items: Vec::new(), is_all: false, ..compacted.clone() };
    let json = Members::new("compaction").text("encrypted_content", &summary.sealed()).with_id(&item.id);
    let kept =
        compacted.items.iter().map(|kept| Item { id: id_in(kept, item), json: kept.get().to_owned(), ..item.clone() });
    Some([Item { json, ..item.clone() }].into_iter().chain(kept).collect())
}

fn id_in(json: &RawValue, otherwise: &Item) -> ItemId {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let named = serde_json::from_str::<Named>(json.get()).ok();
    named.and_then(|named| ItemId::parse(&named.id)).unwrap_or_else(|| otherwise.id.clone())
}

fn all_of(item: &Item) -> Option<Compacted> {
    #[derive(Deserialize)]
    struct Carrier {
        encrypted_content: String,
    }
    if !item.id.as_str().starts_with(ItemKind::Compaction.prefix()) {
        return None;
    }
    let Carrier { encrypted_content } = serde_json::from_str(&item.json).ok()?;
    Compacted::of(&encrypted_content).filter(|compacted| compacted.is_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::item::user_message;
    use crate::domain::tokens::Encoding;

    fn item(id: &str, json: String, tokens: u32) -> Item {
        Item { id: ItemId::parse(id).unwrap(), turn: None, json, tokens, encoding: Encoding::O200k }
    }

    fn said(text: &str, tokens: u32) -> Item {
        item("msg_1", user_message(&ItemId::parse("msg_1").unwrap(), text), tokens)
    }

    fn call(tokens: u32) -> Item {
        let id = ItemId::parse("fc_1").unwrap();
        item("fc_1", Members::call("a", "f", "{}").with_id(&id), tokens)
    }

    fn output(tokens: u32) -> Item {
        item("fco_1", r#"{"type":"function_call_output","call_id":"a","output":"x"}"#.to_owned(), tokens)
    }

    #[test]
    fn the_last_question_stays_with_what_came_of_it_unless_that_is_too_much() {
        let items = [said("a", 9), said("b", 9), call(9), output(9), call(9), output(9)];
        assert_eq!(live_from(&items, 100), 1);
        assert_eq!(live_from(&items, 20), 4);
        assert_eq!(live_from(&items[..2], 1), 1, "a question is never cut");
        assert_eq!(live_from(&[], 1), 0);
    }

    #[test]
    fn a_compaction_stands_for_its_summary_and_what_it_kept() {
        let kept = said("Why?", 3);
        let raw = RawValue::from_string(kept.json.clone()).unwrap();
        let compacted = Compacted { summary: "They met.".into(), items: vec![raw], is_all: true };
        let json = Members::new("compaction").text("encrypted_content", &compacted.sealed());
        let compaction = item("cmp_1", json.with_id(&ItemId::parse("cmp_1").unwrap()), 5);
        let [summary, question] = expanded(&compaction).unwrap().try_into().unwrap();
        assert_eq!((question.id.as_str(), &question.json), ("msg_1", &kept.json));
        let told = dialogue::messages([(&summary, true)].into_iter());
        assert!(told[0].text().ends_with("They met."), "{told:?}");
        let items = [said("a", 1), compaction.clone(), said("b", 1), compaction, said("c", 1)];
        assert_eq!((newest(items.iter()), newest(items[..1].iter())), (Some(3), None));
    }
}
