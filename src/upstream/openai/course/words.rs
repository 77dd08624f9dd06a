//! The words of a chunk: reasons to finish, texts whose characters came in halves, and the deltas that say them.

use serde_json::value::RawValue;

use super::calls::{Listed, mended};
use super::{Choice, Delta};
use crate::domain::json::push_json_string;
use crate::domain::turn::Fault;
use crate::upstream::openai::calls::{Calls, Said};
use crate::upstream::openai::finish::{Finish, STOP, TOOL_CALLS, finish};
use crate::upstream::openai::halves::{Field, Halves};
use crate::upstream::openai::members::Members;
use crate::upstream::openai::refusal::{self, UpstreamError};
use crate::upstream::openai::wire::Text;

/// The texts of a delta, which may end in half a character.
const TEXTS: [(&str, Field); 4] = [
    ("content", Field::Text),
    ("refusal", Field::Refusal),
    ("reasoning_content", Field::Reasoning),
    ("reasoning", Field::Thoughts),
];

/// Why a choice ends with this chunk, in OpenAI's words; `None` where it does not.
pub(super) fn reason_of(choice: &Choice<'_>, calls: &Calls, older: bool) -> Result<Option<&'static str>, Fault> {
    let said =
        choice.finish_reason.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok()).unwrap_or_default();
    Ok(match finish(&said.0) {
        None => None,
        Some(Finish::Failed) => return Err(refusal::fault_in_answer(&UpstreamError::default())),
        Some(Finish::Word("function_call")) if !older && !calls.is_empty() => Some(TOOL_CALLS),
        Some(Finish::Word(reason)) => Some(reason),
        Some(Finish::Unknown) => {
            tracing::debug!("the model's server says in a word of its own why the model stopped");
            Some(own_reason(calls))
        }
    })
}

/// The reason as JSON, where the chunk says it otherwise.
pub(super) fn other_reason(choice: &Choice<'_>, reason: Option<&str>) -> Option<String> {
    let reason = reason.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
    choice.finish_reason.is_some_and(|said| said.get() != reason).then_some(reason)
}

/// Why the model stopped, where its server does not say it in a word that is known.
pub(super) fn own_reason(calls: &Calls) -> &'static str {
    if calls.is_empty() { STOP } else { TOOL_CALLS }
}

/// The texts of a choice's delta that are others when their halves are joined.
pub(super) fn joined(choice: &Choice<'_>, halves: &mut Halves) -> Vec<(Field, String)> {
    let raw = choice.delta.or(choice.message).map_or("{}", RawValue::get);
    let members: Members<'_> = serde_json::from_str(raw).unwrap_or_default();
    let joined = TEXTS.into_iter().filter_map(|(name, field)| {
        let text = members.text(name)?;
        let joined = halves.join(field, &text);
        (joined != text).then(|| (field, joined.into_owned()))
    });
    joined.collect()
}

pub(super) fn name_of(field: Field) -> &'static str {
    TEXTS.iter().find(|(_, known)| *known == field).map_or("content", |(name, _)| name)
}

pub(super) fn quoted(text: &str) -> String {
    let mut json = String::new();
    push_json_string(&mut json, text);
    json
}

/// The delta with which a text goes on.
pub(super) fn half_delta(field: Field, text: &str) -> String {
    match field {
        Field::Arguments(place) => {
            format!(r#"{{"tool_calls":[{{"index":{place},"function":{{"arguments":{}}}}}]}}"#, quoted(text))
        }
        _ => format!(r#"{{"{}":{}}}"#, name_of(field), quoted(text)),
    }
}

pub(super) fn mended_calls<'a>(calls: &mut Calls, delta: &Delta<'a>, older: bool) -> Listed<'a> {
    match (delta.tool_calls, delta.function_call) {
        (Some(list), _) if list.get().starts_with('[') => mended(calls, list, false),
        (_, Some(call)) if call.get().starts_with('{') && !older => mended(calls, call, true),
        _ => Listed::default(),
    }
}

/// The delta that gives calls their empty arguments.
pub(super) fn empty_arguments(calls: &[Said]) -> Option<String> {
    let entry = |said: &Said| format!(r#"{{"index":{},"function":{{"arguments":"{{}}"}}}}"#, said.place);
    let entries: Vec<String> = calls.iter().map(entry).collect();
    (!entries.is_empty()).then(|| format!(r#"{{"tool_calls":[{}]}}"#, entries.join(",")))
}
