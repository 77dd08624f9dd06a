//! Items as clients send them, in all the shapes that they have: brought into the one shape in which they are stored.
//!
//! Source of the shapes: the `ItemParam` schemas of the Open Responses specification, and what SDKs really send.

use serde_json::{Map, Value, json};

use super::error::OpenAiError;
use super::fields::{missing, unsupported, wrong_type, wrong_value};
use crate::domain::ids::{ItemId, ItemKind, TurnId};
use crate::domain::item::Item;
use crate::domain::model;
use crate::domain::tokens::Encoding;

/// What an image is taken to cost in a prompt, in tokens: one of middling size in high detail.
/// Source: OpenAI's guide to images, 765 for 1024 by 1024.
const IMAGE_TOKENS: u32 = 765;

/// An item that a client sent.
#[derive(Debug, Clone)]
pub enum Given {
    /// Said anew; without its id.
    New(ItemKind, Map<String, Value>),
    /// One that is stored already.
    Reference(ItemId),
}

/// Reads `input` or `items`: a text, or a list of items.
///
/// # Errors
/// What is wrong, with the path to it.
pub fn read(input: Value, param: &str) -> Result<Vec<Given>, OpenAiError> {
    match input {
        Value::String(text) => {
            let message = message("user", vec![json!({"type": "input_text", "text": text})], "completed");
            Ok(vec![Given::New(ItemKind::Message, message)])
        }
        Value::Array(list) => {
            list.into_iter().enumerate().map(|(place, item)| one(item, &format!("{param}[{place}]"))).collect()
        }
        other => Err(wrong_type(param, "a string or an array", &other)),
    }
}

fn one(item: Value, param: &str) -> Result<Given, OpenAiError> {
    let Value::Object(item) = item else { return Err(wrong_type(param, "an object", &item)) };
    let kind = match item.get("type") {
        None | Some(Value::Null) if item.contains_key("role") => "message",
        None | Some(Value::Null) if item.contains_key("id") => "item_reference",
        None | Some(Value::Null) => return Err(missing(&format!("{param}.type"))),
        Some(Value::String(kind)) => kind.as_str(),
        Some(other) => return Err(wrong_type(&format!("{param}.type"), "a string", other)),
    };
    match kind {
        "message" => Ok(Given::New(ItemKind::Message, message_of(&item, param)?)),
        "function_call" => Ok(Given::New(ItemKind::Call, call_of(&item, param)?)),
        "function_call_output" => Ok(Given::New(ItemKind::CallOutput, output_of(&item, param)?)),
        "reasoning" => Ok(Given::New(ItemKind::Reasoning, reasoning_of(&item, param)?)),
        "compaction" => {
            let sealed = text(&item, "encrypted_content", param)?;
            Ok(Given::New(ItemKind::Compaction, map(json!({"type": "compaction", "encrypted_content": sealed}))))
        }
        "item_reference" => {
            let id = text(&item, "id", param)?;
            ItemId::parse(id).map(Given::Reference).ok_or_else(|| no_item(param))
        }
        _ => Err(unsupported(
            &format!("{param}.type"),
            format!(
                "'{param}.type' is an item that this server does not have. It has message, function_call, \
                function_call_output, reasoning, compaction and item_reference."
            ),
        )),
    }
}

/// A reference to an item that nobody here has.
#[must_use]
pub fn no_item(param: &str) -> OpenAiError {
    let message = "There is no item with this id.";
    OpenAiError::new(axum::http::StatusCode::NOT_FOUND, "invalid_request_error", "item_not_found", message).param(param)
}

fn message(role: &str, content: Vec<Value>, status: &str) -> Map<String, Value> {
    map(json!({"type": "message", "status": status, "role": role, "content": content}))
}

