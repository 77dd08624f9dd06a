//! A streamed answer on its way through: judged event by event, and mended where SDKs would stumble over what a compatible
//! server left out or said in other words. Pure; an event that needs no mending stays as it is, byte for byte.

mod calls;
mod names;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use self::calls::mended;
pub use self::calls::whole_calls;
pub use self::names::Names;
use super::answer::is_bare_error;
use super::calls::{Calls, Mint, Said};
use super::faults::garbage;
use super::members::Members;
use super::refusal::{self, UpstreamError};
use super::template::Template;
use super::wire::{Text, lenient};
use crate::domain::turn::Fault;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    obfuscation: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, deserialize_with = "lenient")]
    index: Option<u32>,
    #[serde(borrow, default, deserialize_with = "object")]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object")]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Text<'a>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
}

fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(Some(raw).filter(|raw| raw.get().starts_with('{')))
}

/// What a streamed answer has come to, judged event by event.
#[derive(Debug)]
pub struct Course {
    choices: usize,
    /// Those that have begun.
    spoken: Vec<Spoken>,
    names: Names,
    mint: Mint,
    /// The client knows only `function_call`.
    older: bool,
    template: Template,
    done: bool,
}

#[derive(Debug)]
struct Spoken {
    index: u32,
    finished: bool,
    calls: Calls,
}

/// What goes on to the client for an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Onward {
    /// The data of events that go before it.
    pub before: Vec<String>,
    /// Other data in place of its own.
    pub instead: Option<String>,
}

/// What becomes of one choice of a chunk.
#[derive(Default)]
struct Mended {
    /// Deltas that go before it, as JSON.
    before: Vec<String>,
    instead: Option<String>,
}

impl Course {
    /// An answer of so many choices. Calls without an id get one from `mint`.
    #[must_use]
    pub fn new(choices: u32, names: Names, mint: Mint) -> Self {
        let choices = choices.max(1) as usize;
        Self { choices, spoken: Vec::new(), names, mint, older: false, template: Template::default(), done: false }
    }

    /// For a client that knows only `function_call`.
    #[must_use]
    pub fn older(self, older: bool) -> Self {
        Self { older, ..self }
    }

