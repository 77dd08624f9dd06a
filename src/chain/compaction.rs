//! Compacting a history: what the person said last stays word for word, and the model summarises the rest.

use crate::domain::dialogue::{self, PromptMessage};
use crate::domain::item::{Item, Role};

/// The most tokens of the summary.
pub const SUMMARY_TOKENS: u32 = 2_000;

/// The most tokens of the person's own messages that are kept word for word.
const KEPT_TOKENS: u32 = 2_000;

/// What the model is asked for.
const TASK: &str = "Summarise the conversation so far for whoever continues it: facts, names, numbers, decisions, what was \
    asked and is still open. Write the summary alone, in the conversation's language.";

/// The prompt for the summary.
#[must_use]
pub fn prompt(instructions: Option<String>, history: &[Item]) -> Vec<PromptMessage> {
    let system = instructions.map(|text| PromptMessage::new(Role::System, text));
    let spoken = dialogue::messages(history.iter().map(|item| (item, true)));
    let task = PromptMessage::new(Role::User, TASK);
    system.into_iter().chain(spoken).chain([task]).collect()
}

/// The newest of the person's messages that fit, oldest first.
#[must_use]
pub fn kept(history: &[Item]) -> Vec<&Item> {
    let mut room = KEPT_TOKENS;
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
