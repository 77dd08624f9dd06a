//! From items to the messages of a prompt: calls of functions and their outputs stay together, whatever the window cut.
//!
//! Models insist that each call is followed at once by its output, and that there is no output without a call. A history
//! may have it otherwise: a call that nobody answered, an output whose call was cut off, an output that came later.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::item::{Item, Role};

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
    /// The whole message as Chat Completions take it, where it is more than a role and a text.
    pub json: Option<String>,
}

/// What stands for the output of a call that has none.
const NO_OUTPUT: &str = "(no output)";

/// What stands before the summary of a longer history.
const SUMMARY: &str = "Summary of the conversation so far:\n";

impl PromptMessage {
    /// A message that is a role and a text.
    #[must_use]
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self { role, text: text.into(), json: None }
    }
}

/// What an item says to a model.
enum Line {
    Message(PromptMessage),
    Call { call_id: String, name: String, arguments: String },
    Output { call_id: String, output: Value },
    Nothing,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Shape {
    Message {
        role: Role,
        content: Vec<Value>,
    },
    FunctionCall {
        call_id: String,
        name: String,
        arguments: String,
    },
    FunctionCallOutput {
        call_id: String,
        output: Value,
    },
    Compaction {
        encrypted_content: String,
    },
    #[serde(other)]
    Other,
}

/// The messages for `items`, which are in order; `is_new` of an item says that it came with this very request, so that an
/// output whose call is gone is still said.
#[must_use]
pub fn messages<'a>(items: impl Iterator<Item = (&'a Item, bool)>) -> Vec<PromptMessage> {
    let lines: Vec<(Line, bool)> = items.map(|(item, is_new)| (line(item), is_new)).collect();
    let outputs = pair(&lines);
    let mut calls: Vec<Call> = Vec::new();
    let mut answered: Vec<String> = Vec::new();
    let mut out: Vec<PromptMessage> = Vec::new();
    for (at, (line, is_new)) in lines.into_iter().enumerate() {
        if let Line::Call { call_id, name, arguments } = line {
            calls.push(Call { at, call_id, name, arguments });
            continue;
        }
        // Thoughts may stand between the calls of one answer.
        if matches!(line, Line::Nothing) {
            continue;
        }
        say_calls(&mut calls, &mut answered, &outputs, &mut out);
        match line {
            Line::Message(message) => out.push(message),
            Line::Output { call_id, output } if is_new && !answered.contains(&call_id) => {
                out.push(told(&call_id, &output));
            }
            Line::Output { .. } | Line::Call { .. } | Line::Nothing => {}
        }
    }
    say_calls(&mut calls, &mut answered, &outputs, &mut out);
    out
}

/// A call of a function, and its place among the lines.
struct Call {
    at: usize,
    call_id: String,
    name: String,
    arguments: String,
}

/// The output of each call, by the call's place: the newest that came before the next call of the same id. Some servers
/// count their calls anew in every answer.
fn pair(lines: &[(Line, bool)]) -> HashMap<usize, Value> {
    let mut newest: HashMap<&str, usize> = HashMap::new();
    let mut outputs: HashMap<usize, Value> = HashMap::new();
    for (at, (line, _)) in lines.iter().enumerate() {
        match line {
            Line::Call { call_id, .. } => {
                newest.insert(call_id, at);
            }
            Line::Output { call_id, output } => {
                if let Some(&call) = newest.get(call_id.as_str()) {
                    outputs.insert(call, output.clone());
                }
            }
            Line::Message(_) | Line::Nothing => {}
        }
    }
    outputs
}

