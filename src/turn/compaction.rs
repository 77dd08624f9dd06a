//! Compacting what was said before a turn, as the first part of the turn: the model sums it up, and is then asked with the
//! summary in its place.

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde_json::value::RawValue;

use super::prompt::{self, TooLong};
use crate::domain::compaction::{self, KEPT_TOKENS, SUMMARY_TOKENS};
use crate::domain::conversation::Place;
use crate::domain::delta::Delta;
use crate::domain::dialogue::{self, PromptMessage};
use crate::domain::ids::ItemKind;
use crate::domain::item::{Item, StoredItem};
use crate::domain::item_json::Members;
use crate::domain::model;
use crate::domain::question;
use crate::domain::reply::Piece;
use crate::domain::summary::Compacted;
use crate::domain::tokens::{Encoding, REQUEST_OVERHEAD};
use crate::domain::turn::{Aim, Fault, FaultKind, TurnRequest, Usage};
use crate::domain::window::{Budget, Loaded};
use crate::metering::{Call, ModelCall, Pieces, StartCall};
use crate::store::{Store, StoreError};
use crate::tasks::{JSON_PER_TEXT, off_runtime};

/// How many items are read at once.
const PAGE: usize = 100;

/// The most tokens of a summary by a model that thinks first: its thoughts count.
const THOUGHTFUL_SUMMARY_TOKENS: u32 = 16_000;

/// What a turn asks its model.
pub(super) enum Plan {
    /// Nothing.
    Nothing,
    /// This. Where it is more than the model takes, the history may be compacted for it.
    Ask(prompt::Prompt, Option<Compaction>),
    /// A summary of the history, and then the turn's own question, where it has one.
    Compact(Compaction),
}

/// What is to be compacted.
pub(super) struct Compaction {
    request: TurnRequest,
    /// What was said and is asked, from the newest compaction on.
    items: Vec<Item>,
    /// Where the part of it begins that stays as it is.
    live: usize,
    /// The most tokens of it that the model is asked to sum up at once; `None` where nothing is known of its size.
    most: Option<u64>,
}

impl Plan {
    /// For a request with what the store loaded of its history.
    ///
    /// # Errors
    /// Where all of the history must go along and does not fit.
    pub(super) fn of(request: &TurnRequest, budget: &Budget, history: Loaded) -> Result<Self, TooLong> {
        let threshold = match request.aim {
            Aim::Prepare => return Ok(Self::Nothing),
            Aim::Answer => return Ok(Self::Ask(prompt::compose(request, budget, history)?, None)),
            Aim::Compact => Some(0),
            Aim::AnswerCompacted { threshold } => threshold,
        };
        let profile = model::profile(&request.model);
        let context = (!profile.estimated).then(|| u64::from(profile.context_tokens));
        let threshold = threshold.map(u64::from);
        let old = history.items.into_iter().map(|stored| stored.item);
        let mut items: Vec<Item> = old.filter(|item| question::standing(item).is_none()).collect();
        items.extend(request.input.iter().cloned());
        items.drain(..compaction::newest(items.iter()).unwrap_or(0));
        // A part of a known context has to stay free for the answer.
        let limits = [threshold, context.map(|context| context / 4 * 3)];
        let limit = limits.into_iter().flatten().min().unwrap_or(u64::MAX);
        let tokens = prompt::fixed_tokens(request, &profile) + tokens_of(&items);
        let live = match request.aim {
            Aim::Compact => items.len(),
            _ => compaction::live_from(&items, limit / 2),
        };
        // Part of a known context is for the summary. Of an unknown one the client knows that it takes more than its threshold;
        // where it takes less than twice as much, its server says so, and is asked with less.
        let most = match (context, threshold) {
            (Some(context), _) => Some((context / 10 * 8).saturating_sub(u64::from(SUMMARY_TOKENS))),
            (None, Some(threshold)) if threshold > 0 => Some(threshold.saturating_mul(2)),
            (None, _) => None,
        };
        let compaction = Compaction { request: request.clone(), items, live, most };
        if request.aim == Aim::Compact || (tokens > limit && compaction.is_of_use()) {
            return Ok(Self::Compact(compaction));
        }
        let call = prompt::call_of(request, spoken(&compaction.items));
        let compaction = compaction.is_of_use().then_some(compaction);
        Ok(Self::Ask(prompt::Prompt { call, tokens }, compaction))
    }

    /// What the prompt takes by our own count, where it is known.
    pub(super) fn tokens(&self) -> u64 {
        match self {
            Self::Ask(prompt, _) => prompt.tokens,
            Self::Nothing | Self::Compact(_) => 0,
        }
    }

