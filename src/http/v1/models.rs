//! `GET /v1/models`: what requests may name, as the upstream lists it, or as the settings do where it has no list.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answer;
use super::caller::Caller;
use super::error::OpenAiError;
use crate::domain::conversation::Owner;
use crate::http::app::App;
use crate::http::fault;
use crate::metering::{Route, Wish};
use crate::tasks::json_off_runtime;

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "demo", "object": "model", "created": 0, "owned_by": "openai-backend"}))]
pub struct ModelObject {
    /// What requests call it.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When it was made, in seconds since 1970; 0 where the upstream does not say.
    created: u64,
    /// Whose it is.
    owned_by: &'static str,
}

/// The models.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"object": "list",
    "data": [{"id": "demo", "object": "model", "created": 0, "owned_by": "openai-backend"}]}))]
pub struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// Those that requests may name.
    #[schema(value_type = Vec<ModelObject>)]
    data: Vec<Value>,
    /// Codex's own catalogue, with prompts and prices, which this server does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    models: Option<[(); 0]>,
}

/// What a client says with it.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    client_version: Option<String>,
}

/// Whose a model is of which the upstream does not say it.
const OWNER: &str = "openai-backend";

/// The models that requests may name.
#[utoipa::path(get, path = "/v1/models", tag = "openai", operation_id = "list_models",
    responses((status = 200, description = "The models.", body = ModelList)))]
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, OpenAiError> {
    let data = known(&app, &owner).await?.into_iter().map(|(_, model)| model).collect();
    // Codex says its version, and takes a list without its catalogue for a broken one. Other clients would take an empty one
    // for the list.
    let is_codex = query.is_ok_and(|query| query.0.client_version.is_some());
    Ok(axum::Json(ModelList { object: "list", data, models: is_codex.then_some([]) }).into_response())
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "openai", operation_id = "retrieve_model",
    params(("model" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The model.", body = ModelObject)))]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, OpenAiError> {
    find(&app, &owner, &id).await
}

/// One model whose id has slashes in it that the client did not encode.
pub async fn retrieve_slashed(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path((vendor, rest)): Path<(String, String)>,
) -> Result<Response, OpenAiError> {
    find(&app, &owner, &format!("{vendor}/{rest}")).await
}

async fn find(app: &App, owner: &Owner, id: &str) -> Result<Response, OpenAiError> {
    let known = known(app, owner).await?;
    let (_, model) = known.into_iter().find(|(name, _)| name == id).ok_or_else(OpenAiError::no_model)?;
    Ok(answer::json(&model))
}

/// By id, each id once.
async fn known(app: &App, owner: &Owner) -> Result<Vec<(String, Value)>, OpenAiError> {
    let permit = app.metering.permit(owner, &Wish::of(Route::Models))?;
    let in_flight = app.in_flight.enter();
    let listed = in_flight.unless_stopped(permit.models()).await.ok_or_else(fault::stopping)??;
    let listed = match listed {
        Some(body) => json_off_runtime(body.len(), move || listed_in(&body)).await,
        None => None,
    };
    let models = listed.unwrap_or_else(|| permit.named_models().into_iter().map(of_settings).collect());
    let mut seen = HashSet::new();
    let allowed = models.into_iter().filter_map(|model| {
        let id = model["id"].as_str()?.to_owned();
        (permit.allows_model(&id) && seen.insert(id.clone())).then(|| (id, in_shape(model)))
    });
    Ok(allowed.collect())
}

fn of_settings(id: String) -> Value {
    json!(ModelObject { id, object: "model", created: 0, owned_by: OWNER })
}

/// The models in an upstream's list, each with an `id`: `{"data": [...]}`, `{"models": [...]}` as Ollama and Gemini have it,
/// or a bare array, of objects or of names. `None` for anything else.
fn listed_in(body: &[u8]) -> Option<Vec<Value>> {
    let list = match serde_json::from_slice(body).ok()? {
        Value::Array(list) => list,
        Value::Object(mut members) => {
            let lists = ["data", "models"].map(|name| members.remove(name));
            let mut lists = lists.into_iter().flatten().filter_map(|list| match list {
                Value::Array(list) => Some(list),
                _ => None,
            });
            let first = lists.next()?;
            if first.is_empty() { lists.next().unwrap_or(first) } else { first }
        }
        _ => return None,
    };
    let is_empty = list.is_empty();
    let models: Vec<Value> = list.into_iter().filter_map(with_id).collect();
    (is_empty || !models.is_empty()).then_some(models)
}

fn with_id(model: Value) -> Option<Value> {
    match model {
        Value::String(id) => Some(json!({"id": id})),
        Value::Object(mut members) => {
            if !members.get("id").is_some_and(Value::is_string) {
                let name = ["model", "slug", "name"].iter().find_map(|name| members.get(*name)?.as_str())?;
                // Gemini's own list has resources, whose last part is what requests name.
                let id = name.strip_prefix("models/").unwrap_or(name).to_owned();
                members.insert("id".to_owned(), id.into());
            }
            Some(Value::Object(members))
        }
        _ => None,
    }
}

/// With the members that clients look for, and all others as the upstream has them.
fn in_shape(mut model: Value) -> Value {
    model["object"] = "model".into();
    let created = match &model["created"] {
        Value::Number(seconds) => seconds.as_u64().or_else(|| seconds.as_f64().map(|seconds| seconds as u64)),
        _ => None,
    };
    model["created"] = created.unwrap_or(0).into();
    if !model["owned_by"].is_string() {
        model["owned_by"] = OWNER.into();
    }
    model
}
