//! The stored unit: an item of OpenAI's Conversations, with its JSON kept whole.

use serde::{Deserialize, Serialize};

use super::ids::{ItemId, TurnId};
use super::item_json::{self, COMPLETED, Members};
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
    /// Instructions from the application, as newer models call them.
    Developer,
}

impl Role {
    /// The role's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Developer => "developer",
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
    /// The text parts and refusals, joined.
    pub text: String,
    /// False where an answer was cut short.
    pub complete: bool,
    /// Whether it has parts that are no text: images, files.
    pub has_more: bool,
}

/// The JSON of a message from the user.
#[must_use]
pub fn user_message(id: &ItemId, text: &str) -> String {
    let mut part = String::with_capacity(text.len() + text.len() / 8 + 64);
    item_json::push_input_part(&mut part, text);
    Members::message(Role::User.as_str(), COMPLETED, &part).with_id(id)
}

/// The JSON of a message from the model; `refusal` is empty where it refuses nothing, `complete` false where the answer was
/// cut short.
#[cfg(feature = "testing")]
#[must_use]
pub fn assistant_message(id: &ItemId, text: &str, refusal: &str, complete: bool) -> String {
    let mut json = String::new();
    item_json::push_answer(&mut json, id, text, refusal, if complete { COMPLETED } else { item_json::INCOMPLETE });
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
    #[serde(default)]
    refusal: Option<String>,
}

impl Item {
    /// The message in this item; `None` where it is an item of another type.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let shape: MessageShape = serde_json::from_str(&self.json).ok()?;
        if shape.kind != "message" {
            return None;
        }
        let has_more = shape.content.iter().any(|part| part.text.is_none() && part.refusal.is_none());
        let mut texts = shape.content.into_iter().filter_map(|part| part.text.or(part.refusal));
        let first = texts.next().unwrap_or_default();
        let text = texts.fold(first, |all, more| all + &more);
        let complete = shape.status.is_none_or(|status| status != "incomplete");
        Some(Message { role: shape.role?, text, complete, has_more })
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
            let model = item(assistant_message(&id, text, "", false)).message().unwrap();
            assert_eq!((model.role, model.text.as_str()), (Role::Assistant, text));
        }
    }

    #[test]
    fn a_refusal_is_a_part_of_its_own() {
        let id = ItemId::parse("msg_1").unwrap();
        for (text, parts) in [("", 1), ("Well.", 2)] {
            let json = assistant_message(&id, text, "No \"way\".", true);
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            let content = value["content"].as_array().unwrap();
            assert_eq!((content.len(), content[parts - 1]["refusal"].as_str()), (parts, Some("No \"way\".")));
            assert_eq!(item(json).message().unwrap().text, format!("{text}No \"way\"."));
        }
    }

    #[test]
    fn other_items_are_not_messages() {
        assert_eq!(item(r#"{"type":"function_call","name":"f"}"#.into()).message(), None);
        assert_eq!(item("not json".into()).message(), None);
    }
}