fn message_of(item: &Map<String, Value>, param: &str) -> Result<Map<String, Value>, OpenAiError> {
    const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];
    let role = text(item, "role", param)?;
    if !ROLES.contains(&role) {
        return Err(wrong_value(&format!("{param}.role"), &ROLES));
    }
    let at = format!("{param}.content");
    let content = match item.get("content") {
        None | Some(Value::Null) => return Err(missing(&at)),
        Some(Value::String(said)) => vec![text_part(role, said)],
        Some(Value::Array(parts)) => {
            let parts = parts.iter().enumerate().map(|(place, part)| part_of(role, part, &format!("{at}[{place}]")));
            parts.collect::<Result<_, _>>()?
        }
        Some(other) => return Err(wrong_type(&at, "a string or an array", other)),
    };
    let status = item.get("status").and_then(Value::as_str).filter(|status| *status == "incomplete");
    Ok(message(role, content, status.unwrap_or("completed")))
}

fn text_part(role: &str, said: &str) -> Value {
    match role {
        "assistant" => json!({"type": "output_text", "text": said, "annotations": [], "logprobs": []}),
        _ => json!({"type": "input_text", "text": said}),
    }
}

fn part_of(role: &str, part: &Value, param: &str) -> Result<Value, OpenAiError> {
    let Value::Object(fields) = part else { return Err(wrong_type(param, "an object", part)) };
    match (text(fields, "type", param)?, role) {
        ("input_text" | "output_text" | "text", _) => Ok(text_part(role, text(fields, "text", param)?)),
        ("refusal", "assistant") => Ok(json!({"type": "refusal", "refusal": text(fields, "refusal", param)?})),
        ("input_image", "user") => image_of(fields, param),
        ("input_file", "user") => file_of(fields, param),
        _ if role == "assistant" => Err(wrong_value(&format!("{param}.type"), &["output_text", "refusal"])),
        _ if role == "user" => Err(wrong_value(&format!("{param}.type"), &["input_text", "input_image", "input_file"])),
        _ => Err(wrong_value(&format!("{param}.type"), &["input_text"])),
    }
}

fn image_of(fields: &Map<String, Value>, param: &str) -> Result<Value, OpenAiError> {
    const DETAILS: [&str; 3] = ["low", "high", "auto"];
    let detail = optional(fields, "detail", param)?.unwrap_or("auto");
    if !DETAILS.contains(&detail) {
        return Err(wrong_value(&format!("{param}.detail"), &DETAILS));
    }
    match optional(fields, "image_url", param)? {
        Some(url) => Ok(json!({"type": "input_image", "image_url": url, "detail": detail})),
        None if fields.contains_key("file_id") => {
            let at = format!("{param}.file_id");
            Err(unsupported(&at, format!("'{at}' cannot be used: send the image itself as 'image_url'.")))
        }
        None => Err(missing(&format!("{param}.image_url"))),
    }
}

fn file_of(fields: &Map<String, Value>, param: &str) -> Result<Value, OpenAiError> {
    let mut part = json!({"type": "input_file"});
    for name in ["file_id", "file_data", "filename"] {
        if let Some(value) = optional(fields, name, param)? {
            part[name] = value.into();
        }
    }
    if part.get("file_id").is_none() && part.get("file_data").is_none() {
        if fields.contains_key("file_url") {
            let at = format!("{param}.file_url");
            return Err(unsupported(&at, format!("'{at}' cannot be used: send the file itself as 'file_data'.")));
        }
        return Err(missing(&format!("{param}.file_data")));
    }
    Ok(part)
}

fn call_of(item: &Map<String, Value>, param: &str) -> Result<Map<String, Value>, OpenAiError> {
    let (call_id, name) = (short(item, "call_id", param)?, short(item, "name", param)?);
    let arguments = text(item, "arguments", param)?;
    Ok(map(json!({"type": "function_call", "status": "completed", "call_id": call_id, "name": name,
        "arguments": arguments})))
}

fn output_of(item: &Map<String, Value>, param: &str) -> Result<Map<String, Value>, OpenAiError> {
    let call_id = short(item, "call_id", param)?;
    let at = format!("{param}.output");
    let output = match item.get("output") {
        None | Some(Value::Null) => return Err(missing(&at)),
        Some(Value::String(said)) => json!(said),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().enumerate().map(|(place, part)| part_of("user", part, &format!("{at}[{place}]")));
            Value::Array(parts.collect::<Result<_, _>>()?)
        }
        Some(other) => return Err(wrong_type(&at, "a string or an array", other)),
    };
    Ok(map(json!({"type": "function_call_output", "status": "completed", "call_id": call_id, "output": output})))
}

