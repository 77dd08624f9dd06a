//! From an answer's events, or from its one body, to pieces; and whether the answer is whole. Pure.

use std::borrow::Cow;

use serde_json::Value;

use super::calls::{Calls, Mint, Said};
use super::faults::{cut, garbage};
use super::refusal::{self, UpstreamError};
use super::sse::Event;
use super::template::Template;
use super::wire::{Choice, Completion, Function, ToolCall, WireMessage};
use crate::domain::delta::Delta;
use crate::domain::reply::Piece;
use crate::domain::turn::Fault;

/// A streamed answer as far as it has come.
#[derive(Debug)]
pub struct Answer {
    model: String,
    /// There was a choice, so this is an answer at all.
    begun: bool,
    finished: bool,
    done: bool,
    calls: Calls,
    template: Template,
}

impl Answer {
    /// An answer of which nothing has come. Calls without an id get one from `mint`.
    #[must_use]
    pub fn new(mint: Mint) -> Self {
        Self {
            model: String::new(),
            begun: false,
            finished: false,
            done: false,
            calls: Calls::new(mint),
            template: Template::default(),
        }
    }

    /// Takes an event; adds what it says to `pieces`.
    ///
    /// # Errors
    /// When it reports an error, or cannot be read.
    pub fn event(&mut self, event: Event<'_>, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        if event.name.is_empty()
            && let Some(text) = self.template.text(event.data)
        {
            pieces.push(Delta::text(text).into());
            return Ok(());
        }
        let data = event.data.trim_ascii();
        if data == "[DONE]" {
            self.done = self.begun;
            self.close(pieces);
            return if self.begun { Ok(()) } else { Err(garbage("an answer with nothing in it")) };
        }
        if data.is_empty() {
            return Ok(());
        }
        if event.name == "error" {
            return Err(refusal::fault_in_answer(&UpstreamError::read(data.as_bytes())));
        }
        let chunk: Completion<'_> = serde_json::from_str(data).map_err(|_| garbage("an event that is no answer"))?;
        let before = pieces.len();
        self.chunk(&chunk, data, pieces)?;
        if let Some(Piece::Delta(Delta::Text { .. })) = pieces.get(before)
            && pieces.len() == before + 1
        {
            self.learn(&chunk, data);
        }
        Ok(())
    }

    /// Remembers an event that was only text.
    fn learn(&mut self, chunk: &Completion<'_>, json: &str) {
        let choice = chunk.choices.as_ref().and_then(|choices| choices.0.as_ref());
        let said = choice.and_then(|choice| choice.delta.as_ref());
        if let Some(Cow::Borrowed(text)) = said.map(|said| &said.content.0)
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
        if let Some(usage) = chunk.usage.as_ref().and_then(super::wire::WireUsage::counts) {
            pieces.push(Piece::Usage(usage));
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Choice<'_>, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        if let Some(said) = choice.delta.as_ref().or(choice.message.as_ref()) {
            self.said(said, pieces);
            self.said_calls(said, choice.delta.is_none(), pieces);
        }
        match choice.finish_reason.0.as_ref() {
            "" => {}
            // OpenRouter's word for a provider that gave up.
            "error" => return Err(refusal::fault_in_answer(&UpstreamError::default())),
            reason => {
                self.finished = true;
                pieces.push(Piece::Finish(reason.to_owned()));
            }
        }
        Ok(())
    }

    fn said(&mut self, said: &WireMessage<'_>, pieces: &mut Vec<Piece>) {
        let thoughts = if said.reasoning_content.0.is_empty() { &said.reasoning.0 } else { &said.reasoning_content.0 };
        let mut say = |text: &str, delta: fn(String) -> Delta| {
            if !text.is_empty() {
                pieces.push(delta(text.to_owned()).into());
            }
        };
        say(thoughts, Delta::reasoning);
        say(&said.content.0, Delta::text);
        say(&said.refusal.0, Delta::refusal);
    }

    fn said_calls(&mut self, said: &WireMessage<'_>, is_whole: bool, pieces: &mut Vec<Piece>) {
        let (list, older) = (said.tool_calls.as_deref().unwrap_or_default(), said.function_call.as_ref());
        let calls: Vec<Option<Said>> = match is_whole {
            true => list.iter().map(|call| self.calls.whole(call.part())).collect(),
            false => self.calls.take(list.iter().map(ToolCall::part)),
        };
        let older = older.filter(|_| list.is_empty()).map(Function::part);
        let older =
            older.map(|part| if is_whole { vec![self.calls.whole(part)] } else { self.calls.take([part].into_iter()) });
        calls.into_iter().chain(older.into_iter().flatten()).flatten().for_each(|said| push_call(said, pieces));
    }

    /// The answer is over: says what is still to be said. Again, it says nothing.
    pub fn close(&mut self, pieces: &mut Vec<Piece>) {
        self.calls.close().into_iter().for_each(|said| push_call(said, pieces));
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

/// Reads an answer that came in one.
///
/// # Errors
/// When it is an error, cut short, or no answer.
pub fn whole(body: &[u8], mint: Mint) -> Result<Vec<Piece>, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| garbage("an answer that is not UTF-8"))?;
    let completion: Completion<'_> = serde_json::from_str(text).map_err(|error| match error.is_eof() {
        true => cut(),
        false => garbage("an answer that is not JSON"),
    })?;
    let mut answer = Answer::new(mint);
    let mut pieces = Vec::with_capacity(4);
    answer.chunk(&completion, text, &mut pieces)?;
    answer.close(&mut pieces);
    if answer.begun { Ok(pieces) } else { Err(garbage("an answer with nothing in it")) }
}

fn push_call(said: Said, pieces: &mut Vec<Piece>) {
    let Said { place: index, head, arguments: delta } = said;
    if let Some((call_id, name)) = head {
        pieces.push(Delta::Call { index, call_id, name, tool: None }.into());
    }
    if !delta.is_empty() {
        pieces.push(Delta::Arguments { index, delta }.into());
    }
}

/// Older vLLM sends its error object without a wrapping.
pub(super) fn is_bare_error(json: &str) -> bool {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    value["object"] == "error" || (value.get("usage").is_none() && value.get("detail").is_some())
}

#[cfg(test)]
mod tests;
