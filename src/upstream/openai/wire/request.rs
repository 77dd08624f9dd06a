//! The JSON of a call: the body in the words that its model takes.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::instructions;
use crate::domain::dialogue::{FunctionCall, Part, PromptMessage};
use crate::domain::json::push_json_string;
use crate::domain::model;
use crate::domain::provider::ProviderData;
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
fn push_messages<'a>(object: &mut String, messages: impl Iterator<Item = &'a PromptMessage>, origin: Option<&str>) {
    object.pop();
    object.push_str(r#","messages":["#);
    for (number, message) in messages.enumerate() {
        object.push_str(if number == 0 { "" } else { "," });
        match message {
            PromptMessage::Own { message, thoughts, data } => {
                // What came from another server, or another model, stays here.
                let is_theirs = origin.is_some_and(|origin| data.origin.is_empty() || data.origin == origin);
                push_message(object, message, is_theirs.then_some(data));
                if is_theirs {
                    push_own(object, thoughts.as_deref(), data);
                }
            }
            message => push_message(object, message, None),
        }
    }
    object.push_str("]}");
}

/// Adds what goes back with the model's own message to the message's object.
fn push_own(object: &mut String, thoughts: Option<&str>, data: &ProviderData) {
    object.pop();
    if let Some((thoughts, member)) = thoughts.zip(data.thoughts) {
        push_all(object, &[",\"", member.as_str()]);
        push_fields(object, &[("\":", thoughts)]);
    }
    push_members(object, Some(&data.members));
    object.push('}');
}

/// Adds members as they came, each after a comma.
fn push_members(out: &mut String, members: Option<&Map<String, Value>>) {
    for (name, value) in members.into_iter().flatten() {
        push_fields(out, &[(",", name)]);
        push_all(out, &[":", &value.to_string()]);
    }
}

/// Adds a message; `data` is what goes back with its calls.
fn push_message(out: &mut String, message: &PromptMessage, data: Option<&ProviderData>) {
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
                // Servers that read arguments as JSON refuse an empty text.
                let arguments = if arguments.trim_ascii().is_empty() { "{}" } else { arguments };
                push_fields(out, &[(r#","arguments":"#, arguments)]);
                let more = data.and_then(|data| data.calls.get(call_id));
                push_members(out, more.and_then(|more| more["function"].as_object()));
                out.push('}');
                push_members(out, more.and_then(|more| more["call"].as_object()));
                out.push('}');
            }
            out.push(']');
        }
        PromptMessage::Output { call_id, text } => {
            push_fields(out, &[(r#"{"role":"tool","tool_call_id":"#, call_id), (r#","content":"#, text)]);
        }
        // There is none in another.
        PromptMessage::Own { message, .. } => return push_message(out, message, data),
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

/// What a server takes, and others do not.
#[derive(Debug, Clone, Default)]
pub struct Takes {
    /// Instructions only as one system message at the front.
    pub one_system: bool,
    /// What its model said besides text and calls, under this origin.
    pub origin: Option<String>,
}

/// The body of a call, in the words that its model and its server take.
///
/// # Errors
/// When a number in it is none that JSON has.
pub fn request(call: &Call, takes: &Takes) -> Result<Bytes, serde_json::Error> {
    let profile = model::profile(&call.model);
    let (older, newer) = match profile.max_completion_tokens {
        true => (None, call.max_tokens),
        false => (call.max_tokens, None),
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
    let origin = takes.origin.as_deref();
    match takes.one_system.then(|| instructions::leading(&call.messages)).flatten() {
        None => push_messages(&mut body, call.messages.iter(), origin),
        Some(leading) => {
            let others = call.messages.iter().filter(|message| !instructions::is_instruction(message));
            push_messages(&mut body, std::iter::once(&leading).chain(others), origin);
        }
    }
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
        PromptMessage::Own { message, thoughts, data } => {
            size_of(message) + thoughts.as_ref().map_or(0, String::len) + data.size()
        }
    };
    texts + KEYS
}
