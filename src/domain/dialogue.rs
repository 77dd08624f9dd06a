//! From items to the messages of a prompt: calls of functions and their outputs stay together, whatever the window cut.
//!
//! Models insist that each call is followed at once by its output, and that there is no output without a call. A history
//! may have it otherwise: a call without an answer, an output whose call was cut off, an output that came later.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::carried;
use super::item::{Item, Role};
use super::message::{Own, forget_idle_thoughts};
use super::provider::ProviderData;
use super::summary::Compacted;
use super::tools::{arguments_of, function_name};

pub use super::message::{FunctionCall, Part, PromptMessage};

/// What stands for the output of a call that has none.
const NO_OUTPUT: &str = "(no output)";

/// What stands before the summary of a longer history.
const SUMMARY: &str = "Summary of the conversation so far:\n";

/// What an item says to a model.
enum Line {
    Message(PromptMessage),
    Call(FunctionCall),
    Output { call_id: String, output: Value },
    Thoughts(String),
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
        namespace: Option<String>,
    },
    CustomToolCall {
        call_id: String,
        name: String,
        input: String,
        namespace: Option<String>,
    },
    #[serde(alias = "custom_tool_call_output")]
    FunctionCallOutput {
        call_id: String,
        output: Value,
    },
    Compaction {
        encrypted_content: String,
    },
    Reasoning {
        #[serde(default)]
        summary: Vec<Value>,
    },
    #[serde(other)]
    Other,
}

/// The messages for `items`, which are in order; `is_new` of an item says that it came with this very request, so that an
/// output whose call is gone is still said.
#[must_use]
pub fn messages<'a>(items: impl Iterator<Item = (&'a Item, bool)>) -> Vec<PromptMessage> {
    let mut lines: Lines = items.map(|(item, is_new)| said_by(item, is_new)).collect();
    let outputs = pair(&mut lines);
    said(lines, outputs)
}

/// The messages for a history that came whole: calls without an output and outputs without a call, which a client that cut
/// or stopped something leaves behind, are in no prompt. Where there is nothing else they are said all the same.
#[must_use]
pub fn messages_of_whole<'a>(items: impl Iterator<Item = &'a Item> + Clone) -> Vec<PromptMessage> {
    let mut lines: Lines = items.clone().map(|item| said_by(item, false)).collect();
    let outputs = pair(&mut lines);
    for (at, (line, ..)) in lines.iter_mut().enumerate() {
        if matches!(line, Line::Call(_)) && !outputs.contains_key(&at) {
            *line = Line::Nothing;
        }
    }
    let said = said(lines, outputs);
    if said.is_empty() { messages(items.map(|item| (item, true))) } else { said }
}

/// What each item says, whether it is new, and what goes back with it.
type Lines = Vec<(Line, bool, Option<ProviderData>)>;

fn said_by(item: &Item, is_new: bool) -> (Line, bool, Option<ProviderData>) {
    (line(item), is_new, carried::carried_by(&item.json))
}

fn said(lines: Lines, outputs: HashMap<usize, Value>) -> Vec<PromptMessage> {
    let mut dialogue = Dialogue { outputs, ..Dialogue::default() };
    for (at, (line, is_new, data)) in lines.into_iter().enumerate() {
        match line {
            Line::Call(call) => {
                dialogue.calls.push((at, call));
                dialogue.own.add(data);
            }
            // Thoughts may stand between the calls of one answer.
            Line::Thoughts(text) => dialogue.own.think(&text, data),
            Line::Nothing => {}
            Line::Message(message) => {
                dialogue.say_calls();
                dialogue.say(message, data);
            }
            Line::Output { call_id, output } => {
                dialogue.say_calls();
                if is_new && !dialogue.answered.contains(&call_id) {
                    dialogue.say(told(&call_id, &output), None);
                }
            }
        }
    }
    dialogue.say_calls();
    dialogue.put_back();
    forget_idle_thoughts(&mut dialogue.messages);
    dialogue.messages
}

/// The outputs of calls, by the calls' places: of each call the newest that came before the next call of the same id.
/// Some servers count their calls anew in every answer. The outputs are taken out of `lines`, whose own turn only comes
/// for those that belong to no call.
fn pair(lines: &mut Lines) -> HashMap<usize, Value> {
    let mut newest: HashMap<&str, usize> = HashMap::new();
    let mut outputs: HashMap<usize, Value> = HashMap::new();
    for (at, (line, ..)) in lines.iter_mut().enumerate() {
        match line {
            Line::Call(call) => {
                newest.insert(&call.call_id, at);
            }
            Line::Output { call_id, output } => {
                if let Some(&call) = newest.get(call_id.as_str()) {
                    outputs.insert(call, std::mem::take(output));
                }
            }
            Line::Message(_) | Line::Thoughts(_) | Line::Nothing => {}
        }
    }
    outputs
}

