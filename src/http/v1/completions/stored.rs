//! Completions that were kept: listed, read, described, deleted, and what they were asked.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::form_urlencoded;

use super::ask::metadata_of;
use super::keep::Stored;
use crate::domain::conversation::Owner;
use crate::http::app::App;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::v1::answer;
use crate::http::v1::caller::{Caller, LiveCaller, body_of};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::missing;
use crate::http::v1::page::{Page, PageQuery, list as page_of, no_such_place};
use crate::http::v1::schemas::{
    ChatCompletion, ChatCompletionList, ChatMessageList, DeletedChatCompletion, UpdateChatCompletion,
};
use crate::store::StoreError;
use crate::store::documents::{Document, DocumentKind, DocumentsQuery};
use crate::upstream::openai::members::Members;

/// How many documents are read at once, the first time and at most. The largest ones have some 16 MB.
const FIRST_STEP: usize = 4;
const LAST_STEP: usize = 64;

/// A step that brought less than this many bytes may be followed by a larger one.
const SMALL_STEP: usize = 512 * 1024;

/// A page that has so many bytes is shorter than was asked for.
const MOST_PAGE: usize = 8 * 1024 * 1024;

/// How long a list may be searched for what a filter asks for.
const SEARCH: Duration = Duration::from_secs(10);

/// What a list is narrowed to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    model: Option<String>,
    metadata: Vec<(String, String)>,
}

impl Filter {
    /// Reads `model` and `metadata[key]` out of a query.
    fn read(query: &str) -> Result<Self, OpenAiError> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "model" {
                filter.model = Some(value.into_owned());
            } else if let Some(key) = name.strip_prefix("metadata") {
                let key = key.strip_prefix('[').and_then(|key| key.strip_suffix(']')).ok_or_else(|| {
                    let message = "Invalid 'metadata' in the query: a pair is written metadata[key]=value.";
                    OpenAiError::invalid("metadata", "invalid_value", message)
                })?;
                filter.metadata.push((key.to_owned(), value.into_owned()));
            }
        }
        Ok(filter)
    }

    fn takes(&self, completion: &Members<'_>, metadata: &str) -> bool {
        let is_model = self.model.as_ref().is_none_or(|model| completion.text("model").as_ref() == Some(model));
        if !is_model || self.metadata.is_empty() {
            return is_model;
        }
        let metadata: Map<String, Value> = serde_json::from_str(metadata).unwrap_or_default();
        self.metadata.iter().all(|(key, value)| metadata.get(key).is_some_and(|kept| kept == value))
    }
}

/// The kept completions, oldest first unless `order` says otherwise.
///
/// A page with much text may be shorter than `limit`: `has_more` says whether there are others.
#[utoipa::path(get, path = "/v1/chat/completions", tag = "openai", operation_id = "list_chat_completions", params(
        ("model" = Option<String>, Query, description = "Only those that this model made."),
        ("metadata" = Option<std::collections::HashMap<String, String>>, Query, style = DeepObject, explode,
            description = "Only those that have these pairs: `metadata[topic]=lighthouses`."),
        PageQuery,
    ), responses((status = 200, description = "The completions.", body = ChatCompletionList)))]
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    uri: Uri,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, OpenAiError> {
    let page = Page::read(query, true)?;
    let filter = Filter::read(uri.query().unwrap_or_default())?;
    let (found, has_more) = search(&app, &owner, page, &filter).await?;
    let id = |found: Option<&(String, String)>| Value::from(found.map_or("", |(id, _)| id));
    let (first, last) = (id(found.first()), id(found.last()));
    let data: Vec<&str> = found.iter().map(|(_, json)| json.as_str()).collect();
    Ok(answer::written(format!(
        r#"{{"object":"list","data":[{}],"first_id":{first},"last_id":{last},"has_more":{has_more}}}"#,
        data.join(",")
    )))
}

