//! From what was asked to what is sent: the budget, the window, the call.

use crate::domain::dialogue::{self, PromptMessage};
use crate::domain::ids::ItemKind;
use crate::domain::item::{Item, Role, StoredItem};
use crate::domain::model::{self, Profile};
use crate::domain::question;
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::{Fault, FaultKind, TurnRequest};
use crate::domain::window::{self, Budget, Loaded};
use crate::metering::Call;

/// A prompt that cannot be sent, however much history is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// What the system prompt and the new prompt take.
    pub tokens: u64,
    /// What there is room for.
    pub limit: u64,
}

impl TooLong {
    /// The same as the reason why a turn fails.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let Self { tokens, limit } = self;
        let message = format!("the conversation takes {tokens} tokens, and there is room for {limit}");
        Fault::new(FaultKind::ContextTooLong, message)
    }
}

/// How much room this request leaves to its history.
///
/// # Errors
/// [`TooLong`] where it does not even fit alone.
pub fn budget(request: &TurnRequest, history_max_tokens: u32) -> Result<Budget, TooLong> {
    let profile = model::profile(&request.model);
    let tokens = match request.whole_history {
        // Where nobody knows how much the model takes, its server says when it is too much.
        true if profile.estimated => u32::MAX,
        true => room(&profile, request.max_tokens.unwrap_or(0)),
        false => room(&profile, request.max_tokens.unwrap_or(u32::MAX)).min(history_max_tokens),
    };
    let fixed = u64::from(instruction_tokens(request, &profile))
        + u64::from(request.input_tokens())
        + options_tokens(request)
        + u64::from(REQUEST_OVERHEAD);
    match u32::try_from(fixed) {
        Ok(fixed_tokens) if fixed_tokens <= tokens => Ok(Budget { tokens, fixed_tokens, whole: request.whole_history }),
        _ => Err(TooLong { tokens: fixed, limit: u64::from(tokens) }),
    }
}

/// The model's context less the answer's room, which is half of it at most: a cap says what the client takes, not what the
/// answer needs. Less a tenth where the tokenizer is a guess.
fn room(profile: &Profile, answer_tokens: u32) -> u32 {
    let margin = if profile.estimated { profile.context_tokens / 10 } else { 0 };
    let answer_tokens = answer_tokens.min(profile.context_tokens / 2);
    profile.context_tokens.saturating_sub(answer_tokens).saturating_sub(margin)
}

fn instruction_tokens(request: &TurnRequest, profile: &Profile) -> u32 {
    match request.instructions.is_empty() {
        true => 0,
        false => profile.encoding.count_message(&request.instructions),
    }
}

/// About what the tools and schemas of a request take: they are JSON, of which four bytes make a token or less.
fn options_tokens(request: &TurnRequest) -> u64 {
    request.options.as_ref().map_or(0, |options| options.len() as u64 / 4)
}

/// What goes upstream, and how many tokens of prompt that is by our own count.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The call.
    pub call: Call,
    /// Its prompt's tokens.
    pub tokens: u64,
}

fn is_of_a_call(item: &Item) -> bool {
    [ItemKind::Call, ItemKind::CallOutput].iter().any(|kind| item.id.as_str().starts_with(kind.prefix()))
}

/// The call for a request, with what the store loaded of its history.
///
/// # Errors
/// Where all of the history must go along and does not fit.
pub fn compose(request: &TurnRequest, budget: &Budget, history: Loaded) -> Result<Prompt, TooLong> {
    let Loaded { items: mut loaded, tokens: history_tokens } = history;
    if budget.forbids(history_tokens) {
        let tokens = history_tokens + u64::from(budget.fixed_tokens);
        return Err(TooLong { tokens, limit: u64::from(budget.tokens) });
    }
    // A model that found questions without an answer would answer them, too.
    loaded.retain(|stored| question::standing(&stored.item).is_none());
    let encoding = model::profile(&request.model).encoding;
    let tokens_of = |history: &[StoredItem]| history.iter().map(|item| u64::from(item.item.tokens)).sum::<u64>();
    let history = match budget.whole {
        true => loaded,
        false => window::select(loaded, budget, encoding),
    };
    let tokens = tokens_of(&history) + u64::from(budget.fixed_tokens);
    let instructions = PromptMessage::new(Role::System, request.instructions.clone());
    let system = (!request.instructions.is_empty()).then_some(instructions);
    let spoken = match history.is_empty() && request.input.iter().any(is_of_a_call) && !request.goes_on() {
        true => dialogue::messages_of_whole(request.input.iter()),
        false => {
            let old = history.iter().map(|stored| (&stored.item, false));
            dialogue::messages(old.chain(request.input.iter().map(|item| (item, true))))
        }
    };
    let call = Call {
        model: request.model.clone(),
        messages: system.into_iter().chain(spoken).collect(),
        temperature: request.temperature,
        max_tokens: request.max_tokens,
        stream: request.stream,
        options: request.options.clone(),
    };
    Ok(Prompt { call, tokens })
}
