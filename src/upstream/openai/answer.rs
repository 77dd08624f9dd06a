//! From an answer's events, or from its one body, to pieces; and whether the answer is whole. Pure.

use std::borrow::Cow;

use serde_json::Value;

use super::faults::{cut, garbage};
use super::refusal::{self, UpstreamError};
use super::sse::Event;
use super::template::Template;
use super::wire::{Choice, Completion, ToolCall, WireMessage};
use crate::domain::delta::Delta;
use crate::domain::reply::Piece;
use crate::domain::turn::Fault;

/// A streamed answer as far as it has come.
#[derive(Debug, Default)]
pub struct Answer {
    model: String,
    /// There was a choice, so this is an answer at all.
    begun: bool,
    finished: bool,
    done: bool,
    /// The calls of functions that have begun.
    calls: Vec<u32>,
    template: Template,
}

impl Answer {
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
        let calls = said.tool_calls.iter().flatten();
        for (place, call) in (0u32..).zip(calls) {
            self.call(call.index.unwrap_or(place), call, pieces);
        }
    }

    /// A call begins with the part that names its function; some servers leave its id out.
    fn call(&mut self, index: u32, call: &ToolCall<'_>, pieces: &mut Vec<Piece>) {
        let Some(function) = &call.function else { return };
        if !function.name.0.is_empty() && !self.calls.contains(&index) {
            self.calls.push(index);
            let call_id = match call.id.0.as_ref() {
                "" => format!("call_{index}"),
                id => id.to_owned(),
            };
            let name = function.name.0.as_ref().to_owned();
            pieces.push(Delta::Call { index, call_id, name, tool: None }.into());
        }
        if !function.arguments.0.is_empty() {
            let delta = function.arguments.0.as_ref().to_owned();
            pieces.push(Delta::Arguments { index, delta }.into());
        }
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
pub fn whole(body: &[u8]) -> Result<Vec<Piece>, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| garbage("an answer that is not UTF-8"))?;
    let completion: Completion<'_> = serde_json::from_str(text).map_err(|error| match error.is_eof() {
        true => cut(),
        false => garbage("an answer that is not JSON"),
    })?;
    let mut answer = Answer::default();
    let mut pieces = Vec::with_capacity(4);
    answer.chunk(&completion, text, &mut pieces)?;
    if answer.begun { Ok(pieces) } else { Err(garbage("an answer with nothing in it")) }
}

/// Older vLLM sends its error object without a wrapping.
pub(super) fn is_bare_error(json: &str) -> bool {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    value["object"] == "error" || (value.get("usage").is_none() && value.get("detail").is_some())
}

#[cfg(test)]
mod tests;
