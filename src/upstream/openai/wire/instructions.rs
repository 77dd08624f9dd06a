//! Instructions as a server takes them: OpenAI as they are, others as one system message at the front.
//!
//! Most servers do not know the role `developer`, and the templates of many models take a system message only at the
//! beginning. OpenAI's models take all of it in one, too, so only the wording is lost.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::dialogue::PromptMessage;
use crate::domain::item::Role;

/// What stands between two of them that have become one.
const BETWEEN: &str = "\n\n";

/// Whether a message instructs the model.
#[must_use]
pub fn is_instruction(message: &PromptMessage) -> bool {
    matches!(message.role(), Role::System | Role::Developer)
}

/// All instructions of a prompt as one system message, to stand in their place at the front; `None` where they stand like
/// this already.
#[must_use]
pub fn leading(messages: &[PromptMessage]) -> Option<PromptMessage> {
    let stands_right = |(place, message): (usize, &PromptMessage)| {
        !is_instruction(message) || (place == 0 && matches!(message, PromptMessage::Text { role: Role::System, .. }))
    };
    if messages.iter().enumerate().all(stands_right) {
        return None;
    }
    let texts: Vec<Cow<'_, str>> =
        messages.iter().filter(|message| is_instruction(message)).map(PromptMessage::text).collect();
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).filter(|text: &&str| !text.is_empty()).collect();
    Some(PromptMessage::new(Role::System, texts.join(BETWEEN)))
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: &'a RawValue,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
}

/// The same for a request that is passed on: its body with one leading system message, all else byte for byte. `None`
/// where it has that already, or is no request that could be read.
#[must_use]
pub fn led(body: &Bytes) -> Option<Bytes> {
    // Nearly all that need nothing done are told by this, without being parsed.
    if memmem::find(body, b"developer").is_none() && memmem::find(body, b"system").is_none() {
        return None;
    }
    let messages = serde_json::from_slice::<Body<'_>>(body).ok()?.messages.get();
    let listed: Vec<&RawValue> = serde_json::from_str(messages).ok()?;
    let is_instruction = |role: &str| matches!(role, "system" | "developer");
    let mut roles = Vec::with_capacity(listed.len());
    for message in &listed {
        roles.push(serde_json::from_str::<Head<'_>>(message.get()).ok()?.role);
    }
    let stands_right =
        |(place, role): (usize, &Cow<'_, str>)| !is_instruction(role) || (place == 0 && role == "system");
    if roles.iter().enumerate().all(stands_right) {
        return None;
    }
    let (said, others): (Vec<_>, Vec<_>) = listed.iter().zip(&roles).partition(|(_, role)| is_instruction(role));
    let said: Vec<Value> = said.iter().filter_map(|(message, _)| serde_json::from_str(message.get()).ok()).collect();
    let leading = merged(said).to_string();
    let all: Vec<&str> =
        std::iter::once(leading.as_str()).chain(others.iter().map(|(message, _)| message.get())).collect();
    // The list is a part of the body, so it can be put in its place there.
    let start = messages.as_ptr() as usize - body.as_ptr() as usize;
    let (before, after) = (body.get(..start)?, body.get(start + messages.len()..)?);
    Some([before, b"[", all.join(",").as_bytes(), b"]", after].concat().into())
}

/// Instructions as one system message. One alone keeps its other members; of several, the contents are one text where they
/// are no more than that, or else one list of parts.
fn merged(mut messages: Vec<Value>) -> Value {
    if let [message] = messages.as_mut_slice() {
        message["role"] = "system".into();
        return message.take();
    }
    let texts: Option<Vec<String>> = messages.iter().map(|message| plain_text(&message["content"])).collect();
    let content: Value = match texts {
        Some(texts) => texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(BETWEEN).into(),
        None => messages.into_iter().flat_map(|mut message| parts(message["content"].take())).collect(),
    };
    json!({"role": "system", "content": content})
}

/// The text of a content that is no more than one; parts with members of their own, such as marks for a cache, are more.
fn plain_text(content: &Value) -> Option<String> {
    let text_of = |part: &Value| {
        let part =
            part.as_object().filter(|part| part.len() == 2 && part.get("type").is_some_and(|kind| kind == "text"))?;
        part.get("text")?.as_str().map(str::to_owned)
    };
    match content {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().map(text_of).collect::<Option<Vec<_>>>()?.join("\n")),
        _ => None,
    }
}

fn parts(content: Value) -> Vec<Value> {
    match content {
        Value::Null => Vec::new(),
        Value::Array(parts) => parts,
        text => vec![json!({"type": "text", "text": text})],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led_messages(messages: Value) -> Option<Value> {
        let body = json!({"model": "m", "messages": messages, "n": 1});
        let led = led(&body.to_string().into())?;
        let mut led: Value = serde_json::from_slice(&led).unwrap();
        assert_eq!((&led["model"], &led["n"]), (&body["model"], &body["n"]));
        Some(led["messages"].take())
    }

    #[test]
    fn what_stands_right_is_left_alone() {
        let user = json!({"role": "user", "content": "developer of a system"});
        for messages in [json!([]), json!([user]), json!([{"role": "system", "content": "Be."}, user]), json!("system")]
        {
            assert_eq!(led_messages(messages), None);
        }
        assert_eq!(led(&Bytes::from_static(b"no JSON of a system")), None);
        assert_eq!(leading(&[PromptMessage::new(Role::System, "a"), PromptMessage::new(Role::User, "b")]), None);
    }

    #[test]
    fn instructions_become_one_system_message_in_their_order() {
        let user = json!({"role": "user", "content": "Hi"});
        let text = |role: &str, text: &str| json!({"role": role, "content": text});
        let part = |text: &str| json!({"type": "text", "text": text});
        let marked = json!({"type": "text", "text": "c", "cache_control": {"type": "ephemeral"}});
        for (given, wanted) in [
            (
                json!([{"role": "developer", "content": "a", "name": "x"}, user]),
                json!([{"role": "system", "content": "a", "name": "x"}, user]),
            ),
            (json!([text("system", "a"), text("developer", "b"), user]), json!([text("system", "a\n\nb"), user])),
            (json!([user, text("system", "a"), user, text("developer", "")]), json!([text("system", "a"), user, user])),
            (
                json!([text("system", "a"), {"role": "developer", "content": [part("b"), part("c")]}, user]),
                json!([text("system", "a\n\nb\nc"), user]),
            ),
            (
                json!([text("system", "a"), {"role": "developer", "content": [marked]}, user]),
                json!([{"role": "system", "content": [part("a"), marked]}, user]),
            ),
        ] {
            assert_eq!(led_messages(given.clone()), Some(wanted), "{given}");
        }
    }

    #[test]
    fn all_else_of_a_body_stays_as_it_came() {
        let body = r#"{ "n": 1.50 ,"messages" : [ {"role":"user", "content":"\u0041 "}, {"role":"developer","content":"a"} ], "x":[ ] }"#;
        let wanted = r#"{ "n": 1.50 ,"messages" : [{"content":"a","role":"system"},{"role":"user", "content":"\u0041 "}], "x":[ ] }"#;
        assert_eq!(led(&Bytes::from_static(body.as_bytes())).unwrap(), wanted);
    }
}