/// Calls that stand together are one message, followed by an output each; what of these is no text comes behind them, since
/// only the person can show a model an image.
fn say_calls(
    calls: &mut Vec<Call>,
    answered: &mut Vec<String>,
    outputs: &HashMap<usize, Value>,
    out: &mut Vec<PromptMessage>,
) {
    if calls.is_empty() {
        return;
    }
    let asked = calls.iter().map(|Call { call_id, name, arguments, .. }| {
        json!({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})
    });
    let asked: Vec<Value> = asked.collect();
    // What the model said before it asked is a part of the same message.
    let before = out.pop_if(|message| message.role == Role::Assistant && message.json.is_none());
    let said = before.map(|message| message.text).unwrap_or_default();
    let content = if said.is_empty() { Value::Null } else { said.as_str().into() };
    let message = json!({"role": "assistant", "content": content, "tool_calls": asked});
    let text = calls.iter().fold(said, |text, call| text + &call.arguments);
    out.push(PromptMessage { role: Role::Assistant, text, json: Some(message.to_string()) });
    let mut shown: Vec<PromptMessage> = Vec::new();
    for Call { at, call_id, .. } in calls.drain(..) {
        let output = outputs.get(&at);
        let text = output.map_or_else(|| NO_OUTPUT.to_owned(), text_of);
        let message = json!({"role": "tool", "tool_call_id": call_id, "content": text});
        out.push(PromptMessage { role: Role::User, text, json: Some(message.to_string()) });
        shown.extend(output.filter(|output| has_more(output)).map(|output| told(&call_id, output)));
        answered.push(call_id);
    }
    out.append(&mut shown);
}

/// Whether an output has parts that are no text.
fn has_more(output: &Value) -> bool {
    output.as_array().is_some_and(|parts| parts.iter().any(|part| !part["text"].is_string()))
}

/// An output that the person tells.
fn told(call_id: &str, output: &Value) -> PromptMessage {
    let intro = format!("Output of the function call {call_id}:");
    match output {
        Value::Array(parts) if has_more(output) => {
            let intro = json!({"type": "input_text", "text": intro});
            let parts: Vec<Value> = [intro].into_iter().chain(parts.iter().cloned()).collect();
            with_parts(Role::User, &parts)
        }
        _ => PromptMessage::new(Role::User, format!("{intro}\n{}", text_of(output))),
    }
}

fn line(item: &Item) -> Line {
    // Nearly all items are plain messages, which take the short way.
    if let Some(message) = item.message()
        && !message.has_more
    {
        return Line::Message(PromptMessage::new(message.role, message.text));
    }
    match serde_json::from_str(&item.json) {
        Ok(Shape::Message { role, content }) => Line::Message(with_parts(role, &content)),
        Ok(Shape::FunctionCall { call_id, name, arguments }) => Line::Call { call_id, name, arguments },
        Ok(Shape::FunctionCallOutput { call_id, output }) => Line::Output { call_id, output },
        Ok(Shape::Compaction { encrypted_content }) => match summary_of(&encrypted_content) {
            Some(summary) => Line::Message(PromptMessage::new(Role::System, format!("{SUMMARY}{summary}"))),
            None => Line::Nothing,
        },
        Ok(Shape::Other) | Err(_) => Line::Nothing,
    }
}

/// A message with images or files, as Chat Completions take it.
fn with_parts(role: Role, content: &[Value]) -> PromptMessage {
    let parts: Vec<Value> = content.iter().filter_map(part).collect();
    let text = text_of(&Value::Array(content.to_vec()));
    let json = json!({"role": role.as_str(), "content": parts}).to_string();
    PromptMessage { role, text, json: Some(json) }
}

fn part(part: &Value) -> Option<Value> {
    match part["type"].as_str()? {
        "input_image" => {
            let mut image = json!({"url": part["image_url"]});
            if let Some(detail) = part["detail"].as_str() {
                image["detail"] = detail.into();
            }
            Some(json!({"type": "image_url", "image_url": image}))
        }
        "input_file" => {
            let mut file = json!({});
            for key in ["file_id", "file_data", "filename"] {
                if part[key].is_string() {
                    file[key] = part[key].clone();
                }
            }
            Some(json!({"type": "file", "file": file}))
        }
        "refusal" => Some(json!({"type": "text", "text": part["refusal"]})),
        _ => Some(json!({"type": "text", "text": part["text"].as_str()?})),
    }
}

/// The text in a string, or in a list of parts.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// A summary as a compaction item carries it: base64, which says to clients that it is not theirs to read.
#[must_use]
pub fn sealed(summary: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(summary)
}

