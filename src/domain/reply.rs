//! The answer so far: what the pieces from the upstream add up to.

use super::delta::Delta;
use super::event::End;
use super::ids::{ItemId, TurnId};
use super::item::Item;
use super::item_json::{COMPLETED, INCOMPLETE, push_output};
use super::model;
use super::output::{Answer, Output, Outputs};
use super::question;
use super::tokens::Encoding;
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
        Ok(self.outputs.add(delta).is_some())
    }

    /// How many bytes of text were shown.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes
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
    let encoding = model::profile(&request.model).encoding;
    let complete = end.status == TurnStatus::Completed && !answer.is_cut();
    let mut items = request.input.clone();
    let mut gain = |output: &Output| items.extend(item_of(output, turn, encoding, complete));
    if answer.output.is_empty() {
        gain(&Output::message(answer.id.clone(), answer.text.clone()));
    } else {
        answer.output.iter().for_each(gain);
    }
    items
}

/// An output as an item of its conversation; none for a call that may not be whole.
#[must_use]
pub fn item_of(output: &Output, turn: &TurnId, encoding: Encoding, complete: bool) -> Option<Item> {
    if matches!(output, Output::Call { .. }) && !complete {
        return None;
    }
    let mut json = String::new();
    push_output(&mut json, output, if complete { COMPLETED } else { INCOMPLETE });
    let tokens = match output {
        // Thoughts are not sent again.
        Output::Reasoning { .. } => 0,
        Output::Compaction { tokens, .. } => *tokens,
        Output::Message { .. } | Output::Call { .. } => encoding.count_message(&output.cost()),
    };
    Some(Item { id: output.id().clone(), turn: Some(turn.clone()), json, tokens, encoding })
}
