//! Mends what compatible servers leave out of a plain answer and SDKs stumble over; streamed ones are mended by `course`.
//! Pure; what needs no mending stays as it is, byte for byte.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer::{is_bare_error, whole_text};
use super::calls::Mint;
use super::course::{object, whole_calls};
use super::faults::{cut, garbage};
use super::finish::{Finish, STOP, TOOL_CALLS, finish};
use super::members::given;
use super::refusal::{self, UpstreamError};
use super::wire::{Text, mended_usage};
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
    #[serde(borrow, default, deserialize_with = "object")]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WholeChoice<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(default)]
    logprobs: Present,
    #[serde(borrow, default, deserialize_with = "given")]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    refusal: Present,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

/// A plain answer with the keys that SDKs' types have, `null` where the server left them out. Calls have ids, from `mint`
/// where the server gave none, and arguments as text.
///
/// # Errors
/// When it is no answer.
pub fn plain(body: Bytes, mint: Mint) -> Result<Bytes, Fault> {
    let replaced = match whole_text(&body) {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text),
    };
    let text = replaced.as_deref().unwrap_or_else(|| std::str::from_utf8(&body).unwrap_or_default());
    let whole: Whole<'_> = serde_json::from_str(text).map_err(|error| match error.is_eof() {
        true => cut(),
        false => garbage("an answer that is not JSON"),
    })?;
    if whole.error.is_some() || (whole.choices.is_none() && is_bare_error(text)) {
        return Err(refusal::fault_in_answer(&UpstreamError::read(&body)));
    }
    let choices = whole.choices.filter(|choices| !choices.is_empty());
    let choices = choices.ok_or_else(|| garbage("an answer with nothing in it"))?;
    let mut edits = Vec::new();
    for raw in choices {
        let choice: WholeChoice<'_> =
            serde_json::from_str(raw.get()).map_err(|_| garbage("an answer that is no chat completion"))?;
        if !choice.logprobs.0 {
            edits.extend(Edit::first_key(text, raw.get(), r#""logprobs":null"#));
        }
        let calls = choice.message.and_then(|raw| serde_json::from_str::<Message<'_>>(raw.get()).ok()?.tool_calls);
        if let Some((said, reason)) = choice.finish_reason.and_then(|said| Some((said, other_reason(said, calls)?))) {
            edits.extend(Edit::other(text, said.get(), reason));
        }
        let Some(raw) = choice.message.filter(|raw| raw.get().starts_with('{')) else { continue };
        let Ok(message) = serde_json::from_str::<Message<'_>>(raw.get()) else { continue };
        if !message.refusal.0 {
            edits.extend(Edit::first_key(text, raw.get(), r#""refusal":null"#));
        }
        if let Some(list) = message.tool_calls.filter(|list| list.get().starts_with('['))
            && let Some(calls) = whole_calls(list, mint.clone())
        {
            edits.extend(Edit::other(text, list.get(), calls));
        }
    }
    if let Some(usage) = whole.usage
        && let Some(mended) = mended_usage(usage)
    {
        edits.extend(Edit::other(text, usage.get(), mended));
    }
    if edits.is_empty() && replaced.is_none() {
        return Ok(body);
    }
    edits.sort_unstable_by_key(|edit| edit.from);
    Ok(edited(text, &edits).into())
}

/// Why the model stopped, in OpenAI's words; `None` where it is said in one.
fn other_reason(said: &RawValue, calls: Option<&RawValue>) -> Option<String> {
    let has_calls = calls.is_some_and(|calls| calls.get().starts_with("[{"));
    let word: Text<'_> = serde_json::from_str(said.get()).unwrap_or_default();
    let reason = match finish(&word.0) {
        Some(Finish::Word(reason)) => reason,
        _ if has_calls => TOOL_CALLS,
        _ => STOP,
    };
    let reason = format!("\"{reason}\"");
    (reason != said.get()).then_some(reason)
}

/// A change of a text at one place.
struct Edit {
    from: usize,
    to: usize,
    with: String,
}

impl Edit {
    /// A key in front of those of an object, which is a part of `text` in memory.
    fn first_key(text: &str, object: &str, key: &str) -> Option<Self> {
        let at = offset(text, object)? + 1;
        let is_only = text.get(at..)?.trim_ascii_start().starts_with('}');
        Some(Self { from: at, to: at, with: format!("{key}{}", if is_only { "" } else { "," }) })
    }

    /// Another value in place of one, which is a part of `text` in memory.
    fn other(text: &str, value: &str, with: String) -> Option<Self> {
        let from = offset(text, value)?;
        Some(Self { from, to: from + value.len(), with })
    }
}

fn offset(text: &str, part: &str) -> Option<usize> {
    part.as_ptr().addr().checked_sub(text.as_ptr().addr())
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len() + edits.iter().map(|edit| edit.with.len()).sum::<usize>());
    let mut from = 0;
    for edit in edits {
        out.push_str(text.get(from..edit.from).unwrap_or_default());
        out.push_str(&edit.with);
        from = edit.to;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests;
