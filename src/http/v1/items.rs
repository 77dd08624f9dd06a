//! Items as clients send them, in all the shapes that they have: brought into the one shape in which they are stored.
//!
//! Source of the shapes: the `ItemParam` schemas of the Open Responses specification, and what SDKs really send.

mod parts;

use serde_json::{Map, Value};

use self::parts::{Parts, optional, text};
use super::error::OpenAiError;
use super::fields::{missing, wrong_type, wrong_value};
use crate::domain::carried;
use crate::domain::ids::{ItemId, ItemKind, TurnId};
use crate::domain::item::Item;
use crate::domain::item_json::{COMPLETED, INCOMPLETE, Members};
use crate::domain::json::json_of;
use crate::domain::model;
use crate::domain::provider::{ProviderData, ThoughtsMember};
use crate::domain::summary::Compacted;

/// What an image is taken to cost in a prompt, in tokens: one of middling size in high detail.
/// Source: OpenAI's guide to images, 765 for 1024 by 1024.
const IMAGE_TOKENS: u32 = 765;

/// An item that a client sent.
#[derive(Debug, Clone)]
pub enum InputItem {
    /// One that is new here, whatever id it came with.
    New(NewItem),
    /// One that is stored already.
    Reference(ItemId),
}

/// An item that is to be stored, and is to get an id.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// What its id will start with.
    pub kind: ItemKind,
    members: Members,
    /// What of it is counted in tokens.
    pub(super) texts: String,
    images: u32,
}

/// Reads `input` or `items`: a text, or a list of items.
///
/// # Errors
/// What is wrong, with the path to it.
pub fn read(input: Value, param: &str) -> Result<Vec<InputItem>, OpenAiError> {
    match input {
        Value::String(said) => {
            let mut parts = Parts::default();
            parts.text("user", &said);
            Ok(vec![InputItem::New(NewItem::message("user", COMPLETED, parts))])
        }
        Value::Array(list) => {
            list.into_iter().enumerate().map(|(place, item)| one(item, &format!("{param}[{place}]"))).collect()
        }
        other => Err(wrong_type(param, "a string or an array", &other)),
    }
}

fn one(item: Value, param: &str) -> Result<InputItem, OpenAiError> {
    let Value::Object(item) = item else { return Err(wrong_type(param, "an object", &item)) };
    let kind = match item.get("type") {
        None | Some(Value::Null) if item.get("role").is_some_and(|role| !role.is_null()) => "message",
        None | Some(Value::Null) if item.contains_key("id") => "item_reference",
        None | Some(Value::Null) => return Err(missing(&format!("{param}.type"))),
        Some(Value::String(kind)) => kind.as_str(),
        Some(other) => return Err(wrong_type(&format!("{param}.type"), "a string", other)),
    };
    let new = match kind {
        "message" => message_of(&item, param)?,
        "function_call" => call_of(&item, param)?,
        "custom_tool_call" => custom_call_of(&item, param)?,
        "function_call_output" | "custom_tool_call_output" => output_of(kind, &item, param)?,
        "reasoning" => reasoning_of(&item, param)?,
        "compaction" => compaction_of(&item, param)?,
        "item_reference" => {
            let id = text(&item, "id", param)?;
            return ItemId::parse(id).map(InputItem::Reference).ok_or_else(|| no_item(param));
        }
        _ => other_of(kind, &item, param)?,
    };
    Ok(InputItem::New(new))
}

/// A reference to an item that this server does not have.
#[must_use]
pub fn no_item(param: &str) -> OpenAiError {
    let message = "There is no item with this id.";
    OpenAiError::new(axum::http::StatusCode::NOT_FOUND, "invalid_request_error", "item_not_found", message).param(param)
}

fn message_of(item: &Map<String, Value>, param: &str) -> Result<NewItem, OpenAiError> {
    const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];
    let role = text(item, "role", param)?;
    if !ROLES.contains(&role) {
        return Err(wrong_value(&format!("{param}.role"), &ROLES));
    }
    let at = format!("{param}.content");
    let mut parts = Parts::default();
    match item.get("content") {
        None | Some(Value::Null) => return Err(missing(&at)),
        Some(Value::String(said)) => parts.text(role, said),
        Some(Value::Array(list)) => parts.read(role, list, &at)?,
        Some(other) => return Err(wrong_type(&at, "a string or an array", other)),
    }
    let status = item.get("status").and_then(Value::as_str).filter(|status| *status == INCOMPLETE);
    Ok(NewItem::message(role, status.unwrap_or(COMPLETED), parts))
}

fn call_of(item: &Map<String, Value>, param: &str) -> Result<NewItem, OpenAiError> {
    let (call_id, name) = (short(item, "call_id", param)?, short(item, "name", param)?);
    let arguments = text(item, "arguments", param)?;
    let members = in_namespace(Members::call(call_id, name, arguments), item, param)?;
    Ok(NewItem { kind: ItemKind::Call, members, texts: format!("{arguments}{name}"), images: 0 })
}