    /// Asks the model.
    pub(super) async fn begin(self, call: StartCall) -> Result<Pieces, Fault> {
        match self {
            Self::Nothing => Ok(stream::empty().boxed()),
            Self::Ask(prompt, None) => call.call(prompt.call).await,
            Self::Ask(prompt, Some(compaction)) => {
                let model_call = call.ready().await?;
                match model_call.ask(prompt.call).await {
                    Ok(pieces) => Ok(model_call.with(pieces)),
                    Err(fault) if fault.kind == FaultKind::ContextTooLong => compaction.begin(model_call).await,
                    Err(fault) => Err(fault),
                }
            }
            Self::Compact(compaction) => compaction.begin(call.ready().await?).await,
        }
    }
}

impl Compaction {
    /// Whether it would leave anything out that is not left out already.
    fn is_of_use(&self) -> bool {
        match self.live {
            0 => false,
            1 => self.items.first().is_some_and(|item| compaction::expanded(item).is_none()),
            _ => true,
        }
    }

    async fn begin(self, model_call: ModelCall) -> Result<Pieces, Fault> {
        let this = Arc::new(self);
        let (summary, spent) = this.summary(&model_call).await?;
        let size = summary.len() + tokens_of(&this.items) as usize;
        let made = this.clone();
        let (delta, call, prompt_tokens) = off_runtime(size, move || made.compacted(summary)).await;
        let first = Piece::Compacted { delta, spent, prompt_tokens };
        if this.request.aim == Aim::Compact {
            let end = vec![first, Piece::Usage(Usage::default()), Piece::Finish("stop".to_owned())];
            return Ok(stream::iter([Ok(end)]).boxed());
        }
        let answer = async move { model_call.call(call).await }.into_stream().try_flatten();
        Ok(stream::iter([Ok(vec![first])]).chain(answer).boxed())
    }

    /// What the model says of all but the live part. What is longer than it takes is summed up from its newest part.
    async fn summary(self: &Arc<Self>, model_call: &ModelCall) -> Result<(String, Usage), Fault> {
        let encoding = model::profile(&self.request.model).encoding;
        let mut from = self.newest_that_fit();
        loop {
            let this = self.clone();
            let work = self.items.iter().map(|item| item.json.len()).sum::<usize>() / JSON_PER_TEXT;
            let (call, tokens) = off_runtime(work, move || this.summary_call(from)).await;
            let told = match model_call.ask(call).await {
                Ok(pieces) => summary_in(pieces, encoding, tokens).await,
                Err(fault) => Err(fault),
            };
            match told {
                Ok((summary, _)) if summary.trim().is_empty() => {
                    let text = "the model gave no summary of the conversation";
                    return Err(Fault::new(FaultKind::UpstreamGarbage, text));
                }
                // It is not known how much it takes, so it is half of that.
                Err(fault) if fault.kind == FaultKind::ContextTooLong && from + 1 < self.live => {
                    from += (self.live - from).div_ceil(2);
                }
                told => return told,
            }
        }
    }

    /// Where the part begins that fits the model, as far as its size is known.
    fn newest_that_fit(&self) -> usize {
        let Some(mut room) = self.most else { return 0 };
        let fits = |item: &&Item| match room.checked_sub(u64::from(item.tokens)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        };
        self.live - self.summarised().iter().rev().take_while(fits).count().max(1).min(self.live)
    }

    fn summarised(&self) -> &[Item] {
        self.items.get(..self.live).unwrap_or_default()
    }

    fn summary_call(&self, from: usize) -> (Call, u64) {
        let (request, items) = (&self.request, self.summarised());
        // An earlier summary goes along however much of the rest is left out.
        let earlier = items.first().and_then(compaction::expanded).unwrap_or_default();
        let from = if earlier.is_empty() { from } else { from.max(1) };
        let rest = items.get(from..).unwrap_or_default();
        let instructions = (!request.instructions.is_empty()).then(|| request.instructions.clone());
        let profile = model::profile(&request.model);
        // No cap is made up for a model of which nothing is known.
        let max_tokens = match (profile.estimated, profile.max_completion_tokens) {
            (true, _) => None,
            (false, true) => Some(THOUGHTFUL_SUMMARY_TOKENS),
            (false, false) => Some(SUMMARY_TOKENS),
        };
        let tokens = tokens_of(&earlier) + tokens_of(rest) + u64::from(REQUEST_OVERHEAD);
        let messages = compaction::prompt(instructions, earlier.iter().chain(rest));
        let model = request.model.clone();
        (Call { model, messages, temperature: None, max_tokens, stream: false, options: None }, tokens)
    }

