//! What a model's server wants back of its own answer, gathered from all of its chunks.
//!
//! A stream brings a member in pieces. They are joined as the SDKs of OpenAI and OpenRouter join them: texts one after
//! another, objects by their names, and lists by the `index`, `type` and `id` of their entries.

use serde_json::{Map, Value};

use super::wire::{Extras, ToolCall, WireMessage};
use crate::domain::delta::Delta;
use crate::domain::provider::{ProviderData, ThoughtsMember};

/// The most bytes of an answer's members that are kept. Signatures and sealed thoughts take some kilobytes.
const MOST_BYTES: usize = 1024 * 1024;

/// What is gathered so far.
#[derive(Debug, Default)]
pub struct Kept {
    data: ProviderData,
    bytes: usize,
    /// Whether the name of the thoughts was told.
    named: bool,
    /// The member that had no thoughts in it.
    empty: Option<ThoughtsMember>,
    has_calls: bool,
}

impl Kept {
    /// Of an answer of this origin.
    #[must_use]
    pub fn of(origin: String) -> Self {
        Self { data: ProviderData { origin, ..ProviderData::default() }, ..Self::default() }
    }

    /// Adds what a message or a part of one says; gives the name of the thoughts once, before the first of them.
    pub fn message(&mut self, said: &WireMessage<'_>) -> Option<Delta> {
        for (name, value) in self.read(&said.extras) {
            join_member(&mut self.data.members, name, value);
        }
        let (thoughts, member) = said.thoughts();
        if thoughts.is_empty() {
            self.empty = self.empty.or(member);
            return None;
        }
        if std::mem::replace(&mut self.named, true) {
            return None;
        }
        let origin = self.data.origin.clone();
        let data = Box::new(ProviderData { origin, thoughts: member, ..ProviderData::default() });
        Some(Delta::Provider { data })
    }

    /// Adds what the call of this number says, or a part of it.
    pub fn call(&mut self, index: u32, call: &ToolCall<'_>) {
        self.has_calls = true;
        let of_function = call.function.as_ref().map(|function| &function.extras);
        for (place, extras) in [("call", Some(&call.extras)), ("function", of_function)] {
            for (name, value) in extras.map(|extras| self.read(extras)).unwrap_or_default() {
                let call = self.data.calls.entry(index.to_string()).or_insert_with(|| Map::new().into());
                let Value::Object(call) = call else { continue };
                let at = call.entry(place).or_insert_with(|| Map::new().into());
                if let Value::Object(members) = at {
                    join_member(members, name, value);
                }
            }
        }
    }

    /// All of it, once the answer is whole.
    pub fn take(&mut self) -> Option<Delta> {
        let origin = self.data.origin.clone();
        // DeepSeek insists on the member, where the model has called functions without a thought.
        if self.has_calls && !std::mem::replace(&mut self.named, true) {
            self.data.thoughts = self.empty;
        }
        let data = std::mem::replace(&mut self.data, ProviderData { origin, ..ProviderData::default() });
        (!data.is_empty()).then(|| Delta::Provider { data: Box::new(data) })
    }

    fn read(&mut self, extras: &Extras<'_>) -> Vec<(String, Value)> {
        let mut read = Vec::with_capacity(extras.len());
        for (name, value) in extras {
            self.bytes += value.get().len();
            match serde_json::from_str(value.get()) {
                Ok(value) if self.bytes <= MOST_BYTES => read.push((name.as_ref().to_owned(), value)),
                _ => tracing::debug!(
                    member = name.as_ref(),
                    "a member of the model's message is too large to be given back"
                ),
            }
        }
        read
    }
}

/// Joins a member to those of the same object.
fn join_member(members: &mut Map<String, Value>, name: String, more: Value) {
    match members.get_mut(&name) {
        Some(known) => join(&name, known, more),
        None => drop(members.insert(name, more)),
    }
}

fn join(name: &str, known: &mut Value, more: Value) {
    match (known, more) {
        (_, Value::Null) => {}
        (Value::String(known), Value::String(more)) if goes_on(name) && *known != more => known.push_str(&more),
        (Value::Object(known), Value::Object(more)) => {
            more.into_iter().for_each(|(name, more)| join_member(known, name, more));
        }
        (Value::Array(known), Value::Array(more)) => more.into_iter().for_each(|more| join_entry(known, more)),
        (known, more) => *known = more,
    }
}

/// Whether a text of this name comes in pieces. Signatures and names come whole, and count as they came last.
fn goes_on(name: &str) -> bool {
    !matches!(name, "id" | "type" | "format" | "role" | "name" | "object") && !name.contains("signature")
}

