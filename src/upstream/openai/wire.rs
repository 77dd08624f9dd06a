//! The JSON of Chat Completions: what is sent, and what is looked at in the answers.
//!
//! Compatible servers leave keys out, send null where OpenAI sends an object, and numbers as floats. So each field here
//! takes whatever comes, and what has no meaning counts as absent; only what is no JSON object at all is an error.
//! Texts are borrowed from the bytes that brought them wherever they hold no escapes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::domain::dialogue::{FunctionCall, Part, PromptMessage};
use crate::domain::json::push_json_string;
use crate::domain::model;
use crate::domain::turn::Usage;
use crate::upstream::Call;

#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// Adds `messages` to an object that is whole but for them. They are nearly all of a body, and written much faster like
/// this than through a serializer.
fn push_messages(object: &mut String, messages: &[PromptMessage]) {
    object.pop();
    object.push_str(r#","messages":["#);
    for (number, message) in messages.iter().enumerate() {
        object.push_str(if number == 0 { "" } else { "," });
        push_message(object, message);
    }
    object.push_str("]}");
}

fn push_message(out: &mut String, message: &PromptMessage) {
    match message {
        PromptMessage::Text { role, text } => {
            push_all(out, &[r#"{"role":""#, role.as_str(), r#"","content":"#]);
            push_json_string(out, text);
        }
        PromptMessage::Parts { role, parts } => {
            push_all(out, &[r#"{"role":""#, role.as_str(), r#"","content":["#]);
            for (number, part) in parts.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                push_part(out, part);
            }
            out.push(']');
        }
        PromptMessage::Calls { text, calls } => {
            out.push_str(r#"{"role":"assistant","content":"#);
            match text.is_empty() {
                true => out.push_str("null"),
                false => push_json_string(out, text),
            }
            out.push_str(r#","tool_calls":["#);
            for (number, FunctionCall { call_id, name, arguments }) in calls.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                push_fields(out, &[(r#"{"id":"#, call_id), (r#","type":"function","function":{"name":"#, name)]);
                push_fields(out, &[(r#","arguments":"#, arguments)]);
                out.push_str("}}");
            }
            out.push(']');
        }
        PromptMessage::Output { call_id, text } => {
            push_fields(out, &[(r#"{"role":"tool","tool_call_id":"#, call_id), (r#","content":"#, text)]);
        }
    }
    out.push('}');
}

fn push_part(out: &mut String, part: &Part) {
    match part {
        Part::Text(text) => push_fields(out, &[(r#"{"type":"text","text":"#, text)]),
        Part::Image { url, detail } => {
            push_fields(out, &[(r#"{"type":"image_url","image_url":{"url":"#, url)]);
            // Chat Completions have no word for an image that is not made smaller.
            let detail = detail.as_deref().map(|detail| if detail == "original" { "high" } else { detail });
            detail.iter().for_each(|detail| push_fields(out, &[(r#","detail":"#, detail)]));
            out.push('}');
        }
        Part::File { file_id, file_data, filename } => {
            let fields = [(r#""file_id":"#, file_id), (r#""file_data":"#, file_data), (r#""filename":"#, filename)];
            let fields = fields.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
            out.push_str(r#"{"type":"file","file":{"#);
            for (number, field) in fields.enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                push_fields(out, &[field]);
            }
            out.push('}');
        }
    }
    out.push('}');
}

fn push_all(out: &mut String, pieces: &[&str]) {
    pieces.iter().for_each(|piece| out.push_str(piece));
}

/// Adds texts as JSON strings, each after what is to stand before it.
fn push_fields(out: &mut String, fields: &[(&str, &str)]) {
    for (before, text) in fields {
        out.push_str(before);
        push_json_string(out, text);
    }
}

/// Adds the fields of another object, given as text, to an object that is whole.
fn push_options(object: &mut String, options: &str) {
    let fields = options.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim();
    if !fields.is_empty() {
        object.pop();
        object.push(',');
        object.push_str(fields);
        object.push('}');
    }
}

/// The body of a call, in the words that its model takes.
///
/// # Errors
/// When a number in it is none that JSON has.
pub fn request(call: &Call) -> Result<Bytes, serde_json::Error> {
    let profile = model::profile(&call.model);
    let (older, newer) = match profile.max_completion_tokens {
        true => (None, Some(call.max_tokens)),
        false => (Some(call.max_tokens), None),
    };
    let request = ChatRequest {
        model: &call.model,
        temperature: call.temperature.filter(|_| profile.temperature),
        max_tokens: older,
        max_completion_tokens: newer,
        stream: call.stream,
        stream_options: call.stream.then_some(StreamOptions { include_usage: true }),
    };
    let texts: usize = call.messages.iter().map(size_of).sum();
    let mut body = serde_json::to_string(&request)?;
    call.options.iter().for_each(|options| push_options(&mut body, options));
    body.reserve(texts + texts / 8);
    push_messages(&mut body, &call.messages);
    Ok(body.into())
}

/// About how many bytes of JSON a message takes.
fn size_of(message: &PromptMessage) -> usize {
    const KEYS: usize = 40;
    let texts: usize = match message {
        PromptMessage::Text { text, .. } | PromptMessage::Output { text, .. } => text.len(),
        PromptMessage::Calls { text, calls } => {
            text.len() + calls.iter().map(|call| call.name.len() + call.arguments.len() + 2 * KEYS).sum::<usize>()
        }
        PromptMessage::Parts { parts, .. } => {
            let size = |part: &Part| match part {
                Part::Text(text) | Part::Image { url: text, .. } => text.len() + KEYS,
                Part::File { file_data, .. } => file_data.as_ref().map_or(0, String::len) + 2 * KEYS,
            };
            parts.iter().map(size).sum()
        }
    };
    texts + KEYS
}

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
    #[serde(borrow)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
}

/// A call of a function, or a part of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ToolCall<'a> {
    /// Tells calls of one answer apart; whole answers leave it out.
    pub index: Option<u32>,
    /// In a stream, only the first part of a call has it.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// What to call.
    #[serde(borrow)]
    pub function: Option<Function<'a>>,
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

/// Arguments as text, whether they came as text or as JSON.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(raw).map_err(D::Error::custom)?.into(),
            Some(b'{' | b'[') => Cow::Borrowed(raw),
            _ => Cow::default(),
        };
        Ok(Self(text))
    }
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
