//! The stored unit: an item of OpenAI's Conversations, with its JSON kept whole.
//!
//! Source of the shapes: the `Item` schemas of OpenAI's API description (`message` with `input_text` and `output_text`
//! parts, `function_call`, `function_call_output`, `reasoning`).

use serde::{Deserialize, Serialize};

use super::ids::{ItemId, TurnId};
use super::json::push_json_string;
use super::tokens::Encoding;

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions from the application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The role's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// An item that is about to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its id, unique in its conversation.
    pub id: ItemId,
    /// The turn that it came with.
    pub turn: Option<TurnId>,
    /// The whole item as JSON text, as OpenAI's Conversations would show it.
    pub json: String,
    /// What it costs in a prompt, counted with `encoding`, the message's own overhead included.
    pub tokens: u32,
    /// What `tokens` was counted with.
    pub encoding: Encoding,
}

/// An item in its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// Its place, from 1, without gaps.
    pub seq: u64,
    /// The tokens of all items before it.
    pub tokens_before: u64,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// The item.
    pub item: Item,
}

/// A message's role and text, read back out of an item's JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who spoke.
    pub role: Role,
    /// The text parts, joined.
    pub text: String,
    /// False where an answer was cut short.
    pub complete: bool,
}

/// The JSON of a message from the person.
#[must_use]
pub fn user_message(id: &ItemId, text: &str) -> String {
    message(id, Role::User, "completed", "input_text", text, "")
}

/// The JSON of a message from the model; `complete` is false where the answer was cut short.
#[must_use]
pub fn assistant_message(id: &ItemId, text: &str, complete: bool) -> String {
    let status = if complete { "completed" } else { "incomplete" };
    message(id, Role::Assistant, status, "output_text", text, r#","annotations":[]"#)
}

/// Written by hand, because it is written twice a turn. All but the text is made of plain words.
fn message(id: &ItemId, role: Role, status: &str, part: &str, text: &str, more: &str) -> String {
    let role = role.as_str();
    let mut json = String::with_capacity(text.len() + text.len() / 8 + 200);
    for piece in [r#"{"type":"message","id":""#, id.as_str(), r#"","status":""#, status, r#"","role":""#, role] {
        json.push_str(piece);
    }
    for piece in [r#"","content":[{"type":""#, part, r#"","text":"#] {
        json.push_str(piece);
    }
    push_json_string(&mut json, text);
    json.push_str(more);
    json.push_str("}]}");
    json
}

#[derive(Deserialize)]
struct MessageShape<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    role: Option<Role>,
    #[serde(default, borrow)]
    status: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    content: Vec<PartShape>,
}

#[derive(Deserialize)]
struct PartShape {
    #[serde(default)]
    text: Option<String>,
}

impl Item {
    /// The message in this item; `None` where it is an item of another type.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let shape: MessageShape = serde_json::from_str(&self.json).ok()?;
        if shape.kind != "message" {
            return None;
        }
        let mut texts = shape.content.into_iter().filter_map(|part| part.text);
        let first = texts.next().unwrap_or_default();
        let text = texts.fold(first, |all, more| all + &more);
        let complete = shape.status.is_none_or(|status| status != "incomplete");
        Some(Message { role: shape.role?, text, complete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: String) -> Item {
        let id = ItemId::parse("msg_1").unwrap();
        Item { id, turn: None, json, tokens: 1, encoding: Encoding::O200k }
    }

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let id = ItemId::parse("msg_1").unwrap();
        for text in ["", "hi", "quotes \" and \\ and {x}", "line\nline", "👌 ok", "\u{0}"] {
            let user = item(user_message(&id, text)).message().unwrap();
            assert_eq!((user.role, user.text.as_str()), (Role::User, text));
            let model = item(assistant_message(&id, text, false)).message().unwrap();
            assert_eq!((model.role, model.text.as_str()), (Role::Assistant, text));
        }
    }

    #[test]
    fn other_items_are_not_messages() {
        assert_eq!(item(r#"{"type":"function_call","name":"f"}"#.into()).message(), None);
        assert_eq!(item("not json".into()).message(), None);
    }
}
