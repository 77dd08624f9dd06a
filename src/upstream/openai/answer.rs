//! From an answer's events, or from its one body, to pieces; and whether the answer is whole. Pure.

use std::borrow::Cow;

use serde_json::Value;

use super::calls::{Calls, Mint, Said};
use super::faults::{cut, garbage};
use super::finish::{Finish, STOP, TOOL_CALLS, finish};
use super::halves::{Field, Halves, marked, unmarked};
use super::kept::Kept;
use super::refusal::{self, UpstreamError};
use super::sse::{Event, text};
use super::template::Template;
use super::think::{Kind, Thinking};
use super::wire::{Choice, Completion, Function, ToolCall, WireMessage, WireUsage};
use crate::domain::delta::Delta;
use crate::domain::reply::Piece;
use crate::domain::turn::{Fault, Usage};

/// A streamed answer as far as it has come.
#[derive(Debug)]
pub struct Answer {
    model: String,
    /// There was a choice, so this is an answer at all.
    begun: bool,
    finished: bool,
    done: bool,
    calls: Calls,
    halves: Halves,
    /// The event that is being read has halves of characters in it.
    has_halves: bool,
    thinking: Thinking,
    template: Template,
    /// What the server wants back of it.
    kept: Option<Kept>,
}

impl Answer {
    /// An answer of which nothing has come. Calls without an id get one from `mint`.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn new(mint: Mint) -> Self {
        Self::with_thinking(mint, Thinking::new(false))
    }

    /// The same of a model whose thoughts may stand in its text.
    #[must_use]
    pub fn with_thinking(mint: Mint, thinking: Thinking) -> Self {
        Self {
            model: String::new(),
            begun: false,
            finished: false,
            done: false,
            calls: Calls::new(mint),
            halves: Halves::default(),
            has_halves: false,
            thinking,
            template: Template::default(),
            kept: None,
        }
    }

    /// With what its server wants back of it, under this origin.
    #[must_use]
    pub fn keeping(self, origin: Option<String>) -> Self {
        Self { kept: origin.map(Kept::of), ..self }
    }

    /// Takes an event; adds what it says to `pieces`.
    ///
    /// # Errors
    /// When it reports an error, or cannot be read.
    pub fn event(&mut self, event: Event<'_>, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        if event.name.is_empty()
            && self.halves.is_empty()
            && self.thinking.is_over()
            && let Some(text) = self.template.text(event.data)
        {
            pieces.push(Delta::text(text).into());
            return Ok(());
        }
        let data = event.data.trim_ascii();
        if data == "[DONE]" {
            self.done = self.begun;
            if self.begun && !self.finished {
                pieces.push(Piece::Finish(self.own_reason().to_owned()));
            }
            self.close(pieces);
            return if self.begun { Ok(()) } else { Err(garbage("an answer with nothing in it")) };
        }
        if data.is_empty() {
            return Ok(());
        }
        if event.name == "error" {
            return Err(refusal::fault_in_answer(&UpstreamError::read(data.as_bytes())));
        }
        let data = marked(data);
        self.has_halves = matches!(data, Cow::Owned(_));
        let chunk: Completion<'_> = serde_json::from_str(&data).map_err(|_| garbage("an event that is no answer"))?;
        let before = pieces.len();
        self.chunk(&chunk, &data, pieces)?;
        if self.has_halves || !self.thinking.is_over() {
            return Ok(());
        }
        if let Some(Piece::Delta(Delta::Text { .. })) = pieces.get(before)
            && pieces.len() == before + 1
        {
            self.learn(&chunk, &data);
        }
        Ok(())
    }

    /// Remembers an event that was only text.
    fn learn(&mut self, chunk: &Completion<'_>, json: &str) {
        let choice = chunk.choices.as_ref().and_then(|choices| choices.0.as_ref());
        let said = choice.and_then(|choice| choice.delta.as_ref());
        if let Some(Cow::Borrowed(text)) = said.map(|said| &said.content.text)
            && !text.is_empty()
        {
            self.template.learn(json, text, chunk.obfuscation.as_ref().map(|padding| padding.0.as_ref()));
        }
    }

    fn chunk(&mut self, chunk: &Completion<'_>, json: &str, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        if chunk.error.is_some() || (chunk.choices.is_none() && is_bare_error(json)) {
            return Err(refusal::fault_in_answer(&UpstreamError::read(json.as_bytes())));
        }
        if !chunk.model.0.is_empty() && chunk.model.0 != self.model {
            self.model.clear();
            self.model.push_str(&chunk.model.0);
            pieces.push(Piece::Model(self.model.clone()));
        }
        if let Some(choice) = chunk.choices.as_ref().and_then(|choices| choices.0.as_ref()) {
            self.begun = true;
            self.choice(choice, pieces)?;
        }
        pieces.extend(usage_of(chunk).map(Piece::Usage));
        Ok(())
    }

    /// Why the model stopped, where its server does not say it or says it in an unknown word.
    fn own_reason(&self) -> &'static str {
        if self.calls.is_empty() { STOP } else { TOOL_CALLS }
    }

    fn choice(&mut self, choice: &Choice<'_>, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        if let Some(said) = choice.delta.as_ref().or(choice.message.as_ref()) {
            self.said(said, pieces);
            self.said_calls(said, choice.delta.is_none(), pieces);
        }
        let reason = match finish(&choice.finish_reason.0) {
            None => return Ok(()),
            Some(Finish::Failed) => return Err(refusal::fault_in_answer(&UpstreamError::default())),
            Some(Finish::Word("function_call")) => TOOL_CALLS,
            Some(Finish::Word(reason)) => reason,
            Some(Finish::Unknown) => {
                tracing::debug!("the model's server says in a word of its own why the model stopped");
                self.own_reason()
            }
        };
        self.finished = true;
        pieces.push(Piece::Finish(reason.to_owned()));
        Ok(())
    }

    fn said(&mut self, said: &WireMessage<'_>, pieces: &mut Vec<Piece>) {
        pieces.extend(self.kept.as_mut().and_then(|kept| kept.message(said)).map(Piece::from));
        self.say(Field::Reasoning, said.thoughts().0, pieces);
        self.say(Field::Reasoning, &said.content.thoughts, pieces);
        match self.thinking.is_over() {
            true => self.say(Field::Text, &said.content.text, pieces),
            false => {
                let mut told = Vec::new();
                self.thinking.take(&said.content.text, |kind, text| told.push((kind, text.to_owned())));
                told.into_iter().for_each(|(kind, text)| self.say(field_of(kind), &text, pieces));
            }
        }
        self.say(Field::Refusal, &said.refusal.0, pieces);
    }

    /// Says a piece of a text, its halves of characters joined.
    fn say(&mut self, field: Field, text: &str, pieces: &mut Vec<Piece>) {
        let text = match self.has_halves || !self.halves.is_empty() {
            true => self.halves.join(field, text),
            false => Cow::Borrowed(text),
        };
        pieces.extend(delta_of(field, text.into_owned()));
    }

    fn said_calls(&mut self, said: &WireMessage<'_>, is_whole: bool, pieces: &mut Vec<Piece>) {
        let (list, older) = (said.tool_calls.as_deref().unwrap_or_default(), said.function_call.as_ref());
        let calls: Vec<Option<Said>> = match is_whole {
            true => list.iter().map(|call| self.calls.whole(call.part())).collect(),
            false => self.calls.take(list.iter().map(ToolCall::part)),
        };
        for (call, said) in list.iter().zip(&calls) {
            self.kept.iter_mut().zip(said).for_each(|(kept, said)| kept.call(said.place, call));
        }
        let older = older.filter(|_| list.is_empty()).map(Function::part);
        let older =
            older.map(|part| if is_whole { vec![self.calls.whole(part)] } else { self.calls.take([part].into_iter()) });
        for said in calls.into_iter().chain(older.into_iter().flatten()).flatten() {
            self.say_call(said, pieces);
        }
    }

    fn say_call(&mut self, said: Said, pieces: &mut Vec<Piece>) {
        let Said { place: index, head, arguments } = said;
        if let Some((call_id, name)) = head {
            pieces.push(Delta::Call { index, call_id, name, tool: None }.into());
        }
        self.say(Field::Arguments(index), &arguments, pieces);
    }

    /// The answer is over: says what is still to be said. Again, it says nothing.
    pub fn close(&mut self, pieces: &mut Vec<Piece>) {
        let mut told = Vec::new();
        self.thinking.close(|kind, text| told.push((kind, text.to_owned())));
        told.into_iter().for_each(|(kind, text)| self.say(field_of(kind), &text, pieces));
        let alone: Vec<(Field, &str)> = self.halves.close().collect();
        pieces.extend(alone.into_iter().filter_map(|(field, text)| delta_of(field, text.to_owned())));
        self.calls.close().into_iter().for_each(|said| self.say_call(said, pieces));
        pieces.extend(self.kept.as_mut().and_then(Kept::take).map(Piece::from));
    }

    /// The model has finished: what may still come are the figures and the end mark.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished || self.done
    }

    /// The end mark has come: nothing follows.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }
}