/// The id and the JSON of each completion on a page, and whether there are more behind it.
async fn search(
    app: &App,
    owner: &Owner,
    page: Page,
    filter: &Filter,
) -> Result<(Vec<(String, String)>, bool), OpenAiError> {
    let deadline = Instant::now() + SEARCH;
    let (mut found, mut bytes, mut step) = (Vec::new(), 0, FIRST_STEP);
    let mut after = page.after;
    loop {
        let query = DocumentsQuery { after: after.take(), ascending: page.ascending, limit: step };
        let read = app.store.documents(owner, DocumentKind::Completion, query).await.map_err(ApiError::from)?;
        let read = read.ok_or_else(no_such_place)?;
        let size: usize = read.documents.iter().map(|document| document.json.len()).sum();
        after = read.documents.last().map(|document| document.id.clone());
        for document in read.documents {
            let stored = stored(&document)?;
            let members: Members<'_> = serde_json::from_str(stored.completion.get()).map_err(|_| unreadable())?;
            if !filter.takes(&members, stored.metadata.get()) {
                continue;
            }
            if found.len() == page.limit || bytes >= MOST_PAGE {
                return Ok((found, true));
            }
            let json = shown(&members, stored.metadata.get());
            bytes += json.len();
            found.push((document.id, json));
        }
        if !read.has_more {
            return Ok((found, false));
        }
        if Instant::now() >= deadline {
            return Err(too_long_a_list());
        }
        step = if size < SMALL_STEP { (step * 2).min(LAST_STEP) } else { FIRST_STEP };
    }
}

/// A kept completion.
#[utoipa::path(get, path = "/v1/chat/completions/{completion_id}", tag = "openai", operation_id = "retrieve_chat_completion",
    params(("completion_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The completion, with its metadata.", body = ChatCompletion)))]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, OpenAiError> {
    let document = find(&app, &owner, id).await?;
    let stored = stored(&document)?;
    let members: Members<'_> = serde_json::from_str(stored.completion.get()).map_err(|_| unreadable())?;
    Ok(answer::written(shown(&members, stored.metadata.get())))
}

/// Replace a kept completion's metadata.
#[utoipa::path(post, path = "/v1/chat/completions/{completion_id}", tag = "openai", operation_id = "update_chat_completion",
    params(("completion_id" = String, Path, description = "Its id.")), request_body = UpdateChatCompletion,
    responses((status = 200, description = "The completion as it is now.", body = ChatCompletion)))]
pub async fn update(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let bytes = body_of(&alive, body::object(request, &app)).await?;
    let asked: Members<'_> = serde_json::from_slice(&bytes).map_err(|error| body::explain(&error))?;
    let metadata = metadata_of(asked.get("metadata").ok_or_else(|| missing("metadata"))?.get())?;
    let document = find(&app, &owner, id).await?;
    let stored = stored(&document)?;
    let members: Members<'_> = serde_json::from_str(stored.completion.get()).map_err(|_| unreadable())?;
    let json = Stored::json(stored.completion.get(), &metadata, stored.messages.get());
    let updated = app.store.update_document(&owner, DocumentKind::Completion, &document.id, json).await;
    match updated.map_err(ApiError::from)? {
        true => Ok(answer::written(shown(&members, &metadata))),
        false => Err(no_completion()),
    }
}