/// Joins an entry to the one of a list that it goes on, or adds it.
fn join_entry(known: &mut Vec<Value>, more: Value) {
    let is_known = |entry: &&mut Value| {
        // Without a number, only what follows at once goes on.
        let by_index = entry.get("index").zip(more.get("index")).is_some_and(|(index, more)| index == more);
        by_index && ["type", "id"].iter().all(|name| agrees(entry.get(name), more.get(name)))
    };
    let place = match more.get("index") {
        Some(_) => known.iter_mut().find(is_known),
        None => known.last_mut().filter(|entry| {
            let goes_on = more["type"] == "reasoning.text" || more["type"] == "reasoning.summary";
            goes_on
                && entry.get("index").is_none()
                && ["type", "id"].iter().all(|name| agrees(entry.get(name), more.get(name)))
        }),
    };
    match place {
        Some(entry) => join("", entry, more),
        None => known.push(more),
    }
}

/// Whether two members may be those of one entry: a piece need not repeat what the first one said.
fn agrees(known: Option<&Value>, more: Option<&Value>) -> bool {
    match (known, more) {
        (Some(known), Some(more)) => known == more || known.is_null() || more.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is gathered of these messages.
    fn gathered(messages: &[Value]) -> ProviderData {
        let mut kept = Kept::of("o".into());
        for message in messages {
            let text = message.to_string();
            let said: WireMessage<'_> = serde_json::from_str(&text).unwrap();
            kept.message(&said);
            for (index, call) in (0..).zip(said.tool_calls.iter().flatten()) {
                kept.call(call.index.unwrap_or(index), call);
            }
        }
        match kept.take() {
            Some(Delta::Provider { data }) => *data,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reasoning_details_are_joined_by_index_type_and_id() {
        let detail = |index: u32, kind: &str, more: Value| {
            let mut detail = json!({"index": index, "type": kind, "format": "f"});
            detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"content": "", "reasoning_details": [detail]})
        };
        let chunks = [
            detail(0, "reasoning.text", json!({"text": "Let ", "id": "r1", "signature": null})),
            detail(0, "reasoning.text", json!({"text": "me see.", "id": null})),
            detail(0, "reasoning.text", json!({"text": "", "signature": "sig"})),
            detail(0, "reasoning.encrypted", json!({"data": "AB", "id": "r2"})),
            detail(1, "reasoning.summary", json!({"summary": "Saw"})),
            detail(1, "reasoning.summary", json!({"summary": " it."})),
            detail(0, "reasoning.encrypted", json!({"data": "CD", "id": "r3"})),
        ];
        let wanted = json!([
            {"index": 0, "type": "reasoning.text", "format": "f", "text": "Let me see.", "id": "r1", "signature": "sig"},
            {"index": 0, "type": "reasoning.encrypted", "format": "f", "data": "AB", "id": "r2"},
            {"index": 1, "type": "reasoning.summary", "format": "f", "summary": "Saw it."},
            {"index": 0, "type": "reasoning.encrypted", "format": "f", "data": "CD", "id": "r3"},
        ]);
        assert_eq!(gathered(&chunks).members["reasoning_details"], wanted);
        let plain = [json!({"reasoning_details": wanted})];
        assert_eq!(gathered(&plain).members["reasoning_details"], wanted);
    }

    #[test]
    fn details_without_a_number_go_on_at_once_or_stand_apart() {
        let text = |text: &str| json!({"reasoning_details": [{"type": "reasoning.text", "text": text}]});
        let sealed = |data: &str| json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": data}]});
        let wanted = json!([{"type": "reasoning.text", "text": "ab"}, {"type": "reasoning.encrypted", "data": "x"},
            {"type": "reasoning.encrypted", "data": "y"}, {"type": "reasoning.text", "text": "c"}]);
        let all = [text("a"), text("b"), sealed("x"), sealed("y"), text("c")];
        assert_eq!(gathered(&all).members["reasoning_details"], wanted);
    }

    #[test]
    fn signatures_and_unknown_members_are_kept_where_they_were() {
        let signed = |signature: &str| json!({"google": {"thought_signature": signature}});
        let data = gathered(&[
            json!({"role": "assistant", "content": "Hi", "annotations": [], "audio": null, "mood": "cal"}),
            json!({"tool_calls": [{"index": 2, "id": "a", "type": "function", "extra_content": signed("s"),
                "function": {"name": "f", "arguments": "{}", "hint": 1}}]}),
            json!({"content": null, "mood": "m", "extra_content": signed("t")}),
        ]);
        assert_eq!(Value::from(data.members), json!({"mood": "calm", "extra_content": signed("t")}));
        let calls = json!({"2": {"call": {"extra_content": signed("s")}, "function": {"hint": 1}}});
        assert_eq!(Value::from(data.calls), calls);
    }

    #[test]
    fn what_is_too_large_to_be_given_back_is_left_out() {
        let large = "x".repeat(MOST_BYTES);
        let data = gathered(&[json!({"small": 1}), json!({"large": large})]);
        assert_eq!(Value::from(data.members), json!({"small": 1}));
    }
}
