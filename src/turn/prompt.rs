//! From what was asked to what is sent: the budget, the window, the call.

use crate::domain::item::{Role, StoredItem};
use crate::domain::model::{self, Profile};
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::TurnRequest;
use crate::domain::window::{self, Budget};
use crate::upstream::{Call, PromptMessage};

/// A prompt that cannot be sent, however much history is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// What the system prompt and the new prompt take.
    pub tokens: u64,
    /// What there is room for.
    pub limit: u64,
}

/// How much room this request leaves to its history.
///
/// # Errors
/// [`TooLong`] where it does not even fit alone.
pub fn budget(request: &TurnRequest, history_max_tokens: u32) -> Result<Budget, TooLong> {
    let profile = model::profile(&request.model);
    let tokens = room(&profile, request.max_tokens).min(history_max_tokens);
    let fixed = u64::from(instruction_tokens(request, &profile))
        + u64::from(request.input_tokens())
        + u64::from(REQUEST_OVERHEAD);
    match u32::try_from(fixed) {
        Ok(fixed_tokens) if fixed_tokens <= tokens => Ok(Budget { tokens, fixed_tokens }),
        _ => Err(TooLong { tokens: fixed, limit: u64::from(tokens) }),
    }
}

/// The model's context less the answer's room; less a tenth where the tokenizer is a guess.
fn room(profile: &Profile, answer_tokens: u32) -> u32 {
    let margin = if profile.estimated { profile.context_tokens / 10 } else { 0 };
    profile.context_tokens.saturating_sub(answer_tokens).saturating_sub(margin)
}

fn instruction_tokens(request: &TurnRequest, profile: &Profile) -> u32 {
    match request.instructions.is_empty() {
        true => 0,
        false => profile.encoding.count_message(&request.instructions),
    }
}

/// What goes upstream, and how many tokens of prompt that is by our own count.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The call.
    pub call: Call,
    /// Its prompt's tokens.
    pub tokens: u64,
}

/// The call for a request, with what the store loaded of its history.
#[must_use]
pub fn compose(request: &TurnRequest, budget: &Budget, loaded: Vec<StoredItem>) -> Prompt {
    let encoding = model::profile(&request.model).encoding;
    let history = window::select(loaded, budget, encoding);
    let history_tokens: u64 = history.iter().map(|item| u64::from(item.item.tokens)).sum();
    let instructions = PromptMessage { role: Role::System, text: request.instructions.clone() };
    let system = (!request.instructions.is_empty()).then_some(instructions);
    let items = history.iter().map(|stored| &stored.item).chain(&request.input);
    let spoken =
        items.filter_map(|item| item.message()).map(|message| PromptMessage { role: message.role, text: message.text });
    let call = Call {
        model: request.model.clone(),
        messages: system.into_iter().chain(spoken).collect(),
        temperature: request.temperature,
        max_tokens: request.max_tokens,
        stream: request.stream,
    };
    Prompt { call, tokens: history_tokens + u64::from(budget.fixed_tokens) }
}