/// Delete a kept completion with its messages.
#[utoipa::path(delete, path = "/v1/chat/completions/{completion_id}", tag = "openai",
    operation_id = "delete_chat_completion", params(("completion_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "It is gone.", body = DeletedChatCompletion)))]
pub async fn delete(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, OpenAiError> {
    let id = known_shape(id)?;
    match app.store.delete_document(&owner, DocumentKind::Completion, &id).await.map_err(ApiError::from)? {
        true => Ok(answer::json(&json!({"object": "chat.completion.deleted", "id": id, "deleted": true}))),
        false => Err(no_completion()),
    }
}

/// The messages that a kept completion was asked; its answer is in itself.
#[utoipa::path(get, path = "/v1/chat/completions/{completion_id}/messages", tag = "openai",
    operation_id = "list_chat_completion_messages",
    params(("completion_id" = String, Path, description = "Its id."), PageQuery),
    responses((status = 200, description = "The messages.", body = ChatMessageList)))]
pub async fn messages(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, OpenAiError> {
    let page = Page::read(query, true)?;
    let document = find(&app, &owner, id).await?;
    let kept: Vec<&RawValue> = serde_json::from_str(stored(&document)?.messages.get()).map_err(|_| unreadable())?;
    let id_of = |place: usize| format!("{}-{place}", document.id);
    let (places, has_more) = page.cut((0..kept.len()).collect(), |place, after| id_of(*place) == after)?;
    let data: Option<Vec<Value>> =
        places.into_iter().map(|place| message(kept.get(place)?.get(), &id_of(place))).collect();
    Ok(answer::json(&page_of(data.ok_or_else(unreadable)?, has_more)))
}

/// A message as the list shows it: content that came in parts is in `content_parts`.
fn message(kept: &str, id: &str) -> Option<Value> {
    let mut message: Map<String, Value> = serde_json::from_str(kept).ok()?;
    let content = message.remove("content").unwrap_or_default();
    let (content, parts) = if content.is_array() { (Value::Null, content) } else { (content, Value::Null) };
    message.insert("id".to_owned(), id.into());
    message.insert("content".to_owned(), content);
    message.insert("content_parts".to_owned(), parts);
    for name in ["name", "refusal"] {
        message.entry(name).or_insert(Value::Null);
    }
    Some(Value::Object(message))
}

/// The completion that a path names.
async fn find(app: &App, owner: &Owner, id: Result<Path<String>, PathRejection>) -> Result<Document, OpenAiError> {
    let id = known_shape(id)?;
    let found = app.store.document(owner, DocumentKind::Completion, &id).await.map_err(ApiError::from)?;
    found.ok_or_else(no_completion)
}

/// An id that a document may have.
fn known_shape(id: Result<Path<String>, PathRejection>) -> Result<String, OpenAiError> {
    let Path(id) = id.map_err(|_| no_completion())?;
    let fits = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(id) } else { Err(no_completion()) }
}

fn stored(document: &Document) -> Result<Stored<'_>, OpenAiError> {
    serde_json::from_str(&document.json).map_err(|_| unreadable())
}

fn shown(completion: &Members<'_>, metadata: &str) -> String {
    completion.json(&format!(r#""metadata":{metadata}"#), &[])
}

fn no_completion() -> OpenAiError {
    let message = "There is no chat completion with this id that was stored.";
    OpenAiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "chat_completion_not_found", message)
        .param("completion_id")
}

fn too_long_a_list() -> OpenAiError {
    let message = "There is too much to search for this filter. Begin further on, with 'after'.";
    OpenAiError::new(StatusCode::SERVICE_UNAVAILABLE, "api_error", "list_too_long", message).should_retry(false)
}

fn unreadable() -> OpenAiError {
    ApiError::from(StoreError::Broken("a stored completion cannot be read".to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_from_the_query() {
        let read = |query: &str| Filter::read(query).ok();
        assert_eq!(read("limit=2&other=x"), Some(Filter::default()));
        let filter = read("model=gpt-4o&metadata%5Ba%5D=1+2&metadata[b]=%C3%A9").unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(filter.model.as_deref(), Some("gpt-4o"));
        assert_eq!(filter.metadata, [pair("a", "1 2"), pair("b", "é")]);
        for wrong in ["metadata=x", "metadata[a=x", "metadata.a=x", "metadata"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_message_keeps_what_it_had() {
        let text = message(r#"{"role":"user","content":"Hi","name":"Ada","extra":1.5}"#, "c-0").unwrap();
        assert_eq!(
            text,
            json!({"id": "c-0", "role": "user", "content": "Hi", "content_parts": null, "name": "Ada", "refusal": null,
                "extra": 1.5})
        );
        let parts = json!([{"type": "text", "text": "Hi"}]);
        let listed = message(&json!({"role": "user", "content": parts}).to_string(), "c-1").unwrap();
        assert_eq!((&listed["content"], &listed["content_parts"]), (&Value::Null, &parts));
        let call = message(r#"{"role":"assistant","tool_calls":[{"id":"x"}]}"#, "c-2").unwrap();
        assert_eq!((&call["content"], &call["tool_calls"][0]["id"]), (&Value::Null, &json!("x")));
    }
}
