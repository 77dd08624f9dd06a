//! `/v1/conversations`: made, listed, described, deleted. What is said in them is in `items`.

pub mod items;
pub mod lookup;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use serde_json::json;

use self::items::new_items;
use self::lookup::{find, no_conversation, shown};
use super::answer;
use super::caller::{Caller, LiveCaller, body_of};
use super::error::OpenAiError;
use super::fields::{Fields, missing};
use super::page::{Page, PageQuery, list, no_such_place};
use super::schemas::{Conversation, ConversationList, CreateConversation, DeletedConversation, UpdateConversation};
use crate::domain::conversation::Place;
use crate::domain::ids::ConversationId;
use crate::domain::json::json_of;
use crate::http::app::App;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::fault;
use crate::store::conversations::{ConversationInfo, Created, NewConversation};

/// Make a conversation, with up to 20 first items.
#[utoipa::path(post, path = "/v1/conversations", tag = "conversations", operation_id = "create_conversation",
    request_body = Option<CreateConversation>,
    responses((status = 200, description = "The conversation.", body = Conversation)))]
pub async fn create(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let bytes = body_of(&alive, body::object_or_nothing(request, &app)).await?;
    let mut fields = Fields::of_body(bytes).await?;
    let metadata = fields.metadata()?.unwrap_or_default();
    let items = match fields.take("items") {
        Some(items) => new_items(&app, items).await?,
        None => Vec::new(),
    };
    let conversation = ConversationId::fresh(&*app.ids, &*app.clock);
    let info = ConversationInfo {
        id: conversation.clone(),
        created_at_ms: app.clock.now_ms(),
        metadata: json_of(&metadata),
        hidden: false,
    };
    let new = NewConversation {
        place: Place { owner, conversation },
        hidden: false,
        metadata: info.metadata.clone(),
        items,
        now_ms: info.created_at_ms,
    };
    match app.store.create_conversation(new).await.map_err(ApiError::from)? {
        Created::Created => Ok(answer::json(&shown(&info))),
        Created::UnknownSession => Err(fault::session_ended().into()),
        Created::Exists => Err(ApiError::defect().into()),
    }
}

/// The conversations, newest first; not those that only hold a chain of responses. OpenAI has no such call.
#[utoipa::path(get, path = "/v1/conversations", tag = "conversations", operation_id = "list_conversations",
    params(
        ("limit" = Option<u16>, Query, description = "At most this many; 20 otherwise.", minimum = 1, maximum = 100),
        ("order" = Option<String>, Query, description = "`desc`, which is the only one.", pattern = "^desc$"),
        ("after" = Option<String>, Query, description = "Only those behind the one with this id.", min_length = 1),
    ), responses((status = 200, description = "The conversations.", body = ConversationList)))]
pub async fn list_all(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, OpenAiError> {
    let page = Page::read(query, false)?;
    if page.ascending {
        return Err(OpenAiError::invalid("order", "invalid_value", "Conversations are listed newest first: 'desc'."));
    }
    let after = page.after.as_deref().map(|id| ConversationId::parse(id).ok_or_else(no_such_place)).transpose()?;
    let found = app.store.conversations(&owner, after.as_ref(), page.limit).await.map_err(ApiError::from)?;
    let found = found.ok_or_else(no_such_place)?;
    Ok(answer::json(&list(found.conversations.iter().map(shown).collect(), found.has_more)))
}

/// One conversation, without its items.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    operation_id = "retrieve_conversation", params(("conversation_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The conversation.", body = Conversation)))]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, OpenAiError> {
    Ok(answer::json(&shown(&find(&app, &owner, &id).await?.1)))
}

/// Replace a conversation's metadata.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    operation_id = "update_conversation", params(("conversation_id" = String, Path, description = "Its id.")),
    request_body = UpdateConversation,
    responses((status = 200, description = "The conversation as it is now.", body = Conversation)))]
pub async fn update(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let bytes = body_of(&alive, body::object(request, &app)).await?;
    let mut fields = Fields::of_body(bytes).await?;
    let metadata = json_of(&fields.metadata()?.ok_or_else(|| missing("metadata"))?);
    let (place, info) = find(&app, &owner, &id).await?;
    match app.store.set_metadata(&place, &metadata).await.map_err(ApiError::from)? {
        true => Ok(answer::json(&shown(&ConversationInfo { metadata, ..info }))),
        false => Err(no_conversation()),
    }
}

/// Delete a conversation with all that was said in it, and the responses made in it.
#[utoipa::path(delete, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    operation_id = "delete_conversation", params(("conversation_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "It is gone.", body = DeletedConversation)))]
pub async fn delete(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, OpenAiError> {
    let (place, info) = find(&app, &owner, &id).await?;
    match app.turns.delete_conversation(&place).await.map_err(ApiError::from)? {
        true => Ok(answer::json(&json!({"id": info.id.as_str(), "object": "conversation.deleted", "deleted": true}))),
        false => Err(no_conversation()),
    }
}
