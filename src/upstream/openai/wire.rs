//! The JSON of Chat Completions: what is looked at in the answers. What is sent is in `request`.
//!
//! Compatible servers leave keys out, send null where OpenAI sends an object, and numbers as floats. So each field here
//! takes whatever comes, and what has no meaning counts as absent; only what is no JSON object at all is an error.
//! Texts are borrowed from the bytes that brought them wherever they hold no escapes.

pub mod extras;
pub mod instructions;
mod request;
mod text;
mod usage;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use self::extras::Extras;
use self::extras::with_extras;
pub use self::request::{Takes, request};
pub use self::text::{Content, Text};
pub use self::usage::{Count, WireUsage, mended_usage};
use super::calls::Part;
use crate::domain::provider::ThoughtsMember;

/// A whole answer, or one chunk of a streamed one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Completion<'a> {
    /// The model's own name.
    #[serde(borrow)]
    pub model: Text<'a>,
    /// `None` where the key is missing; with a null or an empty list there is no choice in it.
    #[serde(borrow)]
    pub choices: Option<First<Choice<'a>>>,
    /// What it cost.
    #[serde(deserialize_with = "lenient")]
    pub usage: Option<WireUsage>,
    /// The same, as Ollama counts.
    pub prompt_eval_count: Count,
    /// The same, as Ollama counts.
    pub eval_count: Count,
    /// The padding with which OpenAI hides the length of the text.
    #[serde(borrow)]
    pub obfuscation: Option<Text<'a>>,
    /// An error in place of an answer, or in the middle of one.
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// The one choice that was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice<'a> {
    /// What the text goes on with.
    #[serde(borrow)]
    pub delta: Option<WireMessage<'a>>,
    /// The whole text.
    #[serde(borrow)]
    pub message: Option<WireMessage<'a>>,
    /// Why the model stopped; empty while it has not.
    #[serde(borrow)]
    pub finish_reason: Text<'a>,
    /// What it cost, where that is said here.
    #[serde(deserialize_with = "lenient")]
    pub usage: Option<WireUsage>,
}

/// What the model said. A refusal is said in a field of its own.
#[derive(Debug, Default)]
pub struct WireMessage<'a> {
    /// The text, and thoughts that are parts of it.
    pub content: Content<'a>,
    /// The text of a refusal.
    pub refusal: Text<'a>,
    /// What the model thinks, as DeepSeek, vLLM and llama.cpp call it.
    pub reasoning_content: Option<Text<'a>>,
    /// The same, as OpenRouter and newer vLLM call it.
    pub reasoning: Option<Text<'a>>,
    /// Functions that are to be called.
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
    /// One function that is to be called, as it was said before there were `tool_calls`.
    pub function_call: Option<Function<'a>>,
    /// What else it has.
    pub extras: Extras<'a>,
}

with_extras!(WireMessage { content, refusal, reasoning_content, reasoning } lenient { tool_calls, function_call }
    without ["role", "annotations", "audio", "images", "name"]);

impl WireMessage<'_> {
    /// What the model thinks, and the member that has it; of one that is there and empty, only the member.
    #[must_use]
    pub fn thoughts(&self) -> (&str, Option<ThoughtsMember>) {
        let members =
            [(&self.reasoning_content, ThoughtsMember::ReasoningContent), (&self.reasoning, ThoughtsMember::Reasoning)];
        let mut there = members.iter().filter_map(|(text, member)| Some((text.as_ref()?.0.as_ref(), *member)));
        let first = there.next();
        match first.into_iter().chain(there).find(|(text, _)| !text.is_empty()) {
            Some((text, member)) => (text, Some(member)),
            None => ("", first.map(|(_, member)| member)),
        }
    }
}

/// A call of a function, or a part of one.
#[derive(Debug, Default)]
pub struct ToolCall<'a> {
    /// Tells calls of one answer apart, where a server counts them; whole answers leave it out.
    pub index: Option<u32>,
    /// In a stream, only the first part of a call has it.
    pub id: Text<'a>,
    /// What to call.
    pub function: Option<Function<'a>>,
    /// What else it has.
    pub extras: Extras<'a>,
}

impl ToolCall<'_> {
    /// What the assembler is to know of it.
    #[must_use]
    pub fn part(&self) -> Part<'_> {
        let function = self.function.as_ref().map(Function::part).unwrap_or_default();
        Part { index: self.index, id: &self.id.0, ..function }
    }
}

with_extras!(ToolCall { id } lenient { index, function } without ["type"]);

/// A function's name and arguments.
#[derive(Debug, Default)]
pub struct Function<'a> {
    /// In a stream, only the first part of a call has it.
    pub name: Text<'a>,
    /// JSON as text; some servers send the object itself.
    pub arguments: Arguments<'a>,
    /// What else it has.
    pub extras: Extras<'a>,
}

impl Function<'_> {
    /// What the assembler is to know of it.
    #[must_use]
    pub fn part(&self) -> Part<'_> {
        Part { name: &self.name.0, arguments: &self.arguments.0, ..Part::default() }
    }
}

with_extras!(Function { name, arguments } lenient {} without []);

/// Arguments as text, whether they came as text or as JSON. An object or a list with nothing in it is no arguments yet: some
/// servers say it first, and then the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(raw).map_err(D::Error::custom)?.into(),
            Some(b'{' | b'[') if !is_empty(raw) => Cow::Borrowed(raw),
            _ => Cow::default(),
        };
        Ok(Self(text))
    }
}

fn is_empty(list_or_object: &str) -> bool {
    list_or_object.get(1..list_or_object.len() - 1).is_none_or(|inside| inside.trim_ascii().is_empty())
}

/// A value of the type that it should have; what has another type counts as absent.
pub struct Lenient<T>(pub Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer).map(Self)
    }
}

/// A value of the type that it should have; what has another type counts as absent.
///
/// # Errors
/// When it is no JSON.
pub fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    Ok(if raw == "null" { None } else { serde_json::from_str(raw).ok() })
}

/// The first of a list; the others are read over. A null is an empty list.
#[derive(Debug)]
pub struct First<T>(pub Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<T>, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests;
