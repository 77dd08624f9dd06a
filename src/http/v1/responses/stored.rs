//! Responses that are there: read again, from any event on, stopped, deleted, and what they were asked.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::object::{self, Head};
use super::stored_backing;
use super::stream;
use crate::access::alive::Alive;
use crate::domain::conversation::Owner;
use crate::domain::delta::Delta;
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::TurnId;
use crate::domain::output::Output;
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::http::app::App;
use crate::http::digits;
use crate::http::error::ApiError;
use crate::http::v1::answer;
use crate::http::v1::caller::{Caller, LiveCaller};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::items;
use crate::http::v1::page::{Page, PageQuery, list};
use crate::http::v1::schemas::{self, DeletedResponse, ItemList, ResponseEvents};
use crate::turn::cancel::Cancelled;
use crate::turn::reader::Next;

/// How a response is to be read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RetrieveQuery {
    /// Whether to read its events instead of the whole.
    #[param(value_type = Option<bool>, default = false)]
    stream: Option<String>,
    /// The `sequence_number` of the last event that was seen.
    #[param(value_type = Option<u64>, example = 6)]
    starting_after: Option<String>,
}

/// Read a response, or its events from any one on.
///
/// With `stream=true` the events follow that came after `starting_after`, once, in order, live while the response is being
/// made, on any instance. The events of a response are kept for `RESUME_WINDOW` after its end; later there is only the whole,
/// which `stream=true` without `starting_after` still gives as events.
#[utoipa::path(get, path = "/v1/responses/{response_id}", tag = "responses", operation_id = "retrieve_response",
    params(("response_id" = String, Path, description = "Its id."), RetrieveQuery),
    responses((status = 200, description = "The response; with `stream`, its events.",
        content((schemas::Response = "application/json"), (ResponseEvents = "text/event-stream")))))]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    Path(id): Path<String>,
    query: Result<Query<RetrieveQuery>, QueryRejection>,
) -> Result<Response, OpenAiError> {
    let Query(query) = query.map_err(|_| bad_query("stream"))?;
    let stream = match query.stream.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(bad_query("stream")),
    };
    let after = query.starting_after.as_deref();
    let after = after.map(|text| digits::read(text).ok_or_else(|| bad_query("starting_after"))).transpose()?;
    let record = find(&app, &owner, &id).await?;
    match stream {
        true => resume(&app, alive, &record, after).await,
        false => Ok(answer::written(object::of_record(&record))),
    }
}

async fn resume(app: &App, alive: Alive, record: &TurnRecord, after: Option<u64>) -> Result<Response, OpenAiError> {
    let mut reader = app.turns.read(&record.place.owner, &record.id, 0);
    let mut answer_id = record.request.answer_id.clone();
    let first = match reader.look().await {
        None => Vec::new(),
        Some(Next::Events(events)) => events,
        // The events are gone, and the whole is there: it makes a stream of its own, from the start only.
        Some(Next::Expired) if after.is_none() => {
            answer_id = record.answer.as_ref().map_or(answer_id, |answer| answer.id.clone());
            told_anew(record)
        }
        Some(other) => return Err(other.into()),
    };
    Ok(stream::live_from(stream::stored(reader, Head::of(record), answer_id, after), alive, &first))
}

/// The events that a response amounts to, in as few steps as it can be told in.
fn told_anew(record: &TurnRecord) -> Vec<Arc<Numbered>> {
    let mut events = vec![Event::Started { attempt: 1 }];
    // From it follow the ids of what was thought.
    let data = record.answer.as_ref().and_then(|answer| answer.provider.clone());
    events.extend(data.map(|data| Delta::Provider { data }.into()));
    for output in record.answer.iter().flat_map(|answer| answer.outputs()) {
        match output {
            Output::Message { text, refusal, .. } => {
                let parts = [Delta::text(text), Delta::refusal(refusal)];
                events.extend(parts.into_iter().filter(|delta| delta.size() > 0).map(Event::from));
            }
            Output::Reasoning { text, .. } => events.push(Delta::reasoning(text).into()),
            Output::Compaction { content, tokens, .. } => events.push(Delta::Compaction { content, tokens }.into()),
            Output::Call { index, call_id, name, arguments, tool, .. } => {
                events.push(Delta::Call { index, call_id, name, tool }.into());
                events.push(Delta::Arguments { index, delta: arguments }.into());
            }
        }
    }
    events.push(Event::Ended(Box::new(End {
        status: record.status,
        answer: record.answer.clone(),
        usage: record.usage,
        fault: record.fault.clone(),
        at_ms: record.ended_at_ms.unwrap_or_default(),
    })));
    (1..).zip(events).map(|(seq, event)| Arc::new(Numbered { seq, event })).collect()
}

/// Delete a response; what was said stays in its conversation, where it has one.
#[utoipa::path(delete, path = "/v1/responses/{response_id}", tag = "responses", operation_id = "delete_response",
    params(("response_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "It is gone.", body = DeletedResponse)))]
pub async fn delete(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, OpenAiError> {
    let record = find(&app, &owner, &id).await?;
    if record.status == TurnStatus::Running {
        app.turns.cancel(&owner, &record.id).await.map_err(ApiError::from)?;
    }
    match app.store.delete_turn(&owner, &record.id).await.map_err(ApiError::from)? {
        true => Ok(answer::json(&json!({"id": record.id.response_id(), "object": "response", "deleted": true}))),
        false => Err(no_response()),
    }
}

/// Stop a response; what was said of it is kept. One that is over is left as it is.
#[utoipa::path(post, path = "/v1/responses/{response_id}/cancel", tag = "responses", operation_id = "cancel_response",
    params(("response_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The response as it is now.", body = schemas::Response)))]
pub async fn cancel(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, OpenAiError> {
    let record = find(&app, &owner, &id).await?;
    match app.turns.cancel(&owner, &record.id).await.map_err(ApiError::from)? {
        Cancelled::Unknown => Err(no_response()),
        Cancelled::EndedBefore(record) | Cancelled::Stopped(record) => Ok(answer::written(object::of_record(&record))),
    }
}

/// What a response was asked: its own input, without what it went on from.
#[utoipa::path(get, path = "/v1/responses/{response_id}/input_items", tag = "responses", operation_id = "list_input_items",
    params(("response_id" = String, Path, description = "Its id."), PageQuery),
    responses((status = 200, description = "The items, newest first unless `order` says otherwise.", body = ItemList)))]
pub async fn input_items(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, OpenAiError> {
    let page = Page::read(query, false)?;
    let record = find(&app, &owner, &id).await?;
    let all: Vec<Value> = record.request.input.iter().map(items::shown).collect();
    let (all, has_more) = page.cut(all, |item, after| item["id"] == after)?;
    Ok(answer::json(&list(all, has_more)))
}

/// A stored response of this owner.
async fn find(app: &App, owner: &Owner, id: &str) -> Result<TurnRecord, OpenAiError> {
    let turn = TurnId::of_response(id).ok_or_else(no_response)?;
    let found = stored_backing(app, owner).response(&turn).await.map_err(ApiError::from)?;
    found.ok_or_else(no_response)
}

/// There is no response of this owner with the id that a request names.
pub(super) fn no_response() -> OpenAiError {
    let message = "There is no response with this id.";
    OpenAiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "response_not_found", message).param("response_id")
}

fn bad_query(param: &str) -> OpenAiError {
    OpenAiError::invalid(param, "invalid_value", format!("Invalid '{param}' in the query."))
}
