//! The shapes of this door's bodies, for the OpenAPI document: written down in `schemas/`, by name.
//!
//! They say what the readers of requests check, no more and no less. Requests made from them, and requests that break them,
//! are tried by `scripts/schemathesis`.

use serde_json::{Map, Value};
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{RefOr, schema::SchemaType};
use utoipa::{PartialSchema, ToSchema};

/// All shapes, by name.
///
/// # Panics
/// When a file is not JSON; they are a part of the program.
#[must_use]
pub fn all() -> Map<String, Value> {
    let files = [include_str!("schemas/requests.json"), include_str!("schemas/answers.json")];
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).expect("the shapes are JSON");
    files.into_iter().flat_map(read).collect()
}

/// Names for the declarations of routes; the shapes themselves take the place of these in the document.
macro_rules! names {
    ($($name:ident)+) => {
        $(
            #[doc = concat!("`", stringify!($name), "`.")]
            #[derive(Debug)]
            pub enum $name {}

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    Object::with_type(SchemaType::AnyValue).into()
                }
            }

            impl ToSchema for $name {}
        )+

        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

names! {
    CreateResponse CountTokens CompactResponse
    Response ResponseEvents DeletedResponse TokenCount CompactedResponse ItemList Item
    CreateConversation UpdateConversation CreateItems
    Conversation ConversationList DeletedConversation
    CreateChatCompletion UpdateChatCompletion
    CreateEmbeddings CreateModeration CreateSpeech CreateTranscription CreateImages EditImage CreateFile
    ChatCompletion ChatCompletionChunks ChatCompletionList DeletedChatCompletion ChatMessageList
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_shape() {
        let shapes = all();
        let missing: Vec<&&str> = NAMES.iter().filter(|name| !shapes.contains_key(**name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