    /// What is left: for the history, and as the prompt of the turn's own question with what that takes.
    fn compacted(&self, summary: String) -> (Delta, Call, u64) {
        let profile = model::profile(&self.request.model);
        let most = self.most.map_or(KEPT_TOKENS, |most| u32::try_from(most / 8).unwrap_or(u32::MAX).min(KEPT_TOKENS));
        let live = self.items.get(self.live..).unwrap_or_default();
        let kept: Vec<&Item> = compaction::kept(self.summarised(), most).into_iter().chain(live).collect();
        let tokens = profile.encoding.count_message(&summary);
        let tokens = kept.iter().map(|item| item.tokens).fold(tokens, u32::saturating_add);
        let items = kept.iter().filter_map(|item| RawValue::from_string(item.json.clone()).ok()).collect();
        let content = Compacted { summary, items, is_all: true }.sealed();
        let id = self.request.answer_id.beside(ItemKind::Compaction, 0);
        let json = Members::new("compaction").text("encrypted_content", &content).with_id(&id);
        let item = Item { id, turn: None, json, tokens, encoding: profile.encoding };
        let call = prompt::call_of(&self.request, spoken(std::slice::from_ref(&item)));
        let prompt_tokens = prompt::fixed_tokens(&self.request, &profile) + u64::from(tokens);
        (Delta::Compaction { content, tokens }, call, prompt_tokens)
    }
}

fn tokens_of(items: &[Item]) -> u64 {
    items.iter().map(|item| u64::from(item.tokens)).sum()
}

/// The messages for items of which the first may be a compaction.
fn spoken(items: &[Item]) -> Vec<PromptMessage> {
    match items.first().and_then(compaction::expanded) {
        None => dialogue::messages(items.iter().map(|item| (item, true))),
        Some(left) => dialogue::messages(left.iter().chain(items.iter().skip(1)).map(|item| (item, true))),
    }
}

/// The summary that a model gives, and what it cost: by its own figures, or by ours.
///
/// # Errors
/// Why there is none.
pub async fn summary_in(mut pieces: Pieces, encoding: Encoding, prompt_tokens: u64) -> Result<(String, Usage), Fault> {
    let (mut text, mut usage) = (String::new(), None);
    while let Some(batch) = pieces.next().await {
        for piece in batch? {
            match piece {
                Piece::Delta(Delta::Text { delta } | Delta::Refusal { delta }) => text.push_str(&delta),
                Piece::Usage(figures) => usage = Some(figures),
                _ => {}
            }
        }
    }
    if let Some(usage) = usage {
        return Ok((text, usage));
    }
    let counting = off_runtime(text.len(), move || {
        let output_tokens = u64::from(encoding.count(&text));
        (text, output_tokens)
    });
    let (text, output_tokens) = counting.await;
    Ok((text, Usage { input_tokens: prompt_tokens, output_tokens, estimated: true, ..Usage::default() }))
}

/// A history that is too long to be loaded as a whole, from its newest compaction on. Where there is none, or what came
/// after it is too long as well, the newest part of it for a turn that may compact it, and nothing for any other.
///
/// # Errors
/// When the store cannot be asked.
pub(super) async fn since_compaction(
    store: &dyn Store,
    place: &Place,
    (request, budget): (&TurnRequest, &Budget),
    (history, now_ms): (Loaded, i64),
) -> Result<Loaded, StoreError> {
    if !budget.forbids(history.tokens) {
        return Ok(history);
    }
    let most = budget.most_tokens().unwrap_or(u64::MAX);
    let (mut pages, mut before, mut tokens): (Vec<Vec<StoredItem>>, Option<u64>, u64) = (Vec::new(), None, 0);
    let mut is_found = false;
    while !is_found && tokens <= most {
        let Some(mut page) = store.history(place, before, PAGE, now_ms).await? else { break };
        let newest = compaction::newest(page.items.iter().map(|stored| &stored.item));
        is_found = newest.is_some();
        page.items.drain(..newest.unwrap_or(0));
        tokens += page.items.iter().map(|stored| u64::from(stored.item.tokens)).sum::<u64>();
        before = page.items.first().map(|oldest| oldest.seq);
        pages.push(page.items);
        if !page.has_more {
            break;
        }
    }
    match (is_found && tokens <= most) || request.aim.may_compact() {
        true => Ok(Loaded { items: pages.into_iter().rev().flatten().collect(), tokens }),
        false => Ok(history),
    }
}
