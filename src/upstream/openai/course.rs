//! A streamed answer on its way through: judged event by event, and mended where SDKs would stumble over what a compatible
//! server left out or said in other words. Pure; an event that needs no mending stays as it is, byte for byte.

mod calls;
mod names;
mod words;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use self::calls::whole_calls;
pub use self::names::Names;
use self::words::{
    empty_arguments, half_delta, joined, mended_calls, name_of, other_reason, own_reason, quoted, reason_of,
};
use super::answer::is_bare_error;
use super::calls::{Calls, Mint};
use super::faults::garbage;
use super::halves::{Halves, marked, unmarked};
use super::members::Members;
use super::refusal::{self, UpstreamError};
use super::sse::text;
use super::template::Template;
use super::wire::{Content, Text, lenient, mended_usage};
use crate::domain::turn::Fault;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    obfuscation: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    usage: Option<&'a RawValue>,
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
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object")]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Content<'a>,
    #[serde(borrow)]
    reasoning_content: Text<'a>,
    #[serde(borrow)]
    reasoning: Text<'a>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
}

/// A value that is an object.
///
/// # Errors
/// When it is no JSON.
pub fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
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
    halves: Halves,
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
        if name.is_empty() && self.template.fits(data) && self.spoken.iter().all(|choice| choice.halves.is_empty()) {
            return Ok(Onward::default());
        }
        if data == b"[DONE]" {
            self.done = !self.spoken.is_empty();
            return if self.done { Ok(self.close()) } else { Err(garbage("an answer with nothing in it")) };
        }
        if name == "error" {
            return Err(refusal::fault_in_answer(&UpstreamError::read(data)));
        }
        let text = text(data);
        let marked = marked(&text);
        let has_halves = matches!(marked, Cow::Owned(_));
        let mut onward = self.read(&marked, has_halves)?;
        // What is no text is not passed on, even where nothing else is changed.
        if onward.instead.is_none() && (has_halves || matches!(text, Cow::Owned(_))) {
            onward.instead = Some(marked.into_owned());
        }
        onward.instead = onward.instead.map(|instead| unmarked(&instead).into_owned());
        Ok(onward)
    }

    /// What is to go before the end mark.
    fn close(&mut self) -> Onward {
        let mut before = Vec::new();
        for choice in &mut self.spoken {
            let alone = choice.halves.close().map(|(field, text)| half_delta(field, text));
            let deltas: Vec<String> = alone.chain(empty_arguments(&choice.calls.close())).collect();
            before.extend(deltas.iter().map(|delta| self.names.chunk(choice.index, delta)));
            if !std::mem::replace(&mut choice.finished, true) {
                let reason = format!("\"{}\"", own_reason(&choice.calls));
                before.push(self.names.finishing(choice.index, "{}", &reason));
            }
        }
        Onward { before, instead: None }
    }

    fn read(&mut self, text: &str, has_halves: bool) -> Result<Onward, Fault> {
        let no_answer = || garbage("an event that is no answer");
        let chunk: Chunk<'_> = serde_json::from_str(text).map_err(|_| no_answer())?;
        if chunk.error.is_some() || (chunk.choices.is_none() && is_bare_error(text)) {
            return Err(refusal::fault_in_answer(&UpstreamError::read(text.as_bytes())));
        }
        let list = chunk.choices.as_deref().unwrap_or_default();
        let usage = chunk.usage.and_then(mended_usage);
        if list.is_empty() && usage.is_none() {
            return Ok(Onward::default());
        }
        let members: Members<'_> = serde_json::from_str(text).map_err(|_| no_answer())?;
        let mut changes = if list.is_empty() { Vec::new() } else { self.names.missing(&members) };
        let mut usage = usage.or_else(|| self.beside(&chunk, list));
        let (mut before, mut choices, mut is_changed) = (Vec::new(), Vec::with_capacity(list.len()), false);
        let mut said = None;
        for raw in list {
            let choice: Choice<'_> = serde_json::from_str(raw.get()).map_err(|_| no_answer())?;
            let delta = choice.delta.or(choice.message).map(|raw| serde_json::from_str::<Delta<'_>>(raw.get()));
            let delta = delta.transpose().map_err(|_| no_answer())?.unwrap_or_default();
            let mended = self.choice(raw.get(), &choice, &delta, has_halves)?;
            let index = choice.index.unwrap_or(0);
            before.extend(mended.before.iter().map(|delta| self.names.chunk(index, delta)));
            is_changed |= mended.instead.is_some();
            choices.push(mended.instead.map_or(Cow::Borrowed(raw.get()), Cow::Owned));
            // Thoughts come in as many chunks as text does.
            let texts = [delta.content.text, delta.reasoning_content.0, delta.reasoning.0];
            said = texts.into_iter().find(|text| !text.is_empty()).map(|text| (choice, text));
        }
        if is_changed {
            changes = self.names.all(&members);
            changes.push(("choices", format!("[{}]", choices.join(","))));
        }
        changes.extend(usage.take().map(|usage| ("usage", usage)));
        if changes.is_empty() && before.is_empty() {
            if let ([_], Some((choice, Cow::Borrowed(content)))) = (list, &said)
                && choice.finish_reason.is_none_or(|reason| reason.get() == "null")
                && !has_halves
                && self.spoken.len() >= self.choices
            {
                self.template.learn(text, content, chunk.obfuscation.as_ref().map(|padding| padding.0.as_ref()));
            }
            return Ok(Onward::default());
        }
        Ok(Onward { before, instead: (!changes.is_empty()).then(|| members.with(&changes)) })
    }

    /// The figures of a server that says them in a choice.
    fn beside(&self, chunk: &Chunk<'_>, choices: &[&RawValue]) -> Option<String> {
        if chunk.usage.is_some() {
            return None;
        }
        let usage = choices.iter().find_map(|raw| serde_json::from_str::<Choice<'_>>(raw.get()).ok()?.usage)?;
        Some(mended_usage(usage).unwrap_or_else(|| usage.get().to_owned()))
    }

    /// Takes what a chunk says of one choice.
    fn choice(&mut self, raw: &str, choice: &Choice<'_>, delta: &Delta<'_>, has_halves: bool) -> Result<Mended, Fault> {
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
                self.spoken.push(Spoken {
                    index,
                    finished: false,
                    calls: Calls::new(self.mint.clone()),
                    halves: Halves::default(),
                });
                if delta.role.0.is_empty() {
                    mended.before.push(r#"{"role":"assistant","content":""}"#.to_owned());
                }
                self.spoken.len() - 1
            }
        };
        let older = self.older;
        let Some(spoken) = self.spoken.get_mut(spoken) else { return Ok(mended) };
        let mut called = mended_calls(&mut spoken.calls, delta, older);
        let reason = reason_of(choice, &spoken.calls, older)?;
        let finishes = reason.is_some();
        changes.extend(other_reason(choice, reason).map(|reason| ("finish_reason", reason)));
        let mut empty = if finishes { spoken.calls.close() } else { Vec::new() };
        let mut texts = Vec::new();
        if has_halves || !spoken.halves.is_empty() {
            texts = joined(choice, &mut spoken.halves);
            called.join(&mut spoken.halves);
        }
        if finishes {
            for (field, text) in spoken.halves.close() {
                match texts.iter_mut().find(|(known, _)| *known == field) {
                    Some((_, said)) => said.push_str(text),
                    None if called.add(field, text) => {}
                    None => mended.before.push(half_delta(field, text)),
                }
            }
        }
        let fields = called.written(&mut empty);
        mended.before.extend(empty_arguments(&empty));
        spoken.finished |= finishes;
        if fields.is_some() || !texts.is_empty() {
            let raw = choice.delta.or(choice.message).map_or("{}", RawValue::get);
            let members: Members<'_> = serde_json::from_str(raw).map_err(|_| garbage("an event that is no answer"))?;
            let delta = match fields {
                Some(fields) => members.json(&fields, &["tool_calls", "function_call"]),
                None => members.json("", &[]),
            };
            let members: Members<'_> =
                serde_json::from_str(&delta).map_err(|_| garbage("an event that is no answer"))?;
            let texts: Vec<(&str, String)> =
                texts.iter().map(|(field, text)| (name_of(*field), quoted(text))).collect();
            changes.retain(|(name, _)| *name != "delta");
            changes.push(("delta", members.with(&texts)));
        }
        if !changes.is_empty() {
            if choice.finish_reason.is_none() {
                changes.push(("finish_reason", "null".to_owned()));
            }
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

#[cfg(test)]
mod tests;
