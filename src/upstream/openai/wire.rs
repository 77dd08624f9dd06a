//! The JSON of Chat Completions: what is looked at in the answers. What is sent is in `request`.
//!
//! Compatible servers leave keys out, send null where OpenAI sends an object, and numbers as floats. So each field here
//! takes whatever comes, and what has no meaning counts as absent; only what is no JSON object at all is an error.
//! Texts are borrowed from the bytes that brought them wherever they hold no escapes.

pub mod instructions;
mod request;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use self::request::request;
use super::calls::Part;
use crate::domain::turn::Usage;

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
    pub usage: Option<WireUsage>,
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
}

/// What the model said. A refusal is said in a field of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireMessage<'a> {
    /// The text.
    #[serde(borrow)]
    pub content: Text<'a>,
    /// The text of a refusal.
    #[serde(borrow)]
    pub refusal: Text<'a>,
    /// What the model thinks, as DeepSeek, vLLM and llama.cpp call it.
    #[serde(borrow)]
    pub reasoning_content: Text<'a>,
    /// The same, as OpenRouter and newer vLLM call it.
    #[serde(borrow)]
    pub reasoning: Text<'a>,
    /// Functions that are to be called.
    #[serde(borrow, deserialize_with = "lenient")]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
    /// One function that is to be called, as it was said before there were `tool_calls`.
    #[serde(borrow, deserialize_with = "lenient")]
    pub function_call: Option<Function<'a>>,
}

/// A call of a function, or a part of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ToolCall<'a> {
    /// Tells calls of one answer apart, where a server counts them; whole answers leave it out.
    #[serde(deserialize_with = "lenient")]
    pub index: Option<u32>,
    /// In a stream, only the first part of a call has it.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// What to call.
    #[serde(borrow, deserialize_with = "lenient")]
    pub function: Option<Function<'a>>,
}

impl ToolCall<'_> {
    /// What the assembler is to know of it.
    #[must_use]
    pub fn part(&self) -> Part<'_> {
        let function = self.function.as_ref().map(Function::part).unwrap_or_default();
        Part { index: self.index, id: &self.id.0, ..function }
    }
}

/// A function's name and arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Function<'a> {
    /// In a stream, only the first part of a call has it.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// JSON as text; some servers send the object itself.
    #[serde(borrow)]
    pub arguments: Arguments<'a>,
}

impl Function<'_> {
    /// What the assembler is to know of it.
    #[must_use]
    pub fn part(&self) -> Part<'_> {
        Part { name: &self.name.0, arguments: &self.arguments.0, ..Part::default() }
    }
}

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
///
/// # Errors
/// When it is no JSON.
pub fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    Ok(if raw == "null" { None } else { serde_json::from_str(raw).ok() })
}

/// Token counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
    reasoning_tokens: Count,
}

impl WireUsage {
    /// The counts, unless there are none: a real call costs something.
    #[must_use]
    pub fn counts(&self) -> Option<Usage> {
        let (input_tokens, output_tokens) = (self.prompt_tokens.0, self.completion_tokens.0);
        let cached_tokens = self.prompt_tokens_details.as_ref().map_or(0, |details| details.cached_tokens.0);
        let reasoning_tokens = self.completion_tokens_details.as_ref().map_or(0, |details| details.reasoning_tokens.0);
        let usage = Usage { input_tokens, output_tokens, cached_tokens, reasoning_tokens, estimated: false };
        (usage.input_tokens > 0 || usage.output_tokens > 0).then_some(usage)
    }
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

/// A text; empty where there is anything else. A list of parts is the text of its parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyText).map(Text)
    }
}

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Cow::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Cow::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Cow::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Cow::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let mut text = String::new();
        while let Some(Text(part)) = parts.next_element()? {
            text.push_str(&part);
        }
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut part: A) -> Result<Self::Value, A::Error> {
        let mut text = Text::default();
        while let Some(Text(key)) = part.next_key()? {
            if key == "text" {
                text = part.next_value()?;
            } else {
                part.next_value::<IgnoredAny>()?;
            }
        }
        Ok(text.0)
    }
}

/// A number of tokens; 0 where there is anything else.
#[derive(Debug, Default, Clone, Copy)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Option::<serde_json::Number>::deserialize(deserializer)?;
        let whole = |number: serde_json::Number| match number.as_u64() {
            Some(count) => count,
            // A float to an integer saturates, and what is negative or no number gives 0.
            None => number.as_f64().unwrap_or_default() as u64,
        };
        Ok(Self(number.map(whole).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests;
