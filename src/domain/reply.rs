//! The answer so far: what the pieces from the upstream add up to.

use super::event::{Answer, End, Event};
use super::ids::{ItemId, TurnId};
use super::item::{Item, assistant_message};
use super::model;
use super::turn::{Fault, FaultKind, TurnRequest, TurnStatus, Usage};

/// The most text that an answer may have, in bytes. No model's answer comes near; a runaway upstream does.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A piece of an answer, as the upstream gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// The model's own name for itself.
    Model(String),
    /// The text goes on.
    Text(String),
    /// The upstream's figures.
    Usage(Usage),
    /// The model has finished, for this reason.
    Finish(String),
}

/// The fold of a turn's pieces.
#[derive(Debug, Clone)]
pub struct Reply {
    id: ItemId,
    text: String,
    model: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
}

impl Reply {
    /// An answer of which nothing has come yet.
    #[must_use]
    pub fn to(request: &TurnRequest) -> Self {
        Self {
            id: request.answer_id.clone(),
            text: String::new(),
            model: request.model.clone(),
            finish_reason: None,
            usage: None,
        }
    }

    /// Adds a piece; gives the event that readers should see, where there is one.
    ///
    /// # Errors
    /// When the answer grows past [`MAX_ANSWER_BYTES`].
    pub fn add(&mut self, piece: Piece) -> Result<Option<Event>, Fault> {
        match piece {
            Piece::Text(delta) if delta.is_empty() => {}
            Piece::Text(delta) => {
                if self.text.len() + delta.len() > MAX_ANSWER_BYTES {
                    return Err(Fault::new(FaultKind::UpstreamGarbage, "the model's answer is too large to be one"));
                }
                self.text.push_str(&delta);
                return Ok(Some(Event::Text { delta }));
            }
            Piece::Model(model) => self.model = model,
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::Finish(reason) => self.finish_reason = Some(reason),
        }
        Ok(None)
    }

    /// Whether anything was shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// How the turn ends with what has come. `prompt_tokens` is what was sent, for the case that the upstream gave no
    /// usage.
    #[must_use]
    pub fn end(&self, status: TurnStatus, fault: Option<Fault>, prompt_tokens: u64) -> End {
        let shown = status == TurnStatus::Completed || !self.is_empty();
        let answer = shown.then(|| Answer {
            id: self.id.clone(),
            text: self.text.clone(),
            model: self.model.clone(),
            finish_reason: self.finish_reason.clone(),
        });
        let usage = self.usage.or_else(|| shown.then(|| self.estimate(prompt_tokens)));
        End { status, answer, usage, fault }
    }

    /// What an answer as far as this cost, by our own count.
    #[must_use]
    pub fn estimate(&self, prompt_tokens: u64) -> Usage {
        let output_tokens = u64::from(model::profile(&self.model).encoding.count(&self.text));
        Usage { input_tokens: prompt_tokens, output_tokens, estimated: true, ..Usage::default() }
    }
}

/// What the history gains by a turn that ends like this: the new items and the answer, or nothing where nothing was
/// shown, so that the same request can simply be sent again.
#[must_use]
pub fn history_of(turn: &TurnId, request: &TurnRequest, end: &End) -> Vec<Item> {
    let Some(answer) = &end.answer else {
        return Vec::new();
    };
    let encoding = model::profile(&request.model).encoding;
    let complete = end.status == TurnStatus::Completed;
    let mut items = request.input.clone();
    items.push(Item {
        id: answer.id.clone(),
        turn: Some(turn.clone()),
        json: assistant_message(&answer.id, &answer.text, complete),
        tokens: encoding.count_message(&answer.text),
        encoding,
    });
    items
}
