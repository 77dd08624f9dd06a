//! The answer so far: what the pieces from the upstream add up to.

use super::carried;
use super::delta::Delta;
use super::event::End;
use super::ids::{ItemId, ItemKind, TurnId};
use super::item::Item;
use super::item_json::{COMPLETED, INCOMPLETE, push_output};
use super::model;
use super::output::{Answer, Output, Outputs, STEERED};
use super::provider::ProviderData;
use super::question;
use super::tools::ClientTools;
use super::turn::{Aim, Fault, FaultKind, TurnRequest, TurnStatus, Usage};

/// The most text that an answer may have, in bytes. No model's answer comes near; a runaway upstream does.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A piece of an answer, as the upstream gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// The model's own name for itself.
    Model(String),
    /// The model goes on.
    Delta(Delta),
    /// The history was compacted, and the model is about to be asked with what is left.
    Compacted {
        /// A [`Delta::Compaction`].
        delta: Delta,
        /// What that cost.
        spent: Usage,
        /// What the prompt takes that is about to be sent.
        prompt_tokens: u64,
    },
    /// The upstream's figures.
    Usage(Usage),
    /// The model has finished, for this reason.
    Finish(String),
}

impl From<Delta> for Piece {
    fn from(delta: Delta) -> Self {
        Self::Delta(delta)
    }
}

/// The fold of a turn's pieces.
#[derive(Debug, Clone)]
pub struct Reply {
    id: ItemId,
    outputs: Outputs,
    bytes: usize,
    model: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    tools: ClientTools,
    aim: Aim,
    /// What it cost to compact the history.
    spent: Option<Usage>,
    /// What was sent after that.
    prompt_tokens: Option<u64>,
}

impl Reply {
    /// An answer of which nothing has come yet, at this attempt.
    #[must_use]
    pub fn to(request: &TurnRequest, attempt: u32) -> Self {
        let id = request.answer_id.of_attempt(attempt);
        Self {
            outputs: Outputs::new(id.clone()),
            id,
            bytes: 0,
            model: request.model.clone(),
            finish_reason: None,
            usage: None,
            tools: request.tools.clone(),
            aim: request.aim,
            spent: None,
            prompt_tokens: None,
        }
    }

    /// Adds a piece; gives what of it readers should see.
    ///
    /// # Errors
    /// When the answer grows past [`MAX_ANSWER_BYTES`].
    pub fn add(&mut self, piece: Piece) -> Result<Option<Delta>, Fault> {
        match piece {
            Piece::Delta(mut delta) => {
                if let Delta::Call { name, tool, .. } = &mut delta {
                    *tool = self.tools.of(name).cloned().map(Box::new);
                }
                return Ok(self.show(&delta)?.then_some(delta));
            }
            Piece::Compacted { delta, spent, prompt_tokens } => {
                (self.spent, self.prompt_tokens) = (Some(spent), Some(prompt_tokens));
                return Ok(self.show(&delta)?.then_some(delta));
            }
            Piece::Model(model) => self.model = model,
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::Finish(reason) => self.finish_reason = Some(reason),
        }
        Ok(None)
    }

    /// Adds what the model said; false where that is nothing.
    ///
    /// # Errors
    /// When the answer grows past [`MAX_ANSWER_BYTES`].
    pub fn show(&mut self, delta: &Delta) -> Result<bool, Fault> {
        let size = delta.size();
        if size == 0 {
            return Ok(false);
        }
        if self.bytes + size > MAX_ANSWER_BYTES {
            return Err(Fault::new(FaultKind::UpstreamGarbage, "the model's answer is too large to be one"));
        }
        self.bytes += size;
        let is_kept = matches!(delta, Delta::Provider { .. });
        Ok(self.outputs.add(delta).is_some() || is_kept)
    }

    /// How many bytes of text were shown.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// The model was stopped for this reason.
    pub fn finish(&mut self, reason: &str) {
        self.finish_reason = Some(reason.to_owned());
    }

    /// Whether anything was shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outputs.list().is_empty()
    }

    /// How the turn ends with what has come. `prompt_tokens` is what was sent, for the case that the upstream gave no
    /// usage.
    #[must_use]
    pub fn end(&self, status: TurnStatus, fault: Option<Fault>, prompt_tokens: u64) -> End {
        if self.aim == Aim::Prepare {
            return End { status, answer: None, usage: Some(Usage::default()), fault, at_ms: 0 };
        }
        let shown = status == TurnStatus::Completed || !self.is_empty();
        let answer = shown.then(|| self.answer());
        let prompt_tokens = self.prompt_tokens.unwrap_or(prompt_tokens);
        let usage = self.usage.or_else(|| shown.then(|| self.estimate(prompt_tokens)));
        let usage = match self.spent {
            Some(spent) => Some(usage.unwrap_or_default().plus(spent)),
            None => usage,
        };
        End { status, answer, usage, fault, at_ms: 0 }
    }

    fn answer(&self) -> Answer {
        let list = self.outputs.list();
        let text: String = list.iter().flat_map(Output::said).collect();
        let is_plain = match list {
            [] => true,
            [Output::Message { refusal, .. }] => refusal.is_empty(),
            _ => false,
        };
        Answer {
            id: self.id.clone(),
            text,
            model: self.model.clone(),
            finish_reason: self.finish_reason.clone(),
            output: if is_plain { Vec::new() } else { list.to_vec() },
            provider: self.outputs.provider().cloned().map(Box::new),
        }
    }

    /// What an answer as far as this cost, by our own count.
    #[must_use]
    pub fn estimate(&self, prompt_tokens: u64) -> Usage {
        let encoding = model::profile(&self.model).encoding;
        let count = |output: &Output| u64::from(encoding.count(&output.cost()));
        let output_tokens = self.outputs.list().iter().map(count).sum();
        Usage { input_tokens: prompt_tokens, output_tokens, estimated: true, ..Usage::default() }
    }
}