/// What another model thought is kept for whoever lists the items; it is not said to a model again.
fn reasoning_of(item: &Map<String, Value>, param: &str) -> Result<Map<String, Value>, OpenAiError> {
    let mut kept = map(json!({"type": "reasoning", "summary": []}));
    for name in ["summary", "content"] {
        match item.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(parts)) => drop(kept.insert(name.to_owned(), parts.clone().into())),
            Some(other) => return Err(wrong_type(&format!("{param}.{name}"), "an array", other)),
        }
    }
    if let Some(sealed) = optional(item, "encrypted_content", param)? {
        kept.insert("encrypted_content".to_owned(), sealed.into());
    }
    Ok(kept)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str, param: &str) -> Result<&'a str, OpenAiError> {
    optional(fields, name, param)?.ok_or_else(|| missing(&format!("{param}.{name}")))
}

/// The ids and names of calls: 1 to 128 characters (OpenAI allows 64; some servers make longer ids).
fn short<'a>(fields: &'a Map<String, Value>, name: &str, param: &str) -> Result<&'a str, OpenAiError> {
    let value = text(fields, name, param)?;
    match value.len() {
        1..=128 => Ok(value),
        _ => {
            let at = format!("{param}.{name}");
            let message = format!("Invalid '{at}': it has 1 to 128 characters.");
            Err(OpenAiError::invalid(&at, "invalid_value", message))
        }
    }
}

fn optional<'a>(fields: &'a Map<String, Value>, name: &str, param: &str) -> Result<Option<&'a str>, OpenAiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(other) => Err(wrong_type(&format!("{param}.{name}"), "a string", other)),
    }
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        // Every caller writes an object.
        _ => Map::new(),
    }
}

/// The item to be stored, with its id and what it costs in a prompt of `model`.
#[must_use]
pub fn item(id: ItemId, turn: Option<TurnId>, mut fields: Map<String, Value>, model: &str) -> Item {
    let encoding = model::profile(model).encoding;
    let tokens = cost(&fields, encoding);
    fields.insert("id".to_owned(), id.as_str().into());
    Item { id, turn, json: Value::Object(fields).to_string(), tokens, encoding }
}

fn cost(fields: &Map<String, Value>, encoding: Encoding) -> u32 {
    let mut texts = String::new();
    let mut images = 0;
    for name in ["content", "output", "arguments", "name"] {
        match fields.get(name) {
            Some(Value::String(text)) => texts.push_str(text),
            Some(Value::Array(parts)) => {
                for part in parts {
                    let said = ["text", "refusal", "file_data"].iter().find_map(|key| part[key].as_str());
                    texts.push_str(said.unwrap_or_default());
                    images += u32::from(part["type"] == "input_image");
                }
            }
            _ => {}
        }
    }
    match fields.get("type").and_then(Value::as_str) {
        // Thoughts are not sent again.
        Some("reasoning") => 0,
        _ => encoding.count_message(&texts).saturating_add(images * IMAGE_TOKENS),
    }
}

/// An item's JSON as an object, as it is shown.
#[must_use]
pub fn shown(item: &Item) -> Value {
    serde_json::from_str(&item.json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(input: Value) -> Vec<Value> {
        let read = read(input, "input").unwrap();
        read.into_iter()
            .map(|given| match given {
                Given::New(_, fields) => Value::Object(fields),
                Given::Reference(id) => json!({"reference": id.as_str()}),
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
            (json!([{"type": "web_search_call", "id": "ws_1"}]), "input[0].type"),
            (json!([{"type": "item_reference", "id": "??"}]), "input[0]"),
        ] {
            assert_eq!(param(wrong.clone()), at, "{wrong}");
        }
    }
}
