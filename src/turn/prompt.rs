//! From what was asked to what is sent: the budget, the window, the call.

use crate::domain::compaction;
use crate::domain::dialogue::{self, PromptMessage};
use crate::domain::ids::ItemKind;
use crate::domain::item::{Item, Role, StoredItem};
use crate::domain::model::{self, Profile};
use crate::domain::question;
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::{Aim, Fault, FaultKind, TurnRequest};
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
    if request.aim.may_compact() {
        return Ok(compacting_budget(request, &profile));
    }
    let tokens = match request.whole_history {
        // Where it is not known how much the model takes, its server says when it is too much.
        true if profile.estimated => u32::MAX,
        true => room(&profile, request.max_tokens.unwrap_or(0)),
        false => room(&profile, request.max_tokens.unwrap_or(u32::MAX)).min(history_max_tokens),
    };
    let input = request.input.get(compaction::newest(request.input.iter()).unwrap_or(0)..).unwrap_or_default();
    let input_tokens = input.iter().map(|item| u64::from(item.tokens)).sum::<u64>();
    let fixed = fixed_tokens(request, &profile) + input_tokens;
    match u32::try_from(fixed) {
        Ok(fixed_tokens) if fixed_tokens <= tokens => Ok(Budget { tokens, fixed_tokens, whole: request.whole_history }),
        _ => Err(TooLong { tokens: fixed, limit: u64::from(tokens) }),
    }
}

/// What a turn that may compact its history loads of it: all that was said since it was compacted last, or as much as the
/// model takes, as far as that is known. It is never too long: what does not fit is compacted.
fn compacting_budget(request: &TurnRequest, profile: &Profile) -> Budget {
    let tokens = match request.aim {
        _ if !profile.estimated => profile.context_tokens,
        Aim::AnswerCompacted { threshold: Some(threshold) } => threshold.saturating_mul(2),
        _ => u32::MAX,
    };
    Budget { tokens, fixed_tokens: 0, whole: true }
}

/// What a prompt takes besides its items.
pub(super) fn fixed_tokens(request: &TurnRequest, profile: &Profile) -> u64 {
    u64::from(instruction_tokens(request, profile)) + options_tokens(request) + u64::from(REQUEST_OVERHEAD)
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
    // What stands before the newest compaction is in no prompt.
    let in_input = compaction::newest(request.input.iter());
    let stays_from = match in_input {
        Some(_) => loaded.len(),
        None => compaction::newest(loaded.iter().map(|stored| &stored.item)).unwrap_or(0),
    };
    loaded.drain(..stays_from);
    let encoding = model::profile(&request.model).encoding;
    let tokens_of = |history: &[StoredItem]| history.iter().map(|item| u64::from(item.item.tokens)).sum::<u64>();
    let history = match budget.whole {
        true => loaded,
        false => window::select(loaded, budget, encoding),
    };
    let tokens = tokens_of(&history) + u64::from(budget.fixed_tokens);
    let spoken = spoken(request, &history, in_input.unwrap_or(0));
    Ok(Prompt { call: call_of(request, spoken), tokens })
}

/// The messages for a history and the new items from number `from` on.
fn spoken(request: &TurnRequest, history: &[StoredItem], from: usize) -> Vec<PromptMessage> {
    let input = request.input.get(from..).unwrap_or_default();
    let comes_whole = history.is_empty() && input.iter().any(is_of_a_call) && !request.goes_on();
    let first = history.first().map(|stored| &stored.item).or(input.first());
    let left = first.and_then(compaction::expanded);
    let (old, new) = match (&left, history.is_empty()) {
        (None, _) => (history, input),
        (Some(_), true) => (history, input.get(1..).unwrap_or_default()),
        (Some(_), false) => (history.get(1..).unwrap_or_default(), input),
    };
    let left = left.unwrap_or_default();
    if comes_whole {
        return dialogue::messages_of_whole(left.iter().chain(new));
    }
    let old = left.iter().chain(old.iter().map(|stored| &stored.item)).map(|item| (item, false));
    dialogue::messages(old.chain(new.iter().map(|item| (item, true))))
}

/// The call for a request that says this.
pub(super) fn call_of(request: &TurnRequest, spoken: Vec<PromptMessage>) -> Call {
    let instructions = PromptMessage::new(Role::System, request.instructions.clone());
    let system = (!request.instructions.is_empty()).then_some(instructions);
    Call {
        model: request.model.clone(),
        messages: system.into_iter().chain(spoken).collect(),
        temperature: request.temperature,
        max_tokens: request.max_tokens,
        stream: request.stream,
        options: request.options.clone(),
    }
}
