//! A model that behaves: what it says follows from what it was shown, so that the tests of real clients can compare
//! every word, and see from an answer whether the whole history went up.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::completion::Usage;
use crate::faults::{Fault, magic};
use crate::gate::Gate;
use crate::record::RecordedRequest;
use crate::reply::Reply;
use crate::steps::Step;

/// How deep a JSON schema is followed: one that refers to itself has to end somewhere.
const DEEPEST: usize = 16;

/// A responder for [`FakeOpenAi::set_responder`](crate::FakeOpenAi::set_responder), which answers, in this order:
///
/// - to the outputs of tools: `The tool said: OUTPUT.`, or `The tools said: ONE; TWO.`
/// - `!wait NAME`: some words, then the rest once a call has come with the prompt `!open NAME`; that one answers
///   `Opened NAME.` A name serves once.
/// - `!once NAME FAULT`: that fault, and when the same prompt comes again, `Well, NAME.`
/// - what [`magic`] knows
/// - calls of the tools that the prompt names, or of the one that `tool_choice` demands, with arguments made from
///   their schema as below
/// - to a JSON schema: its first `enum` value, `const`, or else the property's name for a string, 7 for a number, true,
///   and one element for an array
/// - to any other prompt: `Answer N to "PROMPT", after "EARLIER", "PROMPTS". Told "SYSTEM". Tools said "OUTPUT". With I
///   image(s).`, without what there is none of; N counts what it has said so far. Where the request has
///   `reasoning_effort`, `Let me think.` goes before as reasoning.
pub fn assistant() -> impl FnMut(&RecordedRequest) -> Reply + Send {
    let mut memory = Memory::default();
    move |request| answer(&mut memory, request)
}

/// What it knows of earlier calls.
#[derive(Default)]
struct Memory {
    gates: HashMap<String, Gate>,
    failed: HashSet<String>,
}

fn answer(memory: &mut Memory, request: &RecordedRequest) -> Reply {
    let outputs = new_outputs(request);
    if !outputs.is_empty() {
        let tools = if outputs.len() == 1 { "tool" } else { "tools" };
        return Reply::text(format!("The {tools} said: {}.", outputs.join("; ")));
    }
    let command = memory.command(&request.last_prompt()).or_else(|| magic(request));
    command.or_else(|| calls(request)).or_else(|| structured(request)).unwrap_or_else(|| said(request))
}

impl Memory {
    fn command(&mut self, prompt: &str) -> Option<Reply> {
        let (command, rest) = prompt.trim().strip_prefix('!')?.split_once(' ')?;
        match command {
            "wait" => {
                let before = Reply::text("These words come before the gate.").then(Step::Flush);
                Some(before.then_wait(self.gate(rest)).then_text(" These come after it."))
            }
            "open" => {
                self.gate(rest).open();
                Some(Reply::text(format!("Opened {rest}.")))
            }
            "once" => {
                let (name, fault) = rest.split_once(' ')?;
                match self.failed.insert(name.to_owned()) {
                    true => Fault::named(fault).map(Fault::reply),
                    false => Some(Reply::text(format!("Well, {name}."))),
                }
            }
            _ => None,
        }
    }

    fn gate(&mut self, name: &str) -> &Gate {
        self.gates.entry(name.to_owned()).or_default()
    }
}

/// The outputs of tools that came after the last other message.
fn new_outputs(request: &RecordedRequest) -> Vec<String> {
    let conversation = request.conversation();
    let newest_first = conversation.into_iter().rev().take_while(|(role, _)| role == "tool");
    let mut outputs: Vec<String> = newest_first.map(|(_, text)| text).collect();
    outputs.reverse();
    outputs
}

