//! An answer and what it is made of: messages, thoughts and calls of functions, folded out of what the model says.
//!
//! The engine folds what it stores, and every reader of a stream folds the same events again, so both must come to the
//! same outputs with the same ids.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::delta::Delta;
use super::ids::{ItemId, ItemKind};
use super::provider::ProviderData;
use super::tools::ClientTool;

/// One part of an answer; an item of OpenAI's Responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "o", rename_all = "snake_case")]
pub enum Output {
    /// Something said.
    Message {
        /// Its item's id.
        id: ItemId,
        /// What is said.
        text: String,
        /// With what words the model refuses; empty where it does not.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        refusal: String,
    },
    /// What the model thought.
    Reasoning {
        /// Its item's id.
        id: ItemId,
        /// Its thoughts.
        text: String,
    },
    /// What is left of a longer history.
    Compaction {
        /// Its item's id.
        id: ItemId,
        /// Sealed; see [`super::summary`].
        content: String,
        /// What that takes in a prompt.
        tokens: u32,
    },
    /// A function that is to be called.
    Call {
        /// Its item's id.
        id: ItemId,
        /// The upstream's number for it.
        index: u32,
        /// What its output will name.
        call_id: String,
        /// The function.
        name: String,
        /// JSON, as the model wrote it.
        arguments: String,
        /// What its client knows it as, where that is something else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool: Option<Box<ClientTool>>,
    },
}

impl Output {
    /// A message that refuses nothing.
    #[must_use]
    pub fn message(id: ItemId, text: String) -> Self {
        Self::Message { id, text, refusal: String::new() }
    }

    /// Its item's id.
    #[must_use]
    pub fn id(&self) -> &ItemId {
        match self {
            Self::Message { id, .. }
            | Self::Reasoning { id, .. }
            | Self::Compaction { id, .. }
            | Self::Call { id, .. } => id,
        }
    }

    /// Whether it is a call of a tool that takes a text.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        matches!(self, Self::Call { tool: Some(tool), .. } if tool.custom)
    }

    /// What a person would read: text, or refusal; nothing of thoughts and calls.
    #[must_use]
    pub fn said(&self) -> [&str; 2] {
        match self {
            Self::Message { text, refusal, .. } => [text, refusal],
            Self::Reasoning { .. } | Self::Compaction { .. } | Self::Call { .. } => ["", ""],
        }
    }

    /// All its text, for counting what it cost.
    #[must_use]
    pub fn cost(&self) -> Cow<'_, str> {
        let (text, more): (&str, &str) = match self {
            Self::Message { text, refusal, .. } => (text, refusal.as_str()),
            Self::Reasoning { text, .. } => (text, ""),
            Self::Compaction { .. } => ("", ""),
            Self::Call { name, arguments, .. } => (name, arguments.as_str()),
        };
        if more.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{text}{more}")) }
    }
}

/// Why the model stopped, where the person said something else meanwhile.
pub const STEERED: &str = "steered";

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The id of its message.
    pub id: ItemId,
    /// Its text, refusals included.
    pub text: String,
    /// The model, as the upstream names it.
    pub model: String,
    /// Why the model stopped: `stop`, `length`, `content_filter`, `tool_calls`.
    pub finish_reason: Option<String>,
    /// All that it is made of, in order; empty where that is one message with the text and no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Output>,
    /// What the model's server wants back with it; its calls go by their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<ProviderData>>,
}

impl Answer {
    /// Whether the model was stopped in the middle of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self.finish_reason.as_deref(), Some("length" | "content_filter" | STEERED))
    }

    /// What of the provider's data goes with one of its outputs: what is a call's own with the call, and what is the whole
    /// message's with the last output, which is the last to be cut off a history.
    #[must_use]
    pub fn provider_data_of(&self, output: &Output, is_last: bool) -> Option<ProviderData> {
        let of = self.provider.as_deref()?;
        let mut data = ProviderData { origin: of.origin.clone(), ..ProviderData::default() };
        match output {
            Output::Reasoning { .. } => data.thoughts = of.thoughts,
            Output::Call { index, call_id, .. } => {
                data.calls.extend(of.calls.get(&index.to_string()).map(|members| (call_id.clone(), members.clone())));
            }
            Output::Message { .. } | Output::Compaction { .. } => {}
        }
        if is_last {
            data.members.clone_from(&of.members);
            let has_thoughts = self.output.iter().any(|output| matches!(output, Output::Reasoning { .. }));
            data.thoughts = data.thoughts.or(of.thoughts.filter(|_| !has_thoughts));
        }
        (!data.is_empty()).then_some(data)
    }

    /// All that it is made of, in order.
    #[must_use]
    pub fn outputs(&self) -> Vec<Output> {
        match self.output.is_empty() {
            true => vec![Output::message(self.id.clone(), self.text.clone())],
            false => self.output.clone(),
        }
    }
}

/// The outputs so far.
#[derive(Debug, Clone)]
pub struct Outputs {
    answer: ItemId,
    list: Vec<Output>,
    /// The message or the thoughts that still grow. Calls grow until the end: some models write several at once.
    open: Option<usize>,
    provider: Option<Box<ProviderData>>,
}

/// What a delta did to the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The output that grew.
    pub place: usize,
    /// Whether it is new.
    pub is_new: bool,
    /// The output that will not grow any more.
    pub closed: Option<usize>,
}

impl Outputs {
    /// None yet; the first message will have the id `answer`, from which the other ids follow.
    #[must_use]
    pub fn new(answer: ItemId) -> Self {
        Self { answer, list: Vec::new(), open: None, provider: None }
    }

    /// In the order in which they began.
    #[must_use]
    pub fn list(&self) -> &[Output] {
        &self.list
    }

