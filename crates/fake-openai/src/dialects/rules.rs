//! What real servers refuse, each as a rule over a request's messages: the body of the 400, where it is broken.

use serde_json::{Value, json};

/// The refusal of messages that break it.
pub(super) type Rule = fn(&[Value]) -> Option<Value>;

fn refusal(message: String) -> Value {
    json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "invalid_request_error"}})
}

fn calls(messages: &[Value]) -> impl Iterator<Item = &Value> {
    messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten()
}

/// All of them read arguments as JSON before they go into a template.
pub(super) fn arguments_are_json(messages: &[Value]) -> Option<Value> {
    let is_json = |call: &Value| {
        call["function"]["arguments"]
            .as_str()
            .is_some_and(|text| serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object()))
    };
    calls(messages).any(|call| !is_json(call)).then(|| refusal("the arguments of a call are no JSON object".to_owned()))
}

/// Each call is followed by its output before anything else is said.
pub(super) fn outputs_follow_calls(messages: &[Value]) -> Option<Value> {
    for (at, message) in messages.iter().enumerate() {
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let mut after = messages.iter().skip(at + 1).take_while(|message| message["role"] == "tool");
            if !after.any(|output| output["tool_call_id"] == call["id"]) {
                return Some(refusal(format!("no tool message answers the call {}", call["id"])));
            }
        }
    }
    None
}

/// The role is OpenAI's own.
pub(super) fn no_developer(messages: &[Value]) -> Option<Value> {
    let has_it = messages.iter().any(|message| message["role"] == "developer");
    has_it.then(|| refusal("unknown role: developer".to_owned()))
}

/// Templates take a system message at the beginning, and no other.
pub(super) fn one_system(messages: &[Value]) -> Option<Value> {
    let is_late = messages.iter().skip(1).any(|message| message["role"] == "system");
    is_late.then(|| refusal("a system message must be at the beginning".to_owned()))
}

/// Mistral's ids.
pub(super) fn ids_of_nine(messages: &[Value]) -> Option<Value> {
    let fits = |id: &str| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let wrong = calls(messages).find(|call| !call["id"].as_str().is_some_and(fits))?;
    Some(refusal(format!("a call's id was {} but must be a-z, A-Z, 0-9, with a length of 9", wrong["id"])))
}

/// In thinking mode, the thoughts that led to a call come back with it.
pub(super) fn thoughts_come_back(messages: &[Value]) -> Option<Value> {
    let is_without = |message: &Value| {
        message["tool_calls"].is_array() && message["reasoning_content"].as_str().is_none_or(str::is_empty)
    };
    messages
        .iter()
        .any(is_without)
        .then(|| refusal("the reasoning_content in the thinking mode must be passed back".to_owned()))
}

/// The first call of a round comes back with its signature.
pub(super) fn signatures_come_back(messages: &[Value]) -> Option<Value> {
    let mut rounds = messages.iter().filter_map(|message| message["tool_calls"].as_array()?.first());
    let unsigned = rounds.find(|call| !call["extra_content"]["google"]["thought_signature"].is_string())?;
    let name = &unsigned["function"]["name"];
    let message = format!("the function call {name} is missing a thought_signature");
    Some(json!([{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]))
}
