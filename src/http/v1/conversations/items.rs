//! What is said in a conversation: added, listed, read and removed item by item.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::lookup::{find, no_conversation, raw, shown};
use crate::domain::ids::ItemId;
use crate::domain::item::{Item, StoredItem};
use crate::http::app::App;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::v1::answer;
use crate::http::v1::caller::{Caller, LiveCaller, body_of};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, missing, wrong_type};
use crate::http::v1::items::{self, InputItem, NewItem};
use crate::http::v1::page::{Page, PageQuery, no_such_place};
use crate::http::v1::schemas::{Conversation, CreateItems, Item as ItemSchema, ItemList as ItemListSchema};
use crate::http::v1::tokenizer::{counting, text_bytes};
use crate::store::conversations::{Added, ItemsPage, ItemsQuery, Removed};

/// The most items that are added at once, as at OpenAI.
const MOST_ITEMS: usize = 20;

/// Items with ids of their own out of a request's list.
///
/// # Errors
/// What is wrong with one, or that they are too many.
pub async fn new_items(app: &App, given: Value) -> Result<Vec<Item>, OpenAiError> {
    match &given {
        Value::Array(list) if list.len() > MOST_ITEMS => {
            let message = format!("Invalid 'items': at most {MOST_ITEMS} may be added at once.");
            return Err(OpenAiError::invalid("items", "array_above_max_length", message));
        }
        Value::Array(_) => {}
        other => return Err(wrong_type("items", "an array", other)),
    }
    let one = |(place, given): (usize, InputItem)| match given {
        InputItem::New(new) => Ok((ItemId::fresh_of(new.kind, &*app.ids, &*app.clock), new)),
        InputItem::Reference(_) => Err(items::no_item(&format!("items[{place}].id"))),
    };
    let given = items::read(given, "items")?;
    let bytes = text_bytes(&given);
    let named = given.into_iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    let model = app.chat.default_model.clone();
    let item = move |(id, new): (ItemId, NewItem)| new.item(id, None, &model);
    Ok(counting(&app.chat.default_model, bytes, move || named.into_iter().map(item).collect()).await)
}

/// A list of items, each as it is stored.
#[derive(Serialize)]
struct ItemList<'a> {
    object: &'static str,
    data: Vec<Box<RawValue>>,
    first_id: &'a str,
    last_id: &'a str,
    has_more: bool,
}

fn list(items: &[StoredItem], has_more: bool) -> Response {
    let first_id = items.first().map_or("", |stored| stored.item.id.as_str());
    let last_id = items.last().map_or("", |stored| stored.item.id.as_str());
    let data = items.iter().filter_map(|stored| raw(&stored.item)).collect();
    answer::json(&ItemList { object: "list", data, first_id, last_id, has_more })
}

fn no_such_item() -> OpenAiError {
    let message = "There is no item with this id in the conversation.";
    OpenAiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "item_not_found", message).param("item_id")
}

/// Add up to 20 items.
#[utoipa::path(post, path = "/v1/conversations/{conversation_id}/items", tag = "conversations", operation_id = "create_items",
    params(("conversation_id" = String, Path, description = "The conversation's id.")), request_body = CreateItems,
    responses((status = 200, description = "The items, with their ids.", body = ItemListSchema)))]
pub async fn create(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let bytes = body_of(&alive, body::object(request, &app)).await?;
    let mut fields = Fields::of_body(bytes).await?;
    let items = new_items(&app, fields.take("items").ok_or_else(|| missing("items"))?).await?;
    let (place, _) = find(&app, &owner, &id).await?;
    match app.store.add_items(&place, items, app.clock.now_ms()).await.map_err(ApiError::from)? {
        Added::Added(items) => Ok(list(&items, false)),
        Added::Busy(_) => {
            Err(OpenAiError::locked("A response is being made in this conversation. Try again when it is over."))
        }
        Added::Unknown => Err(no_conversation()),
    }
}

/// The items, newest first unless `order` says otherwise.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/items", tag = "conversations", operation_id = "list_items",
    params(("conversation_id" = String, Path, description = "The conversation's id."), PageQuery),
    responses((status = 200, description = "The items.", body = ItemListSchema)))]
pub async fn list_all(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, OpenAiError> {
    let page = Page::read(query, false)?;
    let after = page.after.as_deref().map(|id| ItemId::parse(id).ok_or_else(no_such_place)).transpose()?;
    let (place, _) = find(&app, &owner, &id).await?;
    let query = ItemsQuery { after, ascending: page.ascending, limit: page.limit };
    match app.store.items(&place, query).await.map_err(ApiError::from)? {
        ItemsPage::Page { items, has_more } => Ok(list(&items, has_more)),
        ItemsPage::UnknownConversation => Err(no_conversation()),
        ItemsPage::UnknownItem => Err(no_such_place()),
    }
}

/// One item.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/items/{item_id}", tag = "conversations",
    operation_id = "retrieve_item", params(
        ("conversation_id" = String, Path, description = "The conversation's id."),
        ("item_id" = String, Path, description = "The item's id."),
    ), responses((status = 200, description = "The item.", body = ItemSchema)))]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path((id, item)): Path<(String, String)>,
) -> Result<Response, OpenAiError> {
    let (place, _) = find(&app, &owner, &id).await?;
    let item = ItemId::parse(&item).ok_or_else(no_such_item)?;
    let found = app.store.item(&place, &item).await.map_err(ApiError::from)?.ok_or_else(no_such_item)?;
    Ok(answer::json(&raw(&found.item).ok_or_else(no_such_item)?))
}

/// Remove an item; gives the conversation.
#[utoipa::path(delete, path = "/v1/conversations/{conversation_id}/items/{item_id}", tag = "conversations",
    operation_id = "delete_item", params(
        ("conversation_id" = String, Path, description = "The conversation's id."),
        ("item_id" = String, Path, description = "The item's id."),
    ), responses((status = 200, description = "The conversation.", body = Conversation)))]
pub async fn delete(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path((id, item)): Path<(String, String)>,
) -> Result<Response, OpenAiError> {
    let (place, info) = find(&app, &owner, &id).await?;
    let item = ItemId::parse(&item).ok_or_else(no_such_item)?;
    match app.store.remove_item(&place, &item).await.map_err(ApiError::from)? {
        Removed::Removed => Ok(answer::json(&shown(&info))),
        Removed::UnknownConversation => Err(no_conversation()),
        Removed::UnknownItem => Err(no_such_item()),
        Removed::Busy(_) => Err(OpenAiError::locked(
            "This item belongs to a response that is being made. Try again when it is over, or cancel it.",
        )),
    }
}