    /// What the model's server wants back with them.
    #[must_use]
    pub fn provider(&self) -> Option<&ProviderData> {
        self.provider.as_deref()
    }

    /// Whether an output may still grow.
    #[cfg(test)]
    fn is_open(&self, place: usize) -> bool {
        self.open == Some(place) || matches!(self.list.get(place), Some(Output::Call { .. }))
    }

    /// Adds a delta; `None` where it names a call that has not begun, or changes nothing that is shown.
    pub fn add(&mut self, delta: &Delta) -> Option<Change> {
        match delta {
            Delta::Text { delta } => {
                if let Some(place) = self.open
                    && let Some(Output::Message { text, refusal, .. }) = self.list.get_mut(place)
                    && refusal.is_empty()
                {
                    text.push_str(delta);
                    return Some(grown(place));
                }
                Some(self.begin_message(delta.clone(), String::new()))
            }
            Delta::Refusal { delta } => {
                if let Some(place) = self.open
                    && let Some(Output::Message { refusal, .. }) = self.list.get_mut(place)
                {
                    refusal.push_str(delta);
                    return Some(grown(place));
                }
                Some(self.begin_message(String::new(), delta.clone()))
            }
            Delta::Reasoning { delta } => {
                if let Some(place) = self.open
                    && let Some(Output::Reasoning { text, .. }) = self.list.get_mut(place)
                {
                    text.push_str(delta);
                    return Some(grown(place));
                }
                let mark = self.provider.as_ref().and_then(|data| data.mark());
                let id = self.answer.beside(ItemKind::Reasoning, self.list.len()).marked(mark.as_deref());
                Some(self.begin(Output::Reasoning { id, text: delta.clone() }, true))
            }
            Delta::Compaction { content, tokens } => {
                let id = self.answer.beside(ItemKind::Compaction, self.list.len());
                Some(self.begin(Output::Compaction { id, content: content.clone(), tokens: *tokens }, false))
            }
            Delta::Call { index, call_id, name, tool } => {
                let id = self.answer.beside(ItemKind::Call, self.list.len());
                let (index, call_id, name, tool) = (*index, call_id.clone(), name.clone(), tool.clone());
                Some(self.begin(Output::Call { id, index, call_id, name, arguments: String::new(), tool }, false))
            }
            Delta::Arguments { index, delta } => {
                let is_it = |output: &Output| matches!(output, Output::Call { index: known, .. } if known == index);
                let place = self.list.iter().rposition(is_it)?;
                if let Some(Output::Call { arguments, .. }) = self.list.get_mut(place) {
                    arguments.push_str(delta);
                }
                Some(grown(place))
            }
            Delta::Provider { data } => {
                self.provider.get_or_insert_default().add((**data).clone());
                None
            }
        }
    }

    fn begin_message(&mut self, text: String, refusal: String) -> Change {
        let is_first = !self.list.iter().any(|output| matches!(output, Output::Message { .. }));
        let id = match is_first {
            true => self.answer.clone(),
            false => self.answer.beside(ItemKind::Message, self.list.len()),
        };
        self.begin(Output::Message { id, text, refusal }, true)
    }

    fn begin(&mut self, output: Output, open: bool) -> Change {
        let place = self.list.len();
        self.list.push(output);
        let closed = std::mem::replace(&mut self.open, open.then_some(place));
        Change { place, is_new: true, closed }
    }
}

fn grown(place: usize) -> Change {
    Change { place, is_new: false, closed: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(delta: &str) -> Delta {
        Delta::text(delta)
    }

    fn fold(deltas: &[Delta]) -> Outputs {
        let mut outputs = Outputs::new(ItemId::parse("msg_a").unwrap());
        for delta in deltas {
            outputs.add(delta);
        }
        outputs
    }

    #[test]
    fn text_that_goes_on_is_one_message_with_the_answers_id() {
        let outputs = fold(&[text("Hel"), text("lo")]);
        assert_eq!(outputs.list(), [Output::message(ItemId::parse("msg_a").unwrap(), "Hello".into())]);
        assert!(outputs.is_open(0));
    }

    #[test]
    fn thoughts_text_and_calls_are_apart_and_in_order() {
        let call =
            |index, name: &str| Delta::Call { index, call_id: format!("call_{index}"), name: name.into(), tool: None };
        let arguments = |index, delta: &str| Delta::Arguments { index, delta: delta.into() };
        let outputs = fold(&[
            Delta::Reasoning { delta: "hm".into() },
            text("Let me see."),
            call(0, "f"),
            call(1, "g"),
            arguments(0, "{"),
            arguments(1, "[]"),
            arguments(0, "}"),
            arguments(7, "of no call"),
            text("There."),
        ]);
        let ids: Vec<&str> = outputs.list().iter().map(|output| output.id().as_str()).collect();
        assert_eq!(ids, ["rs_a_0", "msg_a", "fc_a_2", "fc_a_3", "msg_a_4"]);
        let texts: Vec<String> = outputs.list().iter().map(|output| output.cost().into_owned()).collect();
        assert_eq!(texts, ["hm", "Let me see.", "f{}", "g[]", "There."]);
        assert!(!outputs.is_open(0) && !outputs.is_open(1) && outputs.is_open(2) && outputs.is_open(4));
    }

    #[test]
    fn text_after_a_refusal_is_another_message() {
        let refusal = Delta::Refusal { delta: "No.".into() };
        let outputs = fold(&[text("Well. "), refusal, text("But")]);
        assert_eq!(outputs.list().len(), 2);
        assert_eq!(outputs.list()[0].said(), ["Well. ", "No."]);
    }
}
