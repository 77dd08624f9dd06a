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
use super::caller::Caller;
use super::error::{OpenAiError, OpenAiErrorBody};
use super::fields::{Fields, missing};
use super::page::{Page, PageQuery, list, no_such_place};
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
    security((), ("key" = [])),
    request_body(content = serde_json::Value, example = json!({"metadata": {"topic": "lighthouses"}})), responses(
        (status = 200, description = "The conversation.", body = serde_json::Value,
            example = json!({"id": "conv_1", "object": "conversation", "created_at": 1764000000, "metadata": {}})),
        (status = "4XX", description = "The request is not right.", body = OpenAiErrorBody),
        (status = "5XX", description = "This server failed.", body = OpenAiErrorBody),
    ))]
pub async fn create(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let bytes = body::object_or_nothing(request, &app).await?;
    let mut fields = Fields::read(&bytes)?;
    let metadata = fields.metadata()?.unwrap_or_default();
    let items = fields.take("items").map(|items| new_items(&app, items)).transpose()?.unwrap_or_default();
    fields.end()?;
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
    security((), ("key" = [])), params(PageQuery), responses(
        (status = 200, description = "The conversations.", body = serde_json::Value, example = json!({"object": "list",
            "data": [{"id": "conv_1", "object": "conversation", "created_at": 1764000000, "metadata": {}}],
            "first_id": "conv_1", "last_id": "conv_1", "has_more": false})),
        (status = "4XX", description = "A parameter is not right.", body = OpenAiErrorBody),
        (status = "5XX", description = "This server failed.", body = OpenAiErrorBody),
    ))]
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
    operation_id = "retrieve_conversation", security((), ("key" = [])),
    params(("conversation_id" = String, Path, description = "Its id.")), responses(
        (status = 200, description = "The conversation.", body = serde_json::Value,
            example = json!({"id": "conv_1", "object": "conversation", "created_at": 1764000000, "metadata": {"topic": "lighthouses"}})),
        (status = "4XX", description = "There is none of this id.", body = OpenAiErrorBody),
        (status = "5XX", description = "This server failed.", body = OpenAiErrorBody),
    ))]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, OpenAiError> {
    Ok(answer::json(&shown(&find(&app, &owner, &id).await?.1)))
}

/// Replace a conversation's metadata.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    operation_id = "update_conversation", security((), ("key" = [])),
    params(("conversation_id" = String, Path, description = "Its id.")),
    request_body(content = serde_json::Value, example = json!({"metadata": {"topic": "lighthouses"}})), responses(
        (status = 200, description = "The conversation.", body = serde_json::Value,
            example = json!({"id": "conv_1", "object": "conversation", "created_at": 1764000000, "metadata": {"topic": "lighthouses"}})),
        (status = "4XX", description = "There is none of this id, or the request is not right.", body = OpenAiErrorBody),
        (status = "5XX", description = "This server failed.", body = OpenAiErrorBody),
    ))]
pub async fn update(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let bytes = body::object(request, &app).await?;
    let mut fields = Fields::read(&bytes)?;
    let metadata = json_of(&fields.metadata()?.ok_or_else(|| missing("metadata"))?);
    fields.end()?;
    let (place, info) = find(&app, &owner, &id).await?;
    match app.store.set_metadata(&place, &metadata).await.map_err(ApiError::from)? {
        true => Ok(answer::json(&shown(&ConversationInfo { metadata, ..info }))),
        false => Err(no_conversation()),
    }
}

/// Delete a conversation with all that was said in it, and the responses made in it.
#[utoipa::path(delete, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    operation_id = "delete_conversation", security((), ("key" = [])),
    params(("conversation_id" = String, Path, description = "Its id.")), responses(
        (status = 200, description = "It is gone.", body = serde_json::Value,
            example = json!({"id": "conv_1", "object": "conversation.deleted", "deleted": true})),
        (status = "4XX", description = "There is none of this id.", body = OpenAiErrorBody),
        (status = "5XX", description = "This server failed.", body = OpenAiErrorBody),
    ))]
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
