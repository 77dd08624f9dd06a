//! The JSON of an item: the one writer of what is stored, listed and streamed.
//!
//! Written by hand, because it is written several times a turn. All but the texts are plain words, which need no escape.
//!
//! Source of the shapes: the `Item` schemas of OpenAI's API description.

use std::borrow::Cow;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::ids::ItemId;
use super::json::push_json_string;
use super::output::Output;
use super::tools;

/// The status of an item that is whole.
pub const COMPLETED: &str = "completed";

/// The status of an item that was cut short.
pub const INCOMPLETE: &str = "incomplete";

/// The status of an item that still grows.
pub const IN_PROGRESS: &str = "in_progress";

/// An item that has no id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    kind: Cow<'static, str>,
    /// The members behind the type and the id, each with a comma before it.
    rest: String,
}

impl Members {
    /// An item of this type, without further members.
    pub fn new(kind: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: kind.into(), rest: String::new() }
    }

    /// A message of these parts: JSON objects with commas between them.
    #[must_use]
    pub fn message(role: &str, status: &str, parts: &str) -> Self {
        let mut rest = String::with_capacity(64 + parts.len());
        open_message(&mut rest, role, status);
        rest.push_str(parts);
        rest.push(']');
        Self { kind: "message".into(), rest }
    }

    /// A call of a function.
    #[must_use]
    pub fn call(call_id: &str, name: &str, arguments: &str) -> Self {
        let mut call = Self::new("function_call");
        push_call(&mut call.rest, COMPLETED, call_id, name, ("arguments", arguments));
        call
    }

    /// A call of a custom tool.
    #[must_use]
    pub fn custom_call(call_id: &str, name: &str, input: &str) -> Self {
        let mut call = Self::new("custom_tool_call");
        push_call(&mut call.rest, COMPLETED, call_id, name, ("input", input));
        call
    }

    /// With a text.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        push_text(&mut self.rest, name, value);
        self
    }

    /// With a value that is JSON already.
    #[must_use]
    pub fn json(mut self, name: &str, json: &str) -> Self {
        self.rest.push(',');
        push_json_string(&mut self.rest, name);
        self.rest.push(':');
        self.rest.push_str(json);
        self
    }

    /// The item with its id.
    #[must_use]
    pub fn with_id(&self, id: &ItemId) -> String {
        let mut json = String::with_capacity(self.rest.len() + 96);
        open(&mut json, &self.kind, id);
        json.push_str(&self.rest);
        json.push('}');
        json
    }
}

