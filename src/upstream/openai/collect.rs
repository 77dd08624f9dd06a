//! A streamed answer put together again: the completion that its chunks amount to. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::calls::{Calls, Mint, Part, Said};

/// The most that is collected, as [`weight`] counts it, about the bytes of the answer's JSON.
const MOST: usize = 8 * 1024 * 1024;

/// What a chunk may say of the whole answer, besides its id, model and time. The last word counts.
const OF_THE_WHOLE: [&str; 4] = ["usage", "service_tier", "system_fingerprint", "moderation"];

/// Parts of a delta that are no text to be continued, though some servers say them with every chunk.
const LABELS: [&str; 5] = ["id", "type", "role", "name", "index"];

/// The answer as far as it has come.
#[derive(Debug)]
pub struct Collector {
    mint: Mint,
    whole: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    weight: usize,
    spoiled: Option<Spoiled>,
}

/// Why there is no completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiled {
    /// It is too large to be kept.
    TooLarge,
    /// A chunk was no chunk.
    Garbage,
}

#[derive(Debug)]
struct Choice {
    calls: Calls,
    /// By their places.
    called: BTreeMap<u32, Map<String, Value>>,
    message: Map<String, Value>,
    logprobs: Map<String, Value>,
    /// `finish_reason`, and what a server says besides.
    rest: Map<String, Value>,
}

impl Collector {
    /// An answer of which nothing has come. Calls without an id get one from `mint`.
    #[must_use]
    pub fn new(mint: Mint) -> Self {
        Self { mint, whole: Map::new(), choices: BTreeMap::new(), weight: 0, spoiled: None }
    }

    /// Takes a chunk's JSON.
    pub fn chunk(&mut self, text: &str) {
        if self.spoiled.is_some() {
            return;
        }
        match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(chunk) => self.take(chunk),
            Err(_) => self.spoil(Spoiled::Garbage),
        }
        if self.weight > MOST {
            self.spoil(Spoiled::TooLarge);
        }
    }

    fn spoil(&mut self, why: Spoiled) {
        *self = Self { spoiled: Some(why), ..Self::new(self.mint.clone()) };
    }

    fn take(&mut self, mut chunk: Map<String, Value>) {
        for name in ["model", "created"] {
            if let Some(value) = chunk.remove(name).filter(|value| !value.is_null() && value != "") {
                self.whole.entry(name).or_insert(value);
            }
        }
        for name in OF_THE_WHOLE {
            if let Some(value) = chunk.remove(name).filter(|value| !value.is_null()) {
                self.whole.insert(name.to_owned(), value);
            }
        }
        let Some(Value::Array(choices)) = chunk.remove("choices") else { return };
        for choice in choices {
            let Value::Object(choice) = choice else { return self.spoil(Spoiled::Garbage) };
            self.weight += choice.values().map(weight).sum::<usize>();
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            self.choices.entry(index).or_insert_with(|| Choice::new(self.mint.clone())).take(choice);
        }
    }

    /// The completion: the JSON of an object without `id`; `model` and `created` where the server said none.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn completion(self, model: &str, created: i64) -> Result<Value, Spoiled> {
        if let Some(why) = self.spoiled {
            return Err(why);
        }
        if self.choices.is_empty() {
            return Err(Spoiled::Garbage);
        }
        let mut whole = self.whole;
        whole.insert("object".to_owned(), json!("chat.completion"));
        whole.entry("model").or_insert_with(|| json!(model));
        whole.entry("created").or_insert_with(|| json!(created));
        let choices = self.choices.into_iter().map(|(index, choice)| choice.whole(index)).collect();
        whole.insert("choices".to_owned(), Value::Array(choices));
        Ok(Value::Object(whole))
    }
}

impl Choice {
    fn new(mint: Mint) -> Self {
        let [message, logprobs, rest] = std::array::from_fn(|_| Map::new());
        Self { calls: Calls::new(mint), called: BTreeMap::new(), message, logprobs, rest }
    }

    /// Adds the parts of calls to the calls that they are of.
    fn call(&mut self, parts: Vec<Value>) {
        let parts: Vec<Map<String, Value>> = parts
            .into_iter()
            .filter_map(|part| match part {
                Value::Object(part) => Some(part),
                _ => None,
            })
            .collect();
        let arguments: Vec<String> = parts.iter().map(arguments_of).collect();
        let said = self.calls.take(parts.iter().zip(&arguments).map(|(part, arguments)| part_of(part, arguments)));
        for (said, mut part) in said.into_iter().zip(parts) {
            let Some(said) = said else { continue };
            for own in ["index", "id", "function"] {
                part.remove(own);
            }
            let call = self.called.entry(said.place).or_default();
            grow(call, part);
            add(call, &said);
        }
    }