/// [`sealed`] back; `None` where it is somebody else's.
#[must_use]
pub fn summary_of(sealed: &str) -> Option<String> {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(sealed).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ItemId;
    use crate::domain::item::{assistant_message, user_message};
    use crate::domain::item_json::{Members, push_output};
    use crate::domain::output::Output;
    use crate::domain::tokens::Encoding;

    fn item(json: String) -> Item {
        Item { id: ItemId::parse("msg_1").unwrap(), turn: None, json, tokens: 1, encoding: Encoding::O200k }
    }

    fn said(json: &str) -> Item {
        item(user_message(&ItemId::parse("msg_1").unwrap(), json))
    }

    fn asked(call_id: &str) -> Item {
        item(Members::call(call_id, "f", "{}").with_id(&ItemId::parse("fc_1").unwrap()))
    }

    fn output(call_id: &str, text: &str) -> Item {
        item(json!({"type": "function_call_output", "call_id": call_id, "output": text}).to_string())
    }

    /// Role, text, and the ids of calls.
    fn outline(items: &[Item]) -> Vec<String> {
        let shown = messages(items.iter().map(|item| (item, true)));
        let line = |message: &PromptMessage| match &message.json {
            None => format!("{}: {}", message.role.as_str(), message.text),
            Some(json) => {
                let json: Value = serde_json::from_str(json).unwrap();
                let calls = json["tool_calls"].as_array().into_iter().flatten().map(|call| call["id"].clone());
                let ids: Vec<Value> = calls.chain(json.get("tool_call_id").cloned()).collect();
                format!("{}: {} {}", json["role"].as_str().unwrap(), json["content"], Value::from(ids))
            }
        };
        shown.iter().map(line).collect()
    }

    #[test]
    fn calls_that_stand_together_are_one_message_and_their_outputs_follow() {
        let text = item(assistant_message(&ItemId::parse("msg_2").unwrap(), "Let me see.", "", true));
        let mut thought = String::new();
        push_output(&mut thought, &Output::Reasoning { id: ItemId::parse("rs_1").unwrap(), text: "hm".into() }, "");
        let thought = item(thought);
        let items =
            [said("hi"), thought.clone(), text, asked("a"), thought, asked("b"), output("b", "2"), output("a", "1")];
        let wanted = ["user: hi", r#"assistant: "Let me see." ["a","b"]"#, r#"tool: "1" ["a"]"#, r#"tool: "2" ["b"]"#];
        assert_eq!(outline(&items), wanted);
    }

    #[test]
    fn an_unanswered_call_gets_a_stand_in_and_bricks_nothing() {
        let items = [said("hi"), asked("a"), said("never mind"), output("a", "late")];
        let wanted = ["user: hi", r#"assistant: null ["a"]"#, r#"tool: "late" ["a"]"#, "user: never mind"];
        assert_eq!(outline(&items), wanted);
        assert_eq!(outline(&items[..3])[2], r#"tool: "(no output)" ["a"]"#);
    }

    #[test]
    fn an_output_without_its_call_is_said_where_it_is_new_and_dropped_where_it_is_old() {
        let items = [output("gone", "42"), said("hi")];
        assert_eq!(outline(&items), ["user: Output of the function call gone:\n42", "user: hi"]);
        let old = messages(items.iter().map(|item| (item, false)));
        assert_eq!(old, [PromptMessage::new(Role::User, "hi")]);
    }

    #[test]
    fn images_go_along_and_their_text_is_known() {
        let image = json!({"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
        ]});
        let message = messages([(&item(image.to_string()), true)].into_iter()).remove(0);
        assert_eq!(message.text, "What is this?");
        let json: Value = serde_json::from_str(&message.json.unwrap()).unwrap();
        assert_eq!(json["content"][1]["image_url"], json!({"url": "data:image/png;base64,AA", "detail": "low"}));
        assert_eq!(json["content"][0], json!({"type": "text", "text": "What is this?"}));
    }

    #[test]
    fn a_summary_comes_back() {
        let compaction = json!({"type": "compaction", "encrypted_content": sealed("They spoke of lighthouses.")});
        let messages = messages([(&item(compaction.to_string()), false)].into_iter());
        assert!(messages[0].text.ends_with("so far:\nThey spoke of lighthouses."));
        assert_eq!(summary_of("not ours!"), None);
    }
}
