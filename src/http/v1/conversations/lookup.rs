//! The conversation that a path names, and how conversations and their items are shown.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::ConversationId;
use crate::domain::item::Item;
use crate::domain::question;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::v1::error::OpenAiError;
use crate::store::conversations::ConversationInfo;

/// A conversation, as it is shown.
pub fn shown(info: &ConversationInfo) -> Value {
    let metadata: Value = serde_json::from_str(&info.metadata).unwrap_or_else(|_| json!({}));
    json!({"id": info.id.as_str(), "object": "conversation", "created_at": info.created_at_ms.div_euclid(1000),
        "metadata": metadata})
}

/// The conversation that a path names; one that only holds a chain of responses counts as none.
///
/// # Errors
/// When there is none of this owner.
pub async fn find(app: &App, owner: &Owner, id: &str) -> Result<(Place, ConversationInfo), OpenAiError> {
    let conversation = ConversationId::parse(id).ok_or_else(no_conversation)?;
    let place = Place { owner: owner.clone(), conversation };
    match app.store.conversation(&place).await.map_err(ApiError::from)? {
        Some(info) if !info.hidden => Ok((place, info)),
        _ => Err(no_conversation()),
    }
}

/// There is no such conversation of this owner.
pub fn no_conversation() -> OpenAiError {
    OpenAiError::no_conversation("conversation_id")
}

/// An item's JSON, which is shown as it is stored; a question without an answer has the status that OpenAI has for it.
pub fn raw(item: &Item) -> Option<Box<RawValue>> {
    RawValue::from_string(question::json_for_sdks(item).into_owned()).ok()
}