/// Adds an output of the model as an item; thoughts have no status.
pub fn push_output(out: &mut String, output: &Output, status: &str) {
    match output {
        Output::Message { id, text, refusal } => push_answer(out, id, text, refusal, status),
        Output::Reasoning { id, text } => {
            open(out, "reasoning", id);
            out.push_str(r#","summary":["#);
            push_summary_part(out, text);
            out.push_str("]}");
        }
        Output::Compaction { id, content, .. } => {
            open(out, "compaction", id);
            push_text(out, "encrypted_content", content);
            out.push('}');
        }
        Output::Call { id, call_id, name, arguments, tool, .. } => {
            let (name, namespace) = match tool {
                Some(tool) => (&tool.name, tool.namespace.as_deref()),
                None => (name, None),
            };
            if output.is_custom() {
                open(out, "custom_tool_call", id);
                push_call(out, status, call_id, name, ("input", &tools::input_of(arguments)));
            } else {
                open(out, "function_call", id);
                push_call(out, status, call_id, name, ("arguments", arguments));
            }
            namespace.iter().for_each(|namespace| push_text(out, "namespace", namespace));
            out.push('}');
        }
    }
}

/// Adds an output as it is before anything of it was said.
pub fn push_begun(out: &mut String, output: &Output) {
    match output {
        Output::Message { id, .. } => {
            open(out, "message", id);
            open_message(out, "assistant", IN_PROGRESS);
            out.push_str("]}");
        }
        Output::Reasoning { id, .. } => {
            open(out, "reasoning", id);
            out.push_str(r#","summary":[]}"#);
        }
        Output::Call { .. } | Output::Compaction { .. } => push_output(out, output, IN_PROGRESS),
    }
}

/// Adds the model's message; `refusal` is empty where it refuses nothing.
pub fn push_answer(out: &mut String, id: &ItemId, text: &str, refusal: &str, status: &str) {
    out.reserve(text.len() + text.len() / 8 + refusal.len() + 256);
    open(out, "message", id);
    open_message(out, "assistant", status);
    if refusal.is_empty() || !text.is_empty() {
        push_text_part(out, text);
    }
    if !refusal.is_empty() {
        out.push_str(if text.is_empty() { "" } else { "," });
        push_refusal_part(out, refusal);
    }
    out.push_str("]}");
}

/// Adds a part with a text of the model.
pub fn push_text_part(out: &mut String, text: &str) {
    out.push_str(r#"{"type":"output_text""#);
    push_text(out, "text", text);
    out.push_str(r#","annotations":[],"logprobs":[]}"#);
}

/// Adds a part that is a refusal.
pub fn push_refusal_part(out: &mut String, refusal: &str) {
    push_part(out, "refusal", &[("refusal", refusal)]);
}

/// Adds a part of what the model thought.
pub fn push_summary_part(out: &mut String, text: &str) {
    push_part(out, "summary_text", &[("text", text)]);
}

/// Adds a part with a text that is not the model's.
pub fn push_input_part(out: &mut String, text: &str) {
    push_part(out, "input_text", &[("text", text)]);
}

/// Adds a part of these texts; its type and their names are plain words.
pub fn push_part(out: &mut String, kind: &str, texts: &[(&str, &str)]) {
    for piece in [r#"{"type":""#, kind, r#"""#] {
        out.push_str(piece);
    }
    texts.iter().for_each(|(name, text)| push_text(out, name, text));
    out.push('}');
}

/// Adds the members of a call; what the tool is given has one of two names.
fn push_call(out: &mut String, status: &str, call_id: &str, name: &str, (given, value): (&str, &str)) {
    push_text(out, "status", status);
    push_text(out, "call_id", call_id);
    push_text(out, "name", name);
    push_text(out, given, value);
}

fn open(out: &mut String, kind: &str, id: &ItemId) {
    out.push_str(r#"{"type":"#);
    push_json_string(out, kind);
    push_text(out, "id", id.as_str());
}

/// The members of a message up to its parts.
fn open_message(out: &mut String, role: &str, status: &str) {
    push_text(out, "status", status);
    push_text(out, "role", role);
    out.push_str(r#","content":["#);
}

/// Adds a member; its name is a plain word.
fn push_text(out: &mut String, name: &str, value: &str) {
    for piece in [",\"", name, "\":"] {
        out.push_str(piece);
    }
    push_json_string(out, value);
}

/// The status in an item's JSON, where it has one.
#[must_use]
pub fn status_in(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow)]
        status: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<Status<'_>>(json).ok()?.status
}

/// The same item with this status, every other member byte for byte as it is; `None` for what is no object.
#[must_use]
pub fn with_status(json: &str, status: &str) -> Option<String> {
    let Ordered(members) = serde_json::from_str(json).ok()?;
    let mut out = String::with_capacity(json.len() + 16);
    for (name, value) in members.iter().filter(|(name, _)| name != "status") {
        out.push(if out.is_empty() { '{' } else { ',' });
        push_json_string(&mut out, name);
        out.push(':');
        out.push_str(value.get());
        // Where it stands in every item that has one.
        if name == "id" {
            push_text(&mut out, "status", status);
        }
    }
    out.push('}');
    Some(out)
}

/// The same item without this member, every other one byte for byte as it is; `None` for what is no object.
#[must_use]
pub fn without_member(json: &str, left_out: &str) -> Option<String> {
    let Ordered(members) = serde_json::from_str(json).ok()?;
    let mut out = String::with_capacity(json.len());
    for (name, value) in members.iter().filter(|(name, _)| name != left_out) {
        out.push(if out.is_empty() { '{' } else { ',' });
        push_json_string(&mut out, name);
        out.push(':');
        out.push_str(value.get());
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    Some(out)
}

/// The members of an object, in order.
struct Ordered<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Ordered<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Ordered<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id(text: &str) -> ItemId {
        ItemId::parse(text).unwrap()
    }

    fn written(write: impl FnOnce(&mut String)) -> Value {
        let mut out = String::new();
        write(&mut out);
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn every_output_is_json_whatever_is_in_it() {
        for odd in ["", "{\"a\": 1}", "\"\n\\", "👌"] {
            let call = Output::Call {
                id: id("fc_1"),
                index: 0,
                call_id: odd.into(),
                name: odd.into(),
                arguments: odd.into(),
                tool: None,
            };
            let wanted = json!({"type": "function_call", "id": "fc_1", "status": "completed", "call_id": odd, "name": odd,
                "arguments": odd});
            assert_eq!(written(|out| push_output(out, &call, COMPLETED)), wanted);
            let thought = Output::Reasoning { id: id("rs_1"), text: odd.into() };
            let wanted = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": odd}]});
            assert_eq!(written(|out| push_output(out, &thought, COMPLETED)), wanted);
            let said = Output::message(id("msg_1"), odd.into());
            let part = json!({"type": "output_text", "text": odd, "annotations": [], "logprobs": []});
            let wanted = json!({"type": "message", "id": "msg_1", "status": "incomplete", "role": "assistant",
                "content": [part]});
            assert_eq!(written(|out| push_output(out, &said, INCOMPLETE)), wanted);
        }
    }

    #[test]
    fn what_has_begun_is_empty() {
        let message = written(|out| push_begun(out, &Output::message(id("msg_1"), "Hi".into())));
        assert_eq!((&message["status"], &message["content"]), (&json!("in_progress"), &json!([])));
        let thought = written(|out| push_begun(out, &Output::Reasoning { id: id("rs_1"), text: "Hm".into() }));
        assert_eq!(thought, json!({"type": "reasoning", "id": "rs_1", "summary": []}));
    }

    #[test]
    fn a_status_is_put_where_it_belongs_and_all_else_stays_as_it_is() {
        for (json, wanted) in [
            (
                r#"{"type":"message","id":"m","status":"completed","n": 1.50e2 }"#,
                r#"{"type":"message","id":"m","status":"failed","n":1.50e2}"#,
            ),
            (r#"{"type":"x","id":"m","text":"\u0041"}"#, r#"{"type":"x","id":"m","status":"failed","text":"\u0041"}"#),
        ] {
            assert_eq!(with_status(json, "failed").as_deref(), Some(wanted));
            assert_eq!(status_in(wanted).as_deref(), Some("failed"));
        }
        assert_eq!((with_status("[]", "failed"), status_in("[]"), status_in("{}")), (None, None, None));
    }

    #[test]
    fn members_get_their_id_later() {
        let call = Members::call("a", "f", "{\"x\":1}");
        let wanted = json!({"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "a", "name": "f",
            "arguments": "{\"x\":1}"});
        assert_eq!(serde_json::from_str::<Value>(&call.with_id(&id("fc_1"))).unwrap(), wanted);
        let odd = Members::new("a \"type\"").text("text", "\n").json("n\"", "[1]");
        let wanted = json!({"type": "a \"type\"", "id": "msg_1", "text": "\n", "n\"": [1]});
        assert_eq!(serde_json::from_str::<Value>(&odd.with_id(&id("msg_1"))).unwrap(), wanted);
    }
}