fn custom_call_of(item: &Map<String, Value>, param: &str) -> Result<NewItem, OpenAiError> {
    let (call_id, name) = (short(item, "call_id", param)?, short(item, "name", param)?);
    let input = text(item, "input", param)?;
    let members = in_namespace(Members::custom_call(call_id, name, input), item, param)?;
    Ok(NewItem { kind: ItemKind::Call, members, texts: format!("{input}{name}"), images: 0 })
}

fn in_namespace(call: Members, item: &Map<String, Value>, param: &str) -> Result<Members, OpenAiError> {
    Ok(match optional(item, "namespace", param)? {
        Some(namespace) => call.text("namespace", namespace),
        None => call,
    })
}

fn output_of(kind: &str, item: &Map<String, Value>, param: &str) -> Result<NewItem, OpenAiError> {
    let call_id = short(item, "call_id", param)?;
    let at = format!("{param}.output");
    let members = Members::new(kind.to_owned()).text("status", COMPLETED).text("call_id", call_id);
    let (members, texts, images) = match item.get("output") {
        None | Some(Value::Null) => return Err(missing(&at)),
        Some(Value::String(said)) => (members.text("output", said), said.clone(), 0),
        Some(Value::Array(list)) => {
            let mut parts = Parts::default();
            parts.read("user", list, &at)?;
            (members.json("output", &format!("[{}]", parts.json)), parts.texts, parts.images)
        }
        Some(other) => return Err(wrong_type(&at, "a string or an array", other)),
    };
    Ok(NewItem { kind: ItemKind::CallOutput, members, texts, images })
}

/// What a model thought. It goes back to the model that its id names; where a client sends none, to the one that is asked.
fn reasoning_of(item: &Map<String, Value>, param: &str) -> Result<NewItem, OpenAiError> {
    let mut members = Members::new("reasoning");
    for (name, always) in [("summary", true), ("content", false)] {
        match item.get(name) {
            None | Some(Value::Null) if always => members = members.json(name, "[]"),
            None | Some(Value::Null) => {}
            Some(Value::Array(parts)) => members = members.json(name, &json_of(parts)),
            Some(other) => return Err(wrong_type(&format!("{param}.{name}"), "an array", other)),
        }
    }
    let sealed = optional(item, "encrypted_content", param)?.filter(|sealed| !sealed.is_empty());
    let data = match (sealed, optional(item, "id", param)?) {
        (Some(sealed), _) => {
            members = members.text("encrypted_content", sealed);
            None
        }
        (None, Some(id)) => id.rsplit_once('_').and_then(|(_, mark)| ProviderData::of_mark(mark)),
        (None, None) => {
            Some(ProviderData { thoughts: Some(ThoughtsMember::ReasoningContent), ..ProviderData::default() })
        }
    };
    let mut texts = String::new();
    if let Some(data) = data {
        members = members.json(carried::MEMBER, &json_of(&data));
        let summary = item.get("summary").and_then(Value::as_array).into_iter().flatten();
        texts = summary.filter_map(|part| part["text"].as_str()).collect();
    }
    Ok(NewItem { kind: ItemKind::Reasoning, members, texts, images: 0 })
}

/// An item of a type that this server does not know: kept and listed as it came, and left out of prompts.
fn other_of(kind: &str, item: &Map<String, Value>, param: &str) -> Result<NewItem, OpenAiError> {
    if !(1..=64).contains(&kind.chars().count()) {
        let at = format!("{param}.type");
        return Err(OpenAiError::invalid(&at, "invalid_value", format!("Invalid '{at}': it has 1 to 64 characters.")));
    }
    let rest = item.iter().filter(|(name, _)| !["type", "id"].contains(&name.as_str()));
    let members =
        rest.fold(Members::new(kind.to_owned()), |members, (name, value)| members.json(name, &json_of(value)));
    Ok(NewItem { kind: ItemKind::Other, members, texts: String::new(), images: 0 })
}

fn compaction_of(item: &Map<String, Value>, param: &str) -> Result<NewItem, OpenAiError> {
    let sealed = text(item, "encrypted_content", param)?;
    let members = Members::new("compaction").text("encrypted_content", sealed);
    let texts = Compacted::of(sealed).map(|compacted| compacted.text()).unwrap_or_default();
    Ok(NewItem { kind: ItemKind::Compaction, members, texts, images: 0 })
}