/// What the history gains by a turn that ends like this: the new items and the answer; where nothing was shown, the new items
/// as a question without an answer. Calls that may not be whole are for no client to answer, so they stay out.
#[must_use]
pub fn history_of(turn: &TurnId, request: &TurnRequest, end: &End) -> Vec<Item> {
    if request.aim == Aim::Prepare && end.status == TurnStatus::Completed {
        return request.input.clone();
    }
    let Some(answer) = &end.answer else {
        return question::unanswered(request, end.status);
    };
    // What was steered before a word was said has no answer, and is answered together with what came after it.
    if answer.finish_reason.as_deref() == Some(STEERED) && answer.text.is_empty() && answer.output.is_empty() {
        return request.input.clone();
    }
    let complete = end.status == TurnStatus::Completed && !answer.is_cut();
    request.input.iter().cloned().chain(items_of(turn, request, answer, complete)).collect()
}

/// An answer as items of its conversation, without calls that may not be whole.
#[must_use]
pub fn items_of(turn: &TurnId, request: &TurnRequest, answer: &Answer, complete: bool) -> Vec<Item> {
    let encoding = model::profile(&request.model).encoding;
    let mut outputs = answer.outputs();
    outputs.retain(|output| complete || !matches!(output, Output::Call { .. }));
    // Thoughts go back to a model while it calls functions, and not otherwise.
    let is_output = |item: &Item| item.id.as_str().starts_with(ItemKind::CallOutput.prefix());
    let thinks_on =
        outputs.iter().any(|output| matches!(output, Output::Call { .. })) || request.input.iter().any(is_output);
    let last = outputs.iter().rposition(|output| !matches!(output, Output::Compaction { .. }));
    let item = |(place, output): (usize, &Output)| {
        let mut json = String::new();
        push_output(&mut json, output, if complete { COMPLETED } else { INCOMPLETE });
        let said = match output {
            Output::Reasoning { .. } if !thinks_on || answer.provider.is_none() => 0,
            Output::Reasoning { .. } => encoding.count(&output.cost()),
            Output::Compaction { tokens, .. } => *tokens,
            Output::Message { .. } | Output::Call { .. } => encoding.count_message(&output.cost()),
        };
        let data = answer.provider_data_of(output, Some(place) == last);
        let tokens = said.saturating_add(data.as_ref().map_or(0, ProviderData::tokens));
        data.iter().for_each(|data| carried::push_into(&mut json, data));
        Item { id: output.id().clone(), turn: Some(turn.clone()), json, tokens, encoding }
    };
    outputs.iter().enumerate().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delta::Delta;

    /// The tokens of an answer's items, which begins with thoughts.
    fn tokens(deltas: Vec<Delta>, data: Option<&str>) -> Vec<u32> {
        let request = r#"{"model":"m","instructions":"","input":[],"answer_id":"msg_1","stream":false}"#;
        let request: TurnRequest = serde_json::from_str(request).unwrap();
        let mut reply = Reply::to(&request, 1);
        let data = data.map(|json| Delta::Provider { data: Box::new(serde_json::from_str(json).unwrap()) });
        for delta in data.into_iter().chain([Delta::reasoning("one two three")]).chain(deltas) {
            reply.add(delta.into()).unwrap();
        }
        let end = reply.end(TurnStatus::Completed, None, 0);
        history_of(&TurnId::parse("turn_1").unwrap(), &request, &end).iter().map(|item| item.tokens).collect()
    }

    #[test]
    fn what_goes_back_counts_in_the_window_and_nothing_else_does() {
        const NAMED: &str = r#"{"origin":"0123abcd","thoughts":"reasoning"}"#;
        const SIGNED: &str = r#"{"origin":"0123abcd","thoughts":"reasoning","members":{"a":"0123456789"}}"#;
        let call = || vec![Delta::Call { index: 0, call_id: "a".into(), name: "f".into(), tool: None }];
        let plain = tokens(call(), None);
        assert_eq!(plain[0], 0);
        let named = tokens(call(), Some(NAMED));
        assert_eq!((named[0], named[1]), (3, plain[1]));
        assert!(tokens(call(), Some(SIGNED))[1] > plain[1]);
        assert_eq!(tokens(vec![Delta::text("Hi")], Some(NAMED))[0], 0);
    }
}