    fn take(&mut self, choice: Map<String, Value>) {
        for (name, value) in choice {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("delta", Value::Object(mut delta)) => {
                    if let Some(Value::Array(parts)) = delta.remove("tool_calls") {
                        self.call(parts);
                    }
                    grow(&mut self.message, delta);
                }
                ("logprobs", Value::Object(logprobs)) => grow(&mut self.logprobs, logprobs),
                ("delta" | "logprobs" | "index", _) => {}
                (_, value) => drop(self.rest.insert(name, value)),
            }
        }
    }

    fn whole(self, index: u64) -> Value {
        let Self { mut calls, mut called, mut message, mut logprobs, mut rest } = self;
        for said in calls.close() {
            add(called.entry(said.place).or_default(), &said);
        }
        if !called.is_empty() {
            let order = calls.counted().unwrap_or_else(|| called.keys().copied().collect());
            let list = order.iter().filter_map(|place| called.remove(place)).map(Value::Object).collect();
            message.insert("tool_calls".to_owned(), Value::Array(list));
        }
        message.insert("role".to_owned(), json!("assistant"));
        message.entry("refusal").or_insert(Value::Null);
        // Who calls or refuses says nothing, which is null and not an empty text.
        let says_else = ["tool_calls", "function_call", "refusal"].iter().any(|name| {
            message.get(*name).is_some_and(|value| !value.is_null() && *value != json!("") && *value != json!([]))
        });
        let content = message.entry("content").or_insert(Value::Null);
        if says_else && content == "" {
            *content = Value::Null;
        }
        let logprobs = match logprobs.is_empty() {
            true => Value::Null,
            false => {
                for part in ["content", "refusal"] {
                    logprobs.entry(part).or_insert(Value::Null);
                }
                Value::Object(logprobs)
            }
        };
        rest.insert("index".to_owned(), json!(index));
        rest.insert("message".to_owned(), Value::Object(message));
        rest.insert("logprobs".to_owned(), logprobs);
        rest.entry("finish_reason").or_insert_with(|| json!("stop"));
        Value::Object(rest)
    }
}

/// What the assembler is to know of a part.
fn part_of<'a>(part: &'a Map<String, Value>, arguments: &'a str) -> Part<'a> {
    let text = |value: Option<&'a Value>| value.and_then(Value::as_str).unwrap_or_default();
    let index = part.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
    let name = text(part.get("function").and_then(|function| function.get("name")));
    Part { index, id: text(part.get("id")), name, arguments }
}

/// Arguments as text, whether they came as text or as JSON.
fn arguments_of(part: &Map<String, Value>) -> String {
    match part.get("function").and_then(|function| function.get("arguments")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(object)) if !object.is_empty() => Value::Object(object.clone()).to_string(),
        _ => String::new(),
    }
}

/// Adds what a part says to its call.
fn add(call: &mut Map<String, Value>, said: &Said) {
    if let Some((id, name)) = &said.head {
        call.insert("id".to_owned(), json!(id));
        call.insert("type".to_owned(), json!("function"));
        call.insert("function".to_owned(), json!({"name": name, "arguments": ""}));
    }
    if let Some(Value::String(arguments)) = call.get_mut("function").and_then(|function| function.get_mut("arguments"))
    {
        arguments.push_str(&said.arguments);
    }
}

/// Adds a delta: texts go on, lists too, and what has an index goes where that says.
fn grow(into: &mut Map<String, Value>, delta: Map<String, Value>) {
    for (name, new) in delta {
        let is_label = LABELS.contains(&name.as_str());
        match (into.get_mut(&name), new) {
            (Some(_), Value::Null) => {}
            (Some(Value::String(old)), Value::String(_)) if is_label && !old.is_empty() => {}
            (Some(Value::String(old)), Value::String(new)) if !is_label => old.push_str(&new),
            (Some(Value::Object(old)), Value::Object(new)) => grow(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => join(old, new),
            (None | Some(Value::Null), Value::Array(new)) => {
                let mut list = Vec::new();
                join(&mut list, new);
                into.insert(name, Value::Array(list));
            }
            (_, new) => drop(into.insert(name, new)),
        }
    }
}

fn join(list: &mut Vec<Value>, new: Vec<Value>) {
    for entry in new {
        let Value::Object(entry) = entry else {
            list.push(entry);
            continue;
        };
        let index = entry.get("index").and_then(Value::as_u64);
        let begun = index.and_then(|index| list.iter_mut().find(|old| old["index"].as_u64() == Some(index)));
        match begun {
            Some(Value::Object(old)) => grow(old, entry),
            _ => list.push(Value::Object(entry)),
        }
    }
}

/// About how much memory a value takes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 8 + text.len(),
        Value::Array(list) => 8 + list.iter().map(weight).sum::<usize>(),
        Value::Object(map) => map.iter().map(|(key, value)| 16 + key.len() + weight(value)).sum(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests;