/// The messages so far.
#[derive(Default)]
struct Dialogue {
    /// By the places of the calls.
    outputs: HashMap<usize, Value>,
    /// Calls that are not in a message yet, with their places.
    calls: Vec<(usize, FunctionCall)>,
    /// The ids of those that are.
    answered: HashSet<String>,
    /// What goes back with the model's next message.
    own: Own,
    messages: Vec<PromptMessage>,
}

impl Dialogue {
    fn say(&mut self, message: PromptMessage, data: Option<ProviderData>) {
        if message.role() == Role::Assistant {
            self.own.add(data);
            let message = self.own.put_to(message);
            self.messages.push(message);
        } else {
            self.put_back();
            self.messages.push(message);
        }
    }

    /// What is left when others speak belongs to the model's message before, where that is the last one.
    fn put_back(&mut self) {
        let is_own = |message: &mut PromptMessage| message.role() == Role::Assistant;
        match self.messages.pop_if(is_own) {
            Some(message) => {
                let message = self.own.take_from(message);
                let message = self.own.put_to(message);
                self.messages.push(message);
            }
            None => self.own = Own::default(),
        }
    }

    /// Calls that stand together are one message, followed by an output each; what of these is no text comes behind them,
    /// since only the person can show a model an image.
    fn say_calls(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        // What the model said before it asked is a part of the same message.
        let is_text = |message: &PromptMessage| matches!(message, PromptMessage::Text { role: Role::Assistant, .. });
        let is_before = |message: &mut PromptMessage| match message {
            PromptMessage::Own { message, .. } => is_text(message),
            message => is_text(message),
        };
        let before = self.messages.pop_if(is_before).map(|message| self.own.take_from(message));
        let text = match before {
            Some(PromptMessage::Text { text, .. }) => text,
            _ => String::new(),
        };
        let mut calls = Vec::with_capacity(self.calls.len());
        let (mut outputs, mut shown) = (Vec::with_capacity(self.calls.len()), Vec::new());
        for (at, call) in self.calls.drain(..) {
            let output = self.outputs.get(&at);
            let text = output.map_or_else(|| NO_OUTPUT.to_owned(), text_of);
            outputs.push(PromptMessage::Output { call_id: call.call_id.clone(), text });
            shown.extend(output.filter(|output| has_more(output)).map(|output| told(&call.call_id, output)));
            self.answered.insert(call.call_id.clone());
            calls.push(call);
        }
        let message = self.own.put_to(PromptMessage::Calls { text, calls });
        self.messages.push(message);
        self.messages.append(&mut outputs);
        self.messages.append(&mut shown);
    }
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
            let parts = [Part::Text(intro)].into_iter().chain(parts.iter().filter_map(part)).collect();
            PromptMessage::Parts { role: Role::User, parts }
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
        Ok(Shape::Message { role, content }) => {
            Line::Message(PromptMessage::Parts { role, parts: content.iter().filter_map(part).collect() })
        }
        Ok(Shape::FunctionCall { call_id, name, arguments, namespace }) => {
            Line::Call(FunctionCall { call_id, name: function_name(namespace.as_deref(), &name), arguments })
        }
        Ok(Shape::CustomToolCall { call_id, name, input, namespace }) => {
            let (name, arguments) = (function_name(namespace.as_deref(), &name), arguments_of(&input));
            Line::Call(FunctionCall { call_id, name, arguments })
        }
        Ok(Shape::FunctionCallOutput { call_id, output }) => Line::Output { call_id, output },
        Ok(Shape::Compaction { encrypted_content }) => match summary_of(&encrypted_content) {
            Some(summary) => Line::Message(PromptMessage::new(Role::System, format!("{SUMMARY}{summary}"))),
            None => Line::Nothing,
        },
        Ok(Shape::Reasoning { summary }) => {
            Line::Thoughts(summary.iter().filter_map(|part| part["text"].as_str()).collect())
        }
        Ok(Shape::Other) | Err(_) => Line::Nothing,
    }
}

fn part(part: &Value) -> Option<Part> {
    let text = |key: &str| part[key].as_str().map(str::to_owned);
    Some(match part["type"].as_str()? {
        "input_image" => Part::Image { url: text("image_url")?, detail: text("detail") },
        "input_file" => {
            Part::File { file_id: text("file_id"), file_data: text("file_data"), filename: text("filename") }
        }
        "refusal" => Part::Text(text("refusal")?),
        _ => Part::Text(text("text")?),
    })
}

/// The text in a string, or in a list of parts.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// A summary as a compaction item carries it.
#[must_use]
pub fn sealed(summary: &str) -> String {
    Compacted { summary: summary.to_owned(), ..Compacted::default() }.sealed()
}

/// [`sealed`] back; `None` where another server made it.
#[must_use]
pub fn summary_of(sealed: &str) -> Option<String> {
    Compacted::of(sealed).map(|compacted| compacted.summary)
}

#[cfg(test)]
mod tests;
