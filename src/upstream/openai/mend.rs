//! Mends what compatible servers leave out and SDKs stumble over. Pure; what needs no mending stays as it is, byte for byte.

use bytes::Bytes;
use memchr::memmem;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer::is_bare_error;
use super::faults::{cut, garbage};
use super::refusal::{self, UpstreamError};
use super::wire::Text;
use crate::domain::turn::Fault;

/// Whether a key is there, whatever its value.
#[derive(Debug, Default, Clone, Copy)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    choices: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WholeChoice<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(default)]
    logprobs: Present,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    refusal: Present,
}

/// A plain answer with the keys that SDKs' types have, `null` where the server left them out.
///
/// # Errors
/// When it is no answer.
pub fn plain(body: Bytes) -> Result<Bytes, Fault> {
    let text = std::str::from_utf8(&body).map_err(|_| garbage("an answer that is not UTF-8"))?;
    let whole: Whole<'_> = serde_json::from_str(text).map_err(|error| match error.is_eof() {
        true => cut(),
        false => garbage("an answer that is not JSON"),
    })?;
    if whole.error.is_some() || (whole.choices.is_none() && is_bare_error(text)) {
        return Err(refusal::fault_in_answer(&UpstreamError::read(&body)));
    }
    let choices = whole.choices.filter(|choices| !choices.is_empty());
    let choices = choices.ok_or_else(|| garbage("an answer with nothing in it"))?;
    let mut missing: Vec<(usize, &str)> = Vec::new();
    for raw in choices {
        let choice: WholeChoice<'_> =
            serde_json::from_str(raw.get()).map_err(|_| garbage("an answer that is no chat completion"))?;
        if !choice.logprobs.0 {
            missing.extend(begin_of(text, raw.get()).map(|at| (at, r#""logprobs":null"#)));
        }
        let message = choice.message.filter(|raw| raw.get().starts_with('{'));
        if let Some(raw) = message
            && serde_json::from_str::<Message>(raw.get()).is_ok_and(|message| !message.refusal.0)
        {
            missing.extend(begin_of(text, raw.get()).map(|at| (at, r#""refusal":null"#)));
        }
    }
    if missing.is_empty() {
        return Ok(body);
    }
    missing.sort_unstable();
    Ok(insert(text, &missing).into())
}

/// Where the first key of an object, which is a part of `text` in memory, would be.
fn begin_of(text: &str, object: &str) -> Option<usize> {
    let at = object.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(at + 1)
}

/// Puts keys in front of what each object has.
fn insert(text: &str, keys: &[(usize, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + keys.len() * 20);
    let mut from = 0;
    for (at, key) in keys {
        let rest = text.get(*at..).unwrap_or_default();
        out.push_str(text.get(from..*at).unwrap_or_default());
        out.push_str(key);
        if !rest.trim_ascii_start().starts_with('}') {
            out.push(',');
        }
        from = *at;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<ChunkChoice<'a>>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChunkChoice<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    role: Text<'a>,
}

/// What a streamed answer has come to, judged event by event.
#[derive(Debug)]
pub struct Course {
    choices: usize,
    /// The choices that have begun, and those that have finished, by their index.
    begun: Vec<u32>,
    finished: Vec<u32>,
    done: bool,
}

impl Course {
    /// An answer of so many choices.
    #[must_use]
    pub fn new(choices: u32) -> Self {
        Self { choices: choices.max(1) as usize, begun: Vec::new(), finished: Vec::new(), done: false }
    }

    /// The model has finished: what may still come are the figures and the end mark.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.done || self.finished.len() >= self.choices
    }

    /// Nothing that has begun is unfinished: where the stream has ended, it ended well.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.done || (!self.begun.is_empty() && self.begun.iter().all(|index| self.finished.contains(index)))
    }

    /// The end mark has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the data of an event; gives the event that must come before it, where one is missing.
    ///
    /// # Errors
    /// When it reports an error, or is no part of an answer.
    pub fn event(&mut self, name: &str, data: &[u8]) -> Result<Option<String>, Fault> {
        if data == b"[DONE]" {
            self.done = !self.begun.is_empty();
            return if self.done { Ok(None) } else { Err(garbage("an answer with nothing in it")) };
        }
        if name == "error" {
            return Err(refusal::fault_in_answer(&UpstreamError::read(data)));
        }
        if self.begun.len() >= self.choices && is_ordinary(data) {
            return Ok(None);
        }
        self.read(data)
    }

    /// For events that may need something done about them.
    fn read(&mut self, data: &[u8]) -> Result<Option<String>, Fault> {
        let no_answer = || garbage("an event that is no answer");
        let text = std::str::from_utf8(data).map_err(|_| no_answer())?;
        let chunk: Chunk<'_> = serde_json::from_str(text).map_err(|_| no_answer())?;
        if chunk.error.is_some() || (chunk.choices.is_none() && is_bare_error(text)) {
            return Err(refusal::fault_in_answer(&UpstreamError::read(data)));
        }
        let mut missing = Vec::new();
        for choice in chunk.choices.iter().flatten() {
            let index = choice.index.unwrap_or(0);
            if !self.begun.contains(&index) {
                self.begun.push(index);
                if choice.delta.as_ref().is_none_or(|delta| delta.role.0.is_empty()) {
                    missing.push(index);
                }
            }
            match choice.finish_reason.0.as_ref() {
                "" => {}
                // OpenRouter's word for a provider that gave up.
                "error" => return Err(refusal::fault_in_answer(&UpstreamError::default())),
                _ if self.finished.contains(&index) => {}
                _ => self.finished.push(index),
            }
        }
        Ok((!missing.is_empty()).then(|| first_chunk(&chunk, &missing)))
    }
}

/// The chunk that says who speaks, as llama.cpp forgets it before a character of several bytes.
fn first_chunk(chunk: &Chunk<'_>, indexes: &[u32]) -> String {
    let raw = |value: Option<&RawValue>| value.map_or("null", RawValue::get).to_owned();
    let choice = |index: &u32| {
        format!(
            r#"{{"index":{index},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}"#
        )
    };
    let choices: Vec<String> = indexes.iter().map(choice).collect();
    let (id, created, model) = (raw(chunk.id), raw(chunk.created), raw(chunk.model));
    format!(
        "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\
         \"choices\":[{}]}}\n\n",
        choices.join(",")
    )
}

/// Whether an event is plainly a chunk in the middle of an answer. Inside of a JSON string a quote has a backslash before
/// it, so that what a model says is never taken for a key.
fn is_ordinary(data: &[u8]) -> bool {
    let object = data.first() == Some(&b'{') && data.last() == Some(&b'}');
    object
        && memmem::find(data, br#""choices""#).is_some()
        && memmem::find(data, br#""error""#).is_none()
        && !finishes(data)
}

/// Whether there is a `finish_reason` that is not null.
fn finishes(data: &[u8]) -> bool {
    const KEY: &[u8] = br#""finish_reason""#;
    memmem::find_iter(data, KEY).any(|at| {
        let value = data.get(at + KEY.len()..).unwrap_or_default().trim_ascii_start();
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
        !value.starts_with(b"null")
    })
}

#[cfg(test)]
mod tests;