    /// The model has finished: what may still come are the figures and the end mark.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.done || self.spoken.iter().filter(|choice| choice.finished).count() >= self.choices
    }

    /// Nothing that has begun is unfinished: where the stream has ended, it ended well.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.done || (!self.spoken.is_empty() && self.spoken.iter().all(|choice| choice.finished))
    }

    /// The end mark has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the data of an event; gives what goes on for it.
    ///
    /// # Errors
    /// When it reports an error, or is no part of an answer.
    pub fn event(&mut self, name: &str, data: &[u8]) -> Result<Onward, Fault> {
        if name.is_empty() && self.template.fits(data) {
            return Ok(Onward::default());
        }
        if data == b"[DONE]" {
            self.done = !self.spoken.is_empty();
            return if self.done { Ok(self.close()) } else { Err(garbage("an answer with nothing in it")) };
        }
        if name == "error" {
            return Err(refusal::fault_in_answer(&UpstreamError::read(data)));
        }
        let text = std::str::from_utf8(data).map_err(|_| garbage("an event that is no answer"))?;
        self.read(text)
    }

    /// What is to go before the end mark.
    fn close(&mut self) -> Onward {
        let mut before = Vec::new();
        for choice in &mut self.spoken {
            if let Some(delta) = empty_arguments(&choice.calls.close()) {
                before.push(self.names.chunk(choice.index, &delta));
            }
        }
        Onward { before, instead: None }
    }

    fn read(&mut self, text: &str) -> Result<Onward, Fault> {
        let no_answer = || garbage("an event that is no answer");
        let chunk: Chunk<'_> = serde_json::from_str(text).map_err(|_| no_answer())?;
        if chunk.error.is_some() || (chunk.choices.is_none() && is_bare_error(text)) {
            return Err(refusal::fault_in_answer(&UpstreamError::read(text.as_bytes())));
        }
        let list = chunk.choices.as_deref().unwrap_or_default();
        if list.is_empty() {
            return Ok(Onward::default());
        }
        let members: Members<'_> = serde_json::from_str(text).map_err(|_| no_answer())?;
        let mut changes = self.names.missing(&members);
        let (mut before, mut choices, mut is_changed) = (Vec::new(), Vec::with_capacity(list.len()), false);
        let mut said = None;
        for raw in list {
            let choice: Choice<'_> = serde_json::from_str(raw.get()).map_err(|_| no_answer())?;
            let delta = choice.delta.or(choice.message).map(|raw| serde_json::from_str::<Delta<'_>>(raw.get()));
            let delta = delta.transpose().map_err(|_| no_answer())?.unwrap_or_default();
            let mended = self.choice(raw.get(), &choice, &delta)?;
            let index = choice.index.unwrap_or(0);
            before.extend(mended.before.iter().map(|delta| self.names.chunk(index, delta)));
            is_changed |= mended.instead.is_some();
            choices.push(mended.instead.map_or(Cow::Borrowed(raw.get()), Cow::Owned));
            said = Some((choice, delta.content));
        }
        if is_changed {
            changes = self.names.all(&members);
            changes.push(("choices", format!("[{}]", choices.join(","))));
        }
        if changes.is_empty() && before.is_empty() {
            if let ([_], Some((choice, Text(Cow::Borrowed(content))))) = (list, &said)
                && choice.finish_reason.0.is_empty()
                && !content.is_empty()
                && self.spoken.len() >= self.choices
            {
                self.template.learn(text, content, chunk.obfuscation.as_ref().map(|padding| padding.0.as_ref()));
            }
            return Ok(Onward::default());
        }
        Ok(Onward { before, instead: (!changes.is_empty()).then(|| members.with(&changes)) })
    }

    /// Takes what a chunk says of one choice.
    fn choice(&mut self, raw: &str, choice: &Choice<'_>, delta: &Delta<'_>) -> Result<Mended, Fault> {
        let index = choice.index.unwrap_or(0);
        let (mut mended, mut changes) = (Mended::default(), Vec::new());
        if choice.index.is_none() {
            changes.push(("index", "0".to_owned()));
        }
        if choice.delta.is_none()
            && let Some(message) = choice.message
        {
            changes.push(("delta", message.get().to_owned()));
        }
        let spoken = match self.spoken.iter().position(|spoken| spoken.index == index) {
            Some(at) => at,
            None => {
                self.spoken.push(Spoken { index, finished: false, calls: Calls::new(self.mint.clone()) });
                if delta.role.0.is_empty() {
                    mended.before.push(r#"{"role":"assistant","content":""}"#.to_owned());
                }
                self.spoken.len() - 1
            }
        };
        let older = self.older;
        let Some(spoken) = self.spoken.get_mut(spoken) else { return Ok(mended) };
        let finishes = match choice.finish_reason.0.as_ref() {
            "" => false,
            // OpenRouter's word for a provider that gave up.
            "error" => return Err(refusal::fault_in_answer(&UpstreamError::default())),
            _ => true,
        };
        let called = mended_calls(&mut spoken.calls, delta, older);
        let mut empty = if finishes { spoken.calls.close() } else { Vec::new() };
        let fields = called.written(&mut empty);
        mended.before.extend(empty_arguments(&empty));
        spoken.finished |= finishes;
        if let Some(fields) = fields {
            let raw = choice.delta.or(choice.message).map_or("{}", RawValue::get);
            let members: Members<'_> = serde_json::from_str(raw).map_err(|_| garbage("an event that is no answer"))?;
            changes.retain(|(name, _)| *name != "delta");
            changes.push(("delta", members.json(&fields, &["tool_calls", "function_call"])));
            if finishes && choice.finish_reason.0 == "function_call" {
                changes.push(("finish_reason", r#""tool_calls""#.to_owned()));
            }
        }
        if !changes.is_empty() {
            let members: Members<'_> = serde_json::from_str(raw).map_err(|_| garbage("an event that is no answer"))?;
            let without = if choice.delta.is_none() { &["message"][..] } else { &[] };
            let text = members.json("", without);
            let members: Members<'_> =
                serde_json::from_str(&text).map_err(|_| garbage("an event that is no answer"))?;
            mended.instead = Some(members.with(&changes));
        }
        Ok(mended)
    }
}

fn mended_calls<'a>(calls: &mut Calls, delta: &Delta<'a>, older: bool) -> calls::Listed<'a> {
    match (delta.tool_calls, delta.function_call) {
        (Some(list), _) if list.get().starts_with('[') => mended(calls, list, false),
        (_, Some(call)) if call.get().starts_with('{') && !older => mended(calls, call, true),
        _ => calls::Listed::default(),
    }
}

/// The delta that gives calls their empty arguments.
fn empty_arguments(calls: &[Said]) -> Option<String> {
    let entry = |said: &Said| format!(r#"{{"index":{},"function":{{"arguments":"{{}}"}}}}"#, said.place);
    let entries: Vec<String> = calls.iter().map(entry).collect();
    (!entries.is_empty()).then(|| format!(r#"{{"tool_calls":[{}]}}"#, entries.join(",")))
}

#[cfg(test)]
mod tests;