/// Calls of tools, where the request wants them.
fn calls(request: &RecordedRequest) -> Option<Reply> {
    let tools: Vec<&Value> = request.json["tools"].as_array()?.iter().map(|tool| &tool["function"]).collect();
    let choice = &request.json["tool_choice"];
    let prompt = request.last_prompt();
    let is_named = |tool: &&Value| tool["name"].as_str().is_some_and(|name| prompt.contains(name));
    let mut chosen: Vec<&Value> = match (choice.as_str(), choice["function"]["name"].as_str()) {
        (Some("none"), _) => Vec::new(),
        (_, Some(demanded)) => tools.iter().copied().filter(|tool| tool["name"] == demanded).collect(),
        _ => tools.iter().copied().filter(is_named).collect(),
    };
    if chosen.is_empty() && choice == "required" {
        chosen.extend(tools.first());
    }
    if chosen.is_empty() {
        return None;
    }
    let call = |reply: Reply, (n, tool): (usize, &&Value)| {
        let arguments = sample(&tool["parameters"], &tool["parameters"], "", DEEPEST).to_string();
        let name = tool["name"].as_str().unwrap_or_default();
        reply.then_tool_call(format!("call_fake{}_{n}", request.index), name, arguments)
    };
    Some(chosen.iter().enumerate().fold(Reply::empty(), call))
}

/// JSON, where the request wants it.
fn structured(request: &RecordedRequest) -> Option<Reply> {
    let format = &request.json["response_format"];
    match format["type"].as_str()? {
        "json_schema" => {
            let schema = &format["json_schema"]["schema"];
            Some(Reply::text(sample(schema, schema, "", DEEPEST).to_string()))
        }
        "json_object" => Some(Reply::text(json!({"prompt": request.last_prompt()}).to_string())),
        _ => None,
    }
}

/// A value that fits `schema`, a part of `root`; `name` is the property's.
fn sample(root: &Value, schema: &Value, name: &str, deepest: usize) -> Value {
    if deepest == 0 {
        return Value::Null;
    }
    let sample = |schema: &Value, name: &str| sample(root, schema, name, deepest - 1);
    if let Some(target) = schema["$ref"].as_str().and_then(|path| root.pointer(path.trim_start_matches('#'))) {
        return sample(target, name);
    }
    let variants = ["anyOf", "oneOf", "allOf"].into_iter().find_map(|key| schema[key].get(0));
    if let Some(known) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return known.clone();
    }
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("string") => json!(name),
        Some("number" | "integer") => json!(7),
        Some("boolean") => json!(true),
        Some("array") => json!([sample(&schema["items"], name)]),
        Some("null") => Value::Null,
        None if variants.is_some() => variants.map_or(Value::Null, |variant| sample(variant, name)),
        _ => {
            let none = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none);
            properties.iter().map(|(name, schema)| (name.clone(), sample(schema, name))).collect()
        }
    }
}

/// All that was shown to it, in a sentence or some.
fn said(request: &RecordedRequest) -> Reply {
    let conversation = request.conversation();
    let of = |roles: &[&str]| -> Vec<String> {
        let texts = conversation.iter().filter(|(role, text)| roles.contains(&role.as_str()) && !text.is_empty());
        texts.map(|(_, text)| format!("\"{text}\"")).collect()
    };
    let prompts = of(&["user"]);
    let (now, before) = prompts.split_last().map_or((r#""""#, &[][..]), |(now, before)| (now, before));
    let mut text = format!("Answer {} to {now}", of(&["assistant"]).len() + 1);
    if !before.is_empty() {
        text += &format!(", after {}", before.join(", "));
    }
    text += ".";
    for (verb, texts) in [("Told", of(&["system", "developer"])), ("Tools said", of(&["tool"]))] {
        if !texts.is_empty() {
            text += &format!(" {verb} {}.", texts.join(", "));
        }
    }
    match images(request) {
        0 => {}
        1 => text += " With 1 image.",
        images => text += &format!(" With {images} images."),
    }
    match request.json["reasoning_effort"].as_str() {
        None | Some("none") => Reply::text(text),
        Some(_) => {
            let usage = Usage { reasoning: 3, ..Usage::default() };
            Reply::reasoning("Let me think.").then_text(text).usage_details(usage)
        }
    }
}

fn images(request: &RecordedRequest) -> usize {
    let parts = request.messages().iter().filter_map(|message| message["content"].as_array()).flatten();
    parts.filter(|part| part["type"] == "image_url").count()
}