/// The ids and names of calls: 1 to 128 characters (OpenAI allows 64; some servers make longer ids).
fn short<'a>(fields: &'a Map<String, Value>, name: &str, param: &str) -> Result<&'a str, OpenAiError> {
    let value = text(fields, name, param)?;
    match value.chars().count() {
        1..=128 => Ok(value),
        _ => {
            let at = format!("{param}.{name}");
            let message = format!("Invalid '{at}': it has 1 to 128 characters.");
            Err(OpenAiError::invalid(&at, "invalid_value", message))
        }
    }
}

impl NewItem {
    fn message(role: &str, status: &str, parts: Parts) -> Self {
        let Parts { json, texts, images } = parts;
        Self { kind: ItemKind::Message, members: Members::message(role, status, &json), texts, images }
    }

    /// The item to be stored, with its id and what it costs in a prompt of `model`.
    #[must_use]
    pub fn item(&self, id: ItemId, turn: Option<TurnId>, model: &str) -> Item {
        let encoding = model::profile(model).encoding;
        let tokens = match self.kind {
            // These are not sent to a model.
            ItemKind::Other => 0,
            ItemKind::Reasoning => encoding.count(&self.texts),
            _ => encoding.count_message(&self.texts).saturating_add(self.images * IMAGE_TOKENS),
        };
        Item { json: self.members.with_id(&id), id, turn, tokens, encoding }
    }
}

/// An item's JSON as an object, as it is shown.
#[must_use]
pub fn shown(item: &Item) -> Value {
    serde_json::from_str(&carried::without(&item.json)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(input: Value) -> Vec<Value> {
        let read = read(input, "input").unwrap();
        read.into_iter()
            .map(|given| match given {
                InputItem::New(new) => {
                    let mut item = shown(&new.item(ItemId::parse("msg_1").unwrap(), None, "m"));
                    item.as_object_mut().unwrap().remove("id");
                    item
                }
                InputItem::Reference(id) => json!({"reference": id.as_str()}),
            })
            .collect()
    }

    fn param(input: Value) -> String {
        let error: Value = serde_json::from_str(&read(input, "input").unwrap_err().json()).unwrap();
        error["error"]["param"].as_str().unwrap().to_owned()
    }

    #[test]
    fn all_shapes_of_a_message_are_one_shape() {
        let wanted = json!({"type": "message", "status": "completed", "role": "user",
            "content": [{"type": "input_text", "text": "hi"}]});
        for shape in [
            json!("hi"),
            json!([{"role": "user", "content": "hi"}]),
            json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]),
            json!([{"type": null, "role": "user", "content": [{"type": "text", "text": "hi"}], "id": null}]),
        ] {
            assert_eq!(given(shape), std::slice::from_ref(&wanted));
        }
        let echoed = json!([{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "yes", "annotations": [{"type": "x"}], "logprobs": []}]}]);
        assert_eq!(given(echoed)[0]["content"][0]["text"], "yes");
    }

    #[test]
    fn calls_outputs_thoughts_and_references_are_read() {
        let input = json!([
            {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}", "status": null},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "42"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"id": "msg_9"},
            {"type": "item_reference", "id": "fc_9"},
        ]);
        let read = given(input);
        assert_eq!(read[0]["name"], "f");
        assert_eq!(read[1]["output"][0]["text"], "42");
        assert_eq!(read[2]["encrypted_content"], "x");
        assert_eq!((&read[3]["reference"], &read[4]["reference"]), (&json!("msg_9"), &json!("fc_9")));
    }

    #[test]
    fn items_of_other_types_are_kept_as_they_came() {
        let search =
            json!({"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}});
        let mut sent = search.clone();
        sent["id"] = "ws_1".into();
        assert_eq!(given(json!([sent])), [search]);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (wrong, at) in [
            (json!(7), "input"),
            (json!([7]), "input[0]"),
            (json!([{}]), "input[0].type"),
            (json!([{"role": "user"}]), "input[0].content"),
            (json!([{"role": "robot", "content": ""}]), "input[0].role"),
            (json!([{"role": "user", "content": [{"type": "output_audio"}]}]), "input[0].content[0].type"),
            (
                json!([{"role": "system", "content": [{"type": "input_image", "image_url": "x"}]}]),
                "input[0].content[0].type",
            ),
            (
                json!([{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]),
                "input[0].content[0].file_id",
            ),
            (
                json!([{"role": "user", "content": [{"type": "input_file", "file_url": "x"}]}]),
                "input[0].content[0].file_url",
            ),
            (json!([{"type": "function_call_output", "call_id": "a"}]), "input[0].output"),
            (json!([{"type": "function_call", "call_id": "", "name": "f", "arguments": ""}]), "input[0].call_id"),
            (json!(["x"]), "input[0]"),
            (json!([{"type": "", "id": "ws_1"}]), "input[0].type"),
            (json!([{"type": "item_reference", "id": "??"}]), "input[0]"),
        ] {
            assert_eq!(param(wrong.clone()), at, "{wrong}");
        }
    }
}