/// Reads an answer that came in one, as far as `answer` is one of which nothing has come.
///
/// # Errors
/// When it is an error, cut short, or no answer.
pub fn whole(body: &[u8], mut answer: Answer) -> Result<Vec<Piece>, Fault> {
    let text = whole_text(body);
    let completion: Completion<'_> = serde_json::from_str(&text).map_err(|error| match error.is_eof() {
        true => cut(),
        false => garbage("an answer that is not JSON"),
    })?;
    let mut pieces = Vec::with_capacity(4);
    answer.chunk(&completion, &text, &mut pieces)?;
    answer.close(&mut pieces);
    if answer.begun { Ok(pieces) } else { Err(garbage("an answer with nothing in it")) }
}

/// The text of an answer that came in one: what is no character, or half of one, is U+FFFD.
#[must_use]
pub fn whole_text(body: &[u8]) -> Cow<'_, str> {
    match text(body) {
        Cow::Borrowed(text) => match marked(text) {
            Cow::Borrowed(text) => Cow::Borrowed(text),
            Cow::Owned(marked) => Cow::Owned(unmarked(&marked).into_owned()),
        },
        Cow::Owned(text) => Cow::Owned(unmarked(&marked(&text)).into_owned()),
    }
}

/// The figures, wherever a server puts them.
fn usage_of(chunk: &Completion<'_>) -> Option<Usage> {
    let choice = chunk.choices.as_ref().and_then(|choices| choices.0.as_ref());
    let stated = chunk.usage.as_ref().and_then(WireUsage::counts);
    let in_choice = || choice.and_then(|choice| choice.usage.as_ref()).and_then(WireUsage::counts);
    stated.or_else(in_choice).or_else(|| WireUsage::beside(chunk.prompt_eval_count, chunk.eval_count).counts())
}

fn field_of(kind: Kind) -> Field {
    match kind {
        Kind::Thought => Field::Reasoning,
        Kind::Said => Field::Text,
    }
}

fn delta_of(field: Field, text: String) -> Option<Piece> {
    let delta = match field {
        _ if text.is_empty() => return None,
        Field::Text => Delta::text(text),
        Field::Refusal => Delta::refusal(text),
        Field::Reasoning | Field::Thoughts => Delta::reasoning(text),
        Field::Arguments(index) => Delta::Arguments { index, delta: text },
    };
    Some(delta.into())
}

/// Older vLLM sends its error object without a wrapping.
pub(super) fn is_bare_error(json: &str) -> bool {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    value["object"] == "error" || (value.get("usage").is_none() && value.get("detail").is_some())
}

#[cfg(test)]
mod tests;
