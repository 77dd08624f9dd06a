//! From items to the messages of a prompt: calls of functions and their outputs stay together, whatever the window cut.
//!
//! Models insist that each call is followed at once by its output, and that there is no output without a call. A history
//! may have it otherwise: a call without an answer, an output whose call was cut off, an output that came later.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::item::{Item, Role};
use super::summary::Compacted;
use super::tools::{arguments_of, function_name};

/// One message of a prompt. Each upstream puts it into its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptMessage {
    /// A role and a text.
    Text {
        /// Who speaks.
        role: Role,
        /// What is said.
        text: String,
    },
    /// Texts with images or files between them.
    Parts {
        /// Who speaks.
        role: Role,
        /// In order.
        parts: Vec<Part>,
    },
    /// The model asks for functions to be called. An [`PromptMessage::Output`] for each follows at once.
    Calls {
        /// What it said before it asked; often empty.
        text: String,
        /// At least one.
        calls: Vec<FunctionCall>,
    },
    /// What a function gave back.
    Output {
        /// The call that it answers.
        call_id: String,
        /// What the model is shown of it.
        text: String,
    },
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// An address, or the image itself as a `data:` URL.
        url: String,
        /// How closely it is to be looked at.
        detail: Option<String>,
    },
    /// A file, by its id at the upstream or with what is in it.
    File {
        /// Its id.
        file_id: Option<String>,
        /// What is in it, as a `data:` URL.
        file_data: Option<String>,
        /// Its name.
        filename: Option<String>,
    },
}

/// A call of a function, as a model asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCall {
    /// What its output names.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// JSON, as the model wrote it.
    pub arguments: String,
}

/// What stands for the output of a call that has none.
const NO_OUTPUT: &str = "(no output)";

/// What stands before the summary of a longer history.
const SUMMARY: &str = "Summary of the conversation so far:\n";

impl PromptMessage {
    /// A role and a text.
    #[must_use]
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self::Text { role, text: text.into() }
    }

    /// On whose side of the conversation it stands.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Text { role, .. } | Self::Parts { role, .. } => *role,
            Self::Calls { .. } => Role::Assistant,
            Self::Output { .. } => Role::User,
        }
    }

    /// All its text; of calls, their arguments, too.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text { text, .. } | Self::Output { text, .. } => Cow::Borrowed(text),
            Self::Parts { parts, .. } => {
                let texts = parts.iter().filter_map(|part| match part {
                    Part::Text(text) => Some(text.as_str()),
                    Part::Image { .. } | Part::File { .. } => None,
                });
                Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
            }
            Self::Calls { text, calls } => {
                Cow::Owned(calls.iter().fold(text.clone(), |text, call| text + &call.arguments))
            }
        }
    }
}

/// What an item says to a model.
enum Line {
    Message(PromptMessage),
    Call(FunctionCall),
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
    #[serde(other)]
    Other,
}

/// The messages for `items`, which are in order; `is_new` of an item says that it came with this very request, so that an
/// output whose call is gone is still said.
#[must_use]
pub fn messages<'a>(items: impl Iterator<Item = (&'a Item, bool)>) -> Vec<PromptMessage> {
    let mut lines: Vec<(Line, bool)> = items.map(|(item, is_new)| (line(item), is_new)).collect();
    let outputs = pair(&mut lines);
    said(lines, outputs)
}

/// The messages for a history that came whole: calls without an output and outputs without a call, which a client that cut
/// or stopped something leaves behind, are in no prompt. Where there is nothing else they are said all the same.
#[must_use]
pub fn messages_of_whole<'a>(items: impl Iterator<Item = &'a Item> + Clone) -> Vec<PromptMessage> {
    let mut lines: Vec<(Line, bool)> = items.clone().map(|item| (line(item), false)).collect();
    let outputs = pair(&mut lines);
    for (at, (line, _)) in lines.iter_mut().enumerate() {
        if matches!(line, Line::Call(_)) && !outputs.contains_key(&at) {
            *line = Line::Nothing;
        }
    }
    let said = said(lines, outputs);
    if said.is_empty() { messages(items.map(|item| (item, true))) } else { said }
}

fn said(lines: Vec<(Line, bool)>, outputs: HashMap<usize, Value>) -> Vec<PromptMessage> {
    let mut dialogue = Dialogue { outputs, calls: Vec::new(), answered: HashSet::new(), messages: Vec::new() };
    for (at, (line, is_new)) in lines.into_iter().enumerate() {
        match line {
            Line::Call(call) => dialogue.calls.push((at, call)),
            // Thoughts may stand between the calls of one answer.
            Line::Nothing => {}
            Line::Message(message) => {
                dialogue.say_calls();
                dialogue.messages.push(message);
            }
            Line::Output { call_id, output } => {
                dialogue.say_calls();
                if is_new && !dialogue.answered.contains(&call_id) {
                    dialogue.messages.push(told(&call_id, &output));
                }
            }
        }
    }
    dialogue.say_calls();
    dialogue.messages
}

/// The outputs of calls, by the calls' places: of each call the newest that came before the next call of the same id.
/// Some servers count their calls anew in every answer. The outputs are taken out of `lines`, whose own turn only comes
/// for those that belong to no call.
fn pair(lines: &mut [(Line, bool)]) -> HashMap<usize, Value> {
    let mut newest: HashMap<&str, usize> = HashMap::new();
    let mut outputs: HashMap<usize, Value> = HashMap::new();
    for (at, (line, _)) in lines.iter_mut().enumerate() {
        match line {
            Line::Call(call) => {
                newest.insert(&call.call_id, at);
            }
            Line::Output { call_id, output } => {
                if let Some(&call) = newest.get(call_id.as_str()) {
                    outputs.insert(call, std::mem::take(output));
                }
            }
            Line::Message(_) | Line::Nothing => {}
        }
    }
    outputs
}

/// The messages so far.
struct Dialogue {
    /// By the places of the calls.
    outputs: HashMap<usize, Value>,
    /// Calls that are not in a message yet, with their places.
    calls: Vec<(usize, FunctionCall)>,
    /// The ids of those that are.
    answered: HashSet<String>,
    messages: Vec<PromptMessage>,
}

impl Dialogue {
    /// Calls that stand together are one message, followed by an output each; what of these is no text comes behind them,
    /// since only the person can show a model an image.
    fn say_calls(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        // What the model said before it asked is a part of the same message.
        let is_before =
            |message: &mut PromptMessage| matches!(message, PromptMessage::Text { role: Role::Assistant, .. });
        let text = match self.messages.pop_if(is_before) {
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
        self.messages.push(PromptMessage::Calls { text, calls });
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
